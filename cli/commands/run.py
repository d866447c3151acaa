"""`robustcsc run`: a whole experiment from one file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, print_line, progress_display
from robustcsc.cli.render import print_section, print_tables
from robustcsc.cli.threads import start_torch

if TYPE_CHECKING:
    from robustcsc.experiments.rehearsal import Planned
    from robustcsc.presentation.table import Table


def run(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The experiment, a TOML file.")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print an example with comments, which runs in about a minute.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and show what would be done; write nothing.")
    ] = False,
    threads: options.Threads = None,
    workers: options.Workers = None,
    as_json: options.Json = False,
) -> None:
    """Train, fit, measure and report as a file says: a table of it is a command, a key is an option.

    The whole file is checked first. Run it again to resume it: what the runs have is not made again.
    """
    from robustcsc.experiments.reading import example_text, read_experiment

    if example:
        print_line(example_text().rstrip("\n"))
        return
    if file is None:
        raise options.OptionError("No experiment is named: write FILE.toml, or --example to see one.")
    read_experiment(file)  # a mistake is told before torch is imported

    start_torch(threads)
    from robustcsc.experiments.running import plan_experiment, run_experiment
    from robustcsc.measurements.frames import flat
    from robustcsc.reports.summary.short import short_section
    from robustcsc.session.measuring import Measuring

    with progress_display() as progress:
        how = Measuring(workers=workers, progress=progress, note=note)
        if dry_run:
            planned = plan_experiment(file, measuring=how)
        else:
            try:
                outcome = run_experiment(file, measuring=how)
            except KeyboardInterrupt:
                note(f"To go on: robustcsc run {shlex.quote(str(file))}")
                raise
    if dry_run:
        if as_json:
            print_json(planned)
        else:
            print_tables([plan_table(planned)])
        return
    paths = outcome.report
    if as_json:
        print_json({"page": paths and paths.page, "records": [flat(record) for record in outcome.records]})
        return
    print_section(paths.sections[0] if paths else short_section(outcome.records))
    if paths:
        note(f"Every table as CSV, Markdown and LaTeX, and all figures: {paths.folder}\nThe page: {paths.page}")


def plan_table(planned: list[Planned]) -> Table:
    """Returns what would be done as a table."""
    from robustcsc.presentation.table import Column, Table

    return Table(
        name="plan",
        title="What is to be done",
        columns=tuple(map(Column, ("step", "run", "to do", "done already"))),
        rows=tuple((it.step, it.run, it.missing, it.stored) for it in planned),
        notes=("Weights, lambda fits and records of measurements.",),
    )
