"""Writes a whole report into one folder, or nothing at all."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from robustcsc.errors import StoreError
from robustcsc.files import PARTIAL, check_writable
from robustcsc.locks import alone
from robustcsc.measurements.facts import from_json
from robustcsc.measurements.frames import TIMING
from robustcsc.measurements.records import Record
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.drawn_chart import draw
from robustcsc.presentation.latex import latex_table
from robustcsc.presentation.markdown import markdown_table, markdown_text
from robustcsc.presentation.table import Table
from robustcsc.reports.cohorts.cohorts import Shown
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.page.frames import (
    accuracy_columns,
    coded_csv,
    coded_records,
    columns_csv,
    fooling_columns,
    in_order,
)
from robustcsc.reports.page.page import render_page
from robustcsc.reports.page.sections import Report, Section, closing_sections, report_sections

MANIFEST = "manifest.json"
_MADE_BY = "robustcsc report"
_OUTCOMES = ("outcomes", "outcome_count")
"""Columns of `records.csv` that the page leaves out: they are long, and for comparing records."""


@dataclass(frozen=True)
class ReportPaths:
    """Where the parts of a report lie.

    Attributes:
        folder: The folder that holds all of it.
        page: The self-contained page, ``index.html``.
        markdown: All tables in one file with the figures linked, ``report.md``.
        records: One row per record with all of its facts but the times, ``records.csv``.
        accuracy: One row per run, policy and corruption, one column per severity, ``accuracy.csv``.
        tables: ``tables/<name>.csv``, ``.md`` and ``.tex`` of every table.
        figures: ``figures/<name>.svg`` of every chart, ``.pdf`` of a paper's, too, and ``.png`` where asked for.
        sections: All tables, as `report_sections` returns them.
    """

    folder: Path
    page: Path
    markdown: Path
    records: Path
    accuracy: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    sections: tuple[Section, ...] = field(repr=False)


def write_report(report: Report, folder: Path, *, png: bool = False) -> ReportPaths:
    """Writes tables, figures and the page; a reader sees the old report or the new one, never half of one.

    The same records and fits in any order give the same bytes.

    Args:
        report: What it is made from; at least one record.
        folder: Where the report goes; replaced as a whole if it holds an earlier report and nothing else.
        png: Whether every chart becomes a PNG file, too.

    Raises:
        StoreError: There are no records, nothing in them can be related to the baseline, `folder` holds other files,
            or it cannot be written.
    """
    if not report.records:
        raise StoreError("There are no results to report yet: run `robustcsc evaluate` or `robustcsc sweep` first.")
    with _no_search_for_cycles():
        return _write(report, folder.expanduser().resolve(), png)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Spares the search for cycles, of which a report makes none: it takes a tenth of the time of a large one."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def _write(report: Report, folder: Path, png: bool) -> ReportPaths:
    ordered = in_order(report.records)
    comparable = joined(ordered)
    sections = report_sections(replace(report, records=comparable))
    shown = [*sections, *closing_sections(replace(report, records=ordered))]
    try:
        check_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _in_two_steps(folder) as fresh:
            files = [MANIFEST]
            for name, content in _files(report.title, shown, ordered, comparable, png):
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
                files.append(name)
            manifest = {"made by": _MADE_BY, "files": sorted(files)}
            (fresh / MANIFEST).write_bytes(f"{json.dumps(manifest, indent=2)}\n".encode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"The report cannot be written to {folder} ({reason}): free some space, or name another --out."
        ) from error
    return ReportPaths(
        folder=folder,
        page=folder / "index.html",
        markdown=folder / "report.md",
        records=folder / "records.csv",
        accuracy=folder / "accuracy.csv",
        tables=tuple(folder / name for name in sorted(files) if name.startswith("tables/")),
        figures=tuple(folder / name for name in sorted(files) if name.startswith("figures/")),
        sections=tuple(sections),
    )


def _files(
    title: str, shown: Sequence[Section], ordered: Sequence[Record], comparable: Shown, png: bool
) -> Iterator[tuple[str, bytes]]:
    """Yields the files of a report but its manifest, one at a time: together they take more memory than the records."""
    yield "accuracy.csv", columns_csv(accuracy_columns(comparable)).encode()
    if (fooling := fooling_columns(comparable))["run"]:
        yield "fooling.csv", columns_csv(fooling).encode()
    columns = {it.column.heading: it for it in coded_records(ordered)}
    yield "records.csv", coded_csv([it for name, it in columns.items() if name not in TIMING]).encode()
    on_page = [it for name, it in columns.items() if name not in _OUTCOMES]
    yield "index.html", render_page(title, shown, comparable, on_page).encode()
    texts = {}
    for table in (table for section in shown for table in section.tables):
        files = table_files(table)
        yield from ((f"tables/{name}", content) for name, content in files.items())
        texts[table.name] = files[f"{table.name}.md"].decode()
    yield "report.md", _markdown(title, shown, texts).encode()
    for section in shown:
        yield from _figures(section, png)


def table_files(table: Table) -> dict[str, bytes]:
    """Returns a table as CSV, Markdown and LaTeX, by file name."""
    texts = {"csv": csv_text(table), "md": markdown_table(table), "tex": latex_table(table)}
    return {f"{table.name}.{ending}": text.encode() for ending, text in texts.items()}


def _figures(section: Section, png: bool) -> Iterator[tuple[str, bytes]]:
    """Yields the charts and pictures of a section as files."""
    for_paper = section.anchor == "paper"
    for chart in section.charts:
        drawing = draw(chart, narrow=for_paper)
        yield f"figures/{chart.name}.svg", drawing.to_svg().encode()
        if png:
            yield f"figures/{chart.name}.png", drawing.to_png()
        if for_paper:
            yield f"figures/{chart.name}.pdf", drawing.to_pdf()
    yield from ((f"figures/{picture.name}.png", picture.png) for picture in section.pictures)


def _markdown(title: str, sections: Iterable[Section], tables: Mapping[str, str]) -> str:
    parts = [f"# {markdown_text(title)}\n"]
    for section in sections:
        parts += [f"## {section.heading}\n"] if section.sentences or section.tables else []
        parts += [f"{markdown_text(sentence)}\n" for sentence in section.sentences]
        parts += [_linked(f"{it.name}.svg", it.title, it.description) for it in section.charts]
        parts += [_linked(f"{it.name}.png", it.title, it.description) for it in section.pictures]
        parts += [tables[table.name] for table in section.tables]
        parts += [f"### {markdown_text(it.title)}\n\n{indent(it.text, '    ')}" for it in section.listings]
    return "\n".join(parts)


def _linked(file: str, title: str, description: str) -> str:
    return f"![{markdown_text(title)}](figures/{file})\n\n{markdown_text(description)}\n"


def check_folder(folder: Path) -> None:
    """Refuses a folder that no report can be written to; makes nothing.

    Raises:
        StoreError: It cannot be written, or replacing it would delete something that no report wrote.
    """
    if folder.expanduser().is_symlink():
        raise StoreError(f"{folder} is a link, which a report would replace: name the folder itself, or another --out.")
    folder = folder.expanduser().resolve()
    check_writable(folder, "The folder of the report", folder=True)
    check_writable(folder.parent, "The folder of the report", folder=True)  # the old and the new one lie side by side
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    try:
        manifest = from_json((folder / MANIFEST).read_bytes(), dict[str, Any])
        known = set(manifest["files"]) if manifest["made by"] == _MADE_BY else set()
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    names = {path: path.relative_to(folder).as_posix() for path in found}
    foreign = sorted(name for path, name in names.items() if path.is_symlink() or name not in known)
    if foreign:
        raise StoreError(
            f"The report would replace {folder}, which holds {foreign[0]!r} and was not written by a report: "
            "move it away, or name another --out."
        )


@contextmanager
def _in_two_steps(folder: Path) -> Iterator[Path]:
    """Gives the block a folder that takes the place of `folder` when it ends; no other process does so meanwhile.

    A process that is killed leaves both in a hidden folder beside it, which the next one clears away.
    """
    scratch = folder.with_name(f".{folder.name}{PARTIAL}")
    fresh, old = scratch / "new", scratch / "old"
    with alone(folder, f"The report {folder} is being written", "name another --out"):
        try:
            _clear(scratch, old, folder)
            fresh.mkdir(parents=True)
            yield fresh
            check_folder(folder)  # it may have changed in the meantime
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
        finally:
            _clear(scratch, old, folder)


def _clear(scratch: Path, old: Path, folder: Path) -> None:
    """Deletes a half-made report; the one that was to be replaced comes back to its place, if that is empty.

    What cannot be deleted waits for the next report, as the new one is whole.
    """
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)
