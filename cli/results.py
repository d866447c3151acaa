"""How results are shown, and kept as files beside the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustcsc.cli.console import note, print_json, results_console
from robustcsc.files import write_whole
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.records import Record
    from robustcsc.report import Table


def print_tables(tables: Sequence[Table]) -> None:
    """Prints tables on standard output, and below them the notes of all, each once."""
    console = results_console()
    for table in tables:
        console.print(replace(table, notes=()).to_rich())
    for sentence in dict.fromkeys(sentence for table in tables for sentence in table.notes):
        console.print(sentence)


def without_columns(table: Table, beginnings: tuple[str, ...]) -> Table:
    """Returns the table without the columns whose headings begin with one of `beginnings`."""
    kept = [index for index, heading in enumerate(table.columns) if not heading.startswith(beginnings)]
    return replace(
        table,
        columns=tuple(table.columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
    )


def json_rows(records: Iterable[Record]) -> list[dict[str, object]]:
    """Returns the fields of each record with its accuracy and the ends of its 95 % Wilson interval."""
    from robustcsc.measurements.statistics import wilson_interval

    rows = []
    for record in records:
        low, high = wilson_interval(record.correct, record.total)
        rows.append({**record.row(), "accuracy": record.correct / record.total, "low": low, "high": high})
    return rows


def show(run: Run, records: Sequence[Record], as_json: bool) -> None:
    """Prints `records` as tables (or JSON) and writes all records of the run to its ``results.csv``."""
    from robustcsc.report import joined, records_frame
    from robustcsc.measurements.store import ResultStore

    with ResultStore(run.store_path, read_only=True) as store:
        frame = records_frame(store.records())
    csv = run.folder / "results.csv"
    write_whole(csv, frame.to_csv(index=False).encode())
    if as_json:
        print_json(json_rows(records))
    else:
        print_tables(_tables(joined(records)))
        note(f"All results of run {run.name!r}: {csv}")


def _tables(records: Sequence[Record]) -> list[Table]:
    """Returns the tables that a terminal has room for; a report has them all."""
    from robustcsc.report import attack_tables, fooling_tables, gain_tables, headline_tables
    from robustcsc.report.adversarial import attack_list_tables, worst_case_tables
    from robustcsc.report.minimal import minimal_tables
    from robustcsc.report.tables import corruption_tables

    kinds = {record.condition.kind for record in records}
    if "minimal-epsilon" in kinds:
        return list(minimal_tables(records))
    if "attack" in kinds:
        several = (
            len({(it.condition.name, it.condition.epsilon) for it in records if it.condition.kind == "attack"}) > 1
        )
        tables = attack_list_tables(records) if several else attack_tables(records)
        return [*tables, *worst_case_tables(records)]
    if kinds & {"uap", "random-noise"}:
        return list(fooling_tables(records))
    if "corruption" not in kinds:
        return list(headline_tables(records))
    gains = [without_columns(table, ("severity ",)) for table in gain_tables(records)]
    return [*headline_tables(records), *corruption_tables(records), *gains]
