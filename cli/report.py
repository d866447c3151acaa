"""`robustcsc report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json
from robustcsc.cli.context import DEMO_RUN, DataChoice, ModelChoice, open_session
from robustcsc.cli.results import print_tables, without_columns
from robustcsc.errors import StoreError
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.adaptive.lines import LambdaFit
    from robustcsc.records import Record

#: Sections that only the page and the files show: they would flood a terminal.
LONG_SECTIONS = ("severity", "fits")


def report(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs side by side; the latest run if none is given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.", rich_help_panel=options.OUTPUT)] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Add the paper's figures in columns of their own.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to write; by default into the (first) run's folder.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print the tables of one or more runs and write CSV, Markdown, LaTeX, figures and one HTML page."""
    from robustcsc.report import report_sections, write_report

    chosen = [runs.find(name) for name in names] if names else [_latest_measured()]
    records, fits = collect(chosen)
    folder = out or chosen[0].reports
    title = title or f"Robustness of {', '.join(run.name for run in chosen)}"
    paths = write_report(records, fits, folder, title=title, with_paper=paper)
    if as_json:
        print_json({"page": paths.page, "records": paths.records, "tables": paths.tables, "figures": paths.figures})
        return
    sections = report_sections(records, fits, with_paper=paper)
    shown = [table for section in sections if section.anchor not in LONG_SECTIONS for table in section.tables]
    print_tables([without_columns(table, ("severity ",)) for table in shown])
    note(f"Every table as CSV, Markdown and LaTeX, and all figures: {paths.folder}\nThe page: {paths.page}")


def collect(chosen: Sequence[Run]) -> tuple[list[Record], list[LambdaFit]]:
    """Returns all records and lambda fits of the runs.

    Raises:
        StoreError: If a run has no records.
    """
    from robustcsc.adaptive.lines import LambdaFit
    from robustcsc.evaluation.subject import lambda_fits
    from robustcsc.store import ResultStore

    records: list[Record] = []
    fits: list[LambdaFit] = []
    for run in chosen:
        with ResultStore(run.store_path, read_only=True) as store:
            measured = store.records()
        if not measured:
            raise StoreError(
                f"Run {run.name!r} has no results to report yet: measure some with `robustcsc sweep --run {run.name}`."
            )
        records += measured
        fits += [LambdaFit.load(path) for path in lambda_fits(run).values()]
    return records, fits


def _latest_measured() -> Run:
    """Returns the latest run; the run of the shipped digits model is measured first if it has no results yet."""
    latest = runs.latest()
    if latest is not None and (latest.name != DEMO_RUN or latest.store_path.exists()):
        return latest
    from robustcsc.cli.evaluate import measure_sweep

    session = open_session(ModelChoice(), DataChoice(), "auto")
    note("Nothing has been measured yet: sweeping four noises on the digits first, which takes some seconds.")
    measure_sweep(session, DataChoice().load(session.trained, "test"), corruptions="noise")
    run: Run = session.run
    return run
