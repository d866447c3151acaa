"""How results are printed, and kept as files beside the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustcsc.cli.console import note, print_json, results_console
from robustcsc.files import write_whole
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.records import Record
    from robustcsc.presentation.table import Table


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables on standard output, and below them the notes of all, each once."""
    from robustcsc.presentation.terminal import rich_table

    shown, console = list(tables), results_console()
    for table in shown:
        console.print(rich_table(replace(table, notes=())))
    for sentence in dict.fromkeys(sentence for table in shown for sentence in table.notes):
        console.print(sentence)


def show_results(run: Run, records: Sequence[Record], as_json: bool) -> None:
    """Prints `records` as tables (or JSON) and writes all records of the run to its ``results.csv``."""
    from robustcsc.measurements.frames import flat, records_frame
    from robustcsc.measurements.store import ResultStore
    from robustcsc.reports.summary.short import short_tables

    with ResultStore(run.store_path, read_only=True) as store:
        frame = records_frame(store.records(), timing=False)
    csv = run.folder / "results.csv"
    write_whole(csv, frame.to_csv(index=False).encode())
    if as_json:
        print_json([flat(record) for record in records])
        return
    print_tables(short_tables(records))
    note(f"All results of run {run.name!r}: {csv}")
