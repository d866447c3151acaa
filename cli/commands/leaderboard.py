"""`robustcsc leaderboard`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json
from robustcsc.cli.render import print_tables
from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.records import Record
    from robustcsc.presentation.table import Table


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Folder of runs.")] = runs.RUNS,
    run: options.Runs = None,
    by: Annotated[
        Literal["clean", "noise", "corruptions", "robust"],
        typer.Option(
            help="Rank by the accuracy on clean images, its mean over the noises or over the standard corruptions, or "
            "by what all attacks together leave.",
        ),
    ] = "clean",
    out: Annotated[
        Path | None,
        options.in_output(
            metavar="FOLDER", callback=options.writable, help="Also write every table there as CSV, Markdown and LaTeX."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Rank the runs of a folder, one table for each set of images that they were measured on.

    Training seeds of the same model and recipe are one row, as mean and standard deviation.
    """
    from robustcsc.reports.comparisons.gaps import Gap, gaps
    from robustcsc.reports.comparisons.leaderboard import leaderboards

    found = [runs.find(name, folder) for name in dict.fromkeys(run or ())] or runs.existing(folder)
    if not found:
        raise StoreError(f"There are no runs in {folder}: name the folder that holds them, or train a model first.")
    records, left_out = _collect(found)
    if not records:
        raise StoreError(f"No run in {folder} has results to rank: {_words(left_out)}.")
    boards = leaderboards(records, runs.trainings(found), by)
    tables = [board.table() for board in boards]
    files = _write(tables, out) if out is not None else []
    missing = [gaps(board) for board in boards]
    if as_json:
        told = [board.told() | {"missing": list(map(Gap.told, it))} for board, it in zip(boards, missing, strict=True)]
        print_json({"tables": told, "left_out": left_out, "files": files})
    else:
        print_tables(tables)
        for gap in chain(*missing):
            note(str(gap))
    if left_out:
        note(f"Left out: {_words(left_out)}.")
    if out is not None:
        note(f"Every table as CSV, Markdown and LaTeX: {out}")


def _collect(found: list[Run]) -> tuple[list[Record], dict[str, str]]:
    """Returns the records of all runs that can be read, and of the others the reason by name."""
    from robustcsc.measurements.store import ResultStore

    records: list[Record] = []
    left_out = {}
    for run in found:
        try:
            with ResultStore(run.store_path, read_only=True) as store:
                measured = store.records()
        except StoreError as error:
            left_out[run.name] = str(error)
            continue
        if not measured:
            left_out[run.name] = "no results yet"
        records += measured
    return records, left_out


def _words(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name} ({reason.rstrip('.')})" for name, reason in left_out.items())


def _write(tables: list[Table], folder: Path) -> list[Path]:
    """Writes every table in three forms.

    Raises:
        StoreError: The folder cannot be written.
    """
    from robustcsc.reports.page.build import table_files

    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in tables:
            for name, content in table_files(table).items():
                files.append(folder / name)
                write_whole(files[-1], content)
    except OSError as error:
        raise StoreError(f"The tables cannot be written to {folder}: {error.strerror or error}.") from error
    return files
