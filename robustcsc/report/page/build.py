"""Writes a whole report into one folder, or nothing at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustcsc.errors import StoreError
from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report.baselines import Baseline
from robustcsc.report.examples import ExampleSheet
from robustcsc.report.figures import Plot
from robustcsc.report.fooling import fooling_frame
from robustcsc.report.frame import (
    TIMING,
    Coded,
    accuracy_frame,
    coded_columns,
    frame_csv,
    ordered_frame,
    record_order,
)
from robustcsc.report.join import joined
from robustcsc.report.page import render_page
from robustcsc.report.papers import Paper
from robustcsc.report.pictures import Picture
from robustcsc.report.sections import Section, made_section, report_plots, report_sections
from robustcsc.report.table import markdown_text

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.measurements.fits import LambdaFit

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ReportPaths:
    """Where the parts of a report lie.

    Attributes:
        folder: The folder that holds all of it.
        page: The self-contained page, ``index.html``.
        markdown: All tables in one file with the figures linked, ``report.md``.
        records: One tidy row per record, ``records.csv``.
        accuracy: One row per run, policy and corruption, one column per severity, ``accuracy.csv``.
        tables: ``tables/<name>.csv``, ``.md`` and ``.tex`` of every table.
        figures: ``figures/<name>.svg`` and ``.png`` of every figure, ``.pdf`` of a paper's, too.
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


def write_report(
    records: Sequence[Record],
    fits: Sequence[LambdaFit],
    folder: Path,
    *,
    title: str,
    trainings: Sequence[Training] = (),
    paper: Paper | None = None,
    baseline: Baseline | None = None,
    pictures: Sequence[Picture] = (),
    examples: Sequence[ExampleSheet] = (),
) -> ReportPaths:
    """Writes tables, figures and the page; a reader sees the old report or the new one, never half of one.

    The same records and fits in any order give the same bytes.

    Args:
        records: What was measured, of any number of runs; at least one.
        fits: The lambda fits to show.
        folder: Where the report goes; replaced as a whole if it holds an earlier report and nothing else.
        title: Heading of the report.
        trainings: How the measured models were trained, as far as that is known.
        paper: Adds this paper's tables, its own figures in columns of their own.
        baseline: Whose errors the others are divided by (mCE); the records of a measured one are among `records`.

        pictures: Universal perturbations to show.
        examples: Images with predictions to show.

    Raises:
        StoreError: There are no records, nothing in them can be related to the baseline, `folder` holds other files,
            or it cannot be written.
    """
    if not records:
        raise StoreError("There are no results to report yet: run `robustcsc evaluate` or `robustcsc sweep` first.")
    ordered = sorted(records, key=record_order)
    comparable = joined(ordered)
    frame = ordered_frame(ordered, timing=True)
    columns = coded_columns(frame)
    sections = report_sections(comparable, fits, trainings=trainings, paper=paper, baseline=baseline)
    contents = {
        **_data(columns, comparable),
        **_shown(
            title,
            sections,
            made_section(ordered),
            (frame, columns),
            report_plots(comparable, fits, paper, trainings),
            pictures,
            examples,
        ),
    }
    contents[MANIFEST] = _manifest(contents)
    folder = folder.expanduser().resolve()
    try:
        _refuse_foreign_files(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            fresh = Path(scratch) / "new"
            for name, content in contents.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
            _replace(folder, fresh, Path(scratch) / "old")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"The report cannot be written to {folder} ({reason}): free some space or name another folder."
        ) from error
    return _paths(folder, list(contents), sections)


def _data(columns: Mapping[str, Coded], comparable: Sequence[Record]) -> dict[str, bytes]:
    """Returns the data frames as files."""
    files = {
        "records.csv": {name: column for name, column in columns.items() if name not in TIMING},
        "accuracy.csv": coded_columns(accuracy_frame(comparable)),
    }
    fooling = fooling_frame(comparable)
    if len(fooling):
        files["fooling.csv"] = coded_columns(fooling)
    return {name: frame_csv(coded).encode() for name, coded in files.items()}


def _shown(
    title: str,
    sections: Sequence[Section],
    made: Section,
    measured: tuple[pd.DataFrame, Mapping[str, Coded]],
    plots: Mapping[str, Sequence[Plot]],
    pictures: Sequence[Picture],
    examples: Sequence[ExampleSheet],
) -> dict[str, bytes]:
    """Returns the page, the Markdown, and every table and figure as files."""
    page = render_page(title, sections, made, plots, *measured, pictures=pictures, examples=examples)
    tables = [table for section in [*sections, made] for table in section.tables]
    written = {table.name: table.to_markdown() for table in tables}
    texts = {"index.html": page, "report.md": _markdown(title, [*sections, made], plots, pictures, written)}
    for table in tables:
        texts[f"tables/{table.name}.csv"] = table.to_csv()
        texts[f"tables/{table.name}.md"] = written[table.name]
        texts[f"tables/{table.name}.tex"] = table.to_latex()
    files = {name: text.encode() for name, text in texts.items()}
    for plot in (plot for shown in plots.values() for plot in shown):
        files[f"figures/{plot.name}.svg"] = plot.to_svg().encode()
        files[f"figures/{plot.name}.png"] = plot.to_png()
    files |= {f"figures/{plot.name}.pdf": plot.to_pdf() for plot in plots.get("paper", ())}
    files |= {f"figures/{picture.name}.png": picture.png for picture in pictures}
    return files


def _manifest(names: Iterable[str]) -> bytes:
    manifest = {"made by": "robustcsc report", "files": sorted([*names, MANIFEST])}
    return (json.dumps(manifest, indent=2) + "\n").encode()


def _markdown(
    title: str,
    sections: Sequence[Section],
    plots: Mapping[str, Sequence[Plot]],
    pictures: Sequence[Picture],
    written: Mapping[str, str],
) -> str:
    parts = [f"# {markdown_text(title)}\n"]
    for section in sections:
        parts.append(f"## {section.heading}\n")
        parts += [_linked(f"{it.name}.svg", it.title, it.description) for it in plots.get(section.anchor, ())]
        if section.anchor == "fooling":
            parts += [_linked(f"{it.name}.png", it.title, it.description) for it in pictures]
        parts += [written[table.name] for table in section.tables]
    return "\n".join(parts)


def _linked(file: str, title: str, description: str) -> str:
    return f"![{markdown_text(title)}](figures/{file})\n\n{markdown_text(description)}\n"


def _refuse_foreign_files(folder: Path) -> None:
    """Raises StoreError if replacing `folder` would delete something that no report wrote."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"The report needs a folder, but {folder} is a file: name another one.")
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    try:
        known = set(json.loads((folder / MANIFEST).read_text("utf-8"))["files"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        known = set()
    foreign = sorted(present - known)
    if foreign:
        raise StoreError(
            f"The report would replace {folder}, which holds {foreign[0]!r} and was not written by a report: "
            "move it away or name another folder."
        )


def _replace(folder: Path, fresh: Path, old: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _paths(folder: Path, names: Sequence[str], sections: Sequence[Section]) -> ReportPaths:
    return ReportPaths(
        folder=folder,
        page=folder / "index.html",
        markdown=folder / "report.md",
        records=folder / "records.csv",
        accuracy=folder / "accuracy.csv",
        tables=tuple(folder / name for name in sorted(names) if name.startswith("tables/")),
        figures=tuple(folder / name for name in sorted(names) if name.startswith("figures/")),
        sections=tuple(sections),
    )
