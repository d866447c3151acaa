"""`robustcsc report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, results_console
from robustcsc.cli.context import demo_run, latest_run
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.adaptive.lines import LambdaFit
    from robustcsc.records import Record


def report(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs side by side; the latest run if none is given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; by default into the (first) run's folder.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Add the paper's figures in columns of their own.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print the tables of one or more runs and write CSV, Markdown, LaTeX, figures and one HTML page."""
    from robustcsc.report import report_sections, write_report

    chosen = [runs.find(name) for name in names or []] or [latest_run() or _measured_demo()]
    records, fits = collect(chosen)
    folder = out or chosen[0].reports
    paths = write_report(
        records, fits, folder, title=title or f"Robustness of {', '.join(run.name for run in chosen)}", with_paper=paper
    )
    if as_json:
        print_json({"page": paths.page, "records": paths.records, "tables": paths.tables, "figures": paths.figures})
        return
    console = results_console()
    for section in report_sections(records, fits, with_paper=paper):
        for table in section.tables:
            console.print(table.to_rich())
    note(f"CSV, Markdown, LaTeX and figures: {paths.folder}\nPage: {paths.page}")


def collect(chosen: list[Run]) -> tuple[list[Record], list[LambdaFit]]:
    """Returns all records and lambda fits of the runs."""
    from robustcsc.adaptive.lines import LambdaFit
    from robustcsc.evaluation.subject import lambda_fits
    from robustcsc.store import ResultStore

    records: list[Record] = []
    fits: list[LambdaFit] = []
    for run in chosen:
        if run.store_path.exists():
            with ResultStore(run.store_path, read_only=True) as store:
                records += store.records()
        fits += [LambdaFit.load(path) for path in lambda_fits(run).values()]
    return records, fits


def _measured_demo() -> Run:
    """Returns the run of the shipped digits model with a noise sweep, so that there is something to report."""
    from robustcsc.cli.evaluate import sweep

    run: Run = demo_run()
    note("Nothing was measured yet: sweeping the noise corruptions on the digits first (some seconds).")
    sweep(run=run.name, corruptions="noise")
    return run
