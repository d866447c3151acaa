"""Writes a whole report into one folder, or nothing at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustcsc.errors import StoreError
from robustcsc.records import Record
from robustcsc.report.baselines import Baseline
from robustcsc.report.corruption_errors import corruption_error_tables, severity_tables
from robustcsc.report.detrame_tables import detrame_tables
from robustcsc.report.figures import Plot
from robustcsc.report.fooling import fooling_frame, fooling_plots, fooling_tables
from robustcsc.report.frame import accuracy_frame, record_order, records_frame
from robustcsc.report.gains import gain_tables
from robustcsc.report.headline import headline_tables
from robustcsc.report.join import joined
from robustcsc.report.page import Section, render_page
from robustcsc.report.papers import paper_tables
from robustcsc.report.plots import all_plots
from robustcsc.report.provenance import fit_tables, provenance_table
from robustcsc.report.table import markdown_text
from robustcsc.report.tables import attack_tables, corruption_tables, mean_tables
from robustcsc.report.trainings import Training, seed_tables, trained_models

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.adaptive.lines import LambdaFit

MANIFEST = "manifest.json"
Paper = Literal["sdnet", "detrame"]
"""Papers whose figures a report can show beside the measured ones."""


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
        figures: ``figures/<name>.svg`` and ``.png`` of every figure.
    """

    folder: Path
    page: Path
    markdown: Path
    records: Path
    accuracy: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def report_sections(
    records: Sequence[Record],
    fits: Sequence[LambdaFit],
    *,
    trainings: Sequence[Training] = (),
    paper: Paper | None = None,
    baseline: Baseline | None = None,
) -> list[Section]:
    """Returns all tables of a report, by section.

    Args:
        records: What was measured, of any number of runs.
        fits: The lambda fits to show.
        trainings: How the measured models were trained, as far as that is known.
        paper: Adds this paper's figures, in columns and tables of their own.
        baseline: Whose errors the others are divided by (mCE); the records of a measured one are among `records`.

    Raises:
        StoreError: Nothing in `records` can be related to the baseline.
    """
    records = joined(records)
    models = trained_models(records, trainings)
    with_paper = paper == "sdnet"
    laid_out = {None: [], "sdnet": paper_tables(), "detrame": detrame_tables(models)}[paper]
    sections = [
        Section("headline", "Headline", tuple(headline_tables(records))),
        Section("gains", "What the adaptive lambda gains", tuple(gain_tables(records))),
        Section("means", "Corruptions: means", tuple(mean_tables(records, with_paper=with_paper))),
        Section("errors", "Corruption errors", tuple(corruption_error_tables(records, baseline))),
        Section("attacks", "Attacks", tuple(attack_tables(records, with_paper=with_paper))),
        Section("fooling", "Universal perturbations and random noise", tuple(fooling_tables(records))),
        Section(
            "severity",
            "By severity",
            (*severity_tables(records), *corruption_tables(records, with_paper=with_paper)),
        ),
        Section("fits", "Lambda fits", tuple(fit_tables(fits))),
        Section("seeds", "Models over training seeds", tuple(seed_tables(models))),
        Section("paper", "The paper's tables", tuple(laid_out)),
    ]
    return [section for section in sections if section.tables]


def write_report(
    records: Sequence[Record],
    fits: Sequence[LambdaFit],
    folder: Path,
    *,
    title: str,
    trainings: Sequence[Training] = (),
    paper: Paper | None = None,
    baseline: Baseline | None = None,
) -> ReportPaths:
    """Writes tables, figures and the page; a reader sees the old report or the new one, never half of one.

    The same records and fits in any order give the same bytes.

    Args:
        records: What was measured, of any number of runs; at least one.
        fits: The lambda fits to show.
        folder: Where the report goes; replaced as a whole if it holds an earlier report and nothing else.
        title: Heading of the report.
        trainings: How the measured models were trained, as far as that is known.
        paper: Adds this paper's figures, in columns and tables of their own.
        baseline: Whose errors the others are divided by (mCE); the records of a measured one are among `records`.

    Raises:
        StoreError: There are no records, nothing in them can be related to the baseline, `folder` holds other files,
            or it cannot be written.
    """
    if not records:
        raise StoreError("There are no results to report yet: run `robustcsc evaluate` or `robustcsc sweep` first.")
    ordered = sorted(records, key=record_order)
    sections = report_sections(ordered, fits, trainings=trainings, paper=paper, baseline=baseline)
    contents = _contents(ordered, fits, title, sections)
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
    return _paths(folder, list(contents))


def _contents(
    records: Sequence[Record], fits: Sequence[LambdaFit], title: str, sections: Sequence[Section]
) -> dict[str, bytes]:
    """Returns every file of the report by its name inside the folder."""
    comparable = joined(records)
    plots = [*all_plots(comparable, fits), *fooling_plots(comparable)]
    drawn = [(plot, plot.to_svg()) for plot in plots]
    provenance = Section("made", "How the numbers were made", (provenance_table(records),))
    texts = {
        "index.html": render_page(title, sections, drawn, records),
        "report.md": _markdown(title, [*sections, provenance], plots),
        "records.csv": records_frame(records).to_csv(index=False, lineterminator="\n"),
        "accuracy.csv": accuracy_frame(comparable).to_csv(index=False, lineterminator="\n"),
    }
    fooling = fooling_frame(comparable)
    if len(fooling):
        texts["fooling.csv"] = fooling.to_csv(index=False, lineterminator="\n")
    for table in (table for section in [*sections, provenance] for table in section.tables):
        texts[f"tables/{table.name}.csv"] = table.to_csv()
        texts[f"tables/{table.name}.md"] = table.to_markdown()
        texts[f"tables/{table.name}.tex"] = table.to_latex()
    files = {name: text.encode() for name, text in texts.items()}
    for plot, svg in drawn:
        files[f"figures/{plot.name}.svg"] = svg.encode()
        files[f"figures/{plot.name}.png"] = plot.to_png()
    manifest = {"made by": "robustcsc report", "files": sorted([*files, MANIFEST])}
    return {**files, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}


def _markdown(title: str, sections: Sequence[Section], plots: Sequence[Plot]) -> str:
    parts = [f"# {markdown_text(title)}\n"]
    for section in sections:
        parts.append(f"## {section.heading}\n")
        parts += [table.to_markdown() for table in section.tables]
    if plots:
        parts.append("## Figures\n")
        parts += [
            f"![{markdown_text(plot.title)}](figures/{plot.name}.svg)\n\n{markdown_text(plot.description)}\n"
            for plot in plots
        ]
    return "\n".join(parts)


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


def _paths(folder: Path, names: Sequence[str]) -> ReportPaths:
    return ReportPaths(
        folder=folder,
        page=folder / "index.html",
        markdown=folder / "report.md",
        records=folder / "records.csv",
        accuracy=folder / "accuracy.csv",
        tables=tuple(folder / name for name in sorted(names) if name.startswith("tables/")),
        figures=tuple(folder / name for name in sorted(names) if name.startswith("figures/")),
    )
