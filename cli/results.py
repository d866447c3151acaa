"""How measured records are shown and kept beside the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc.cli.console import note, print_json, results_console
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.records import Record


def show(run: Run, records: Sequence[Record], as_json: bool) -> None:
    """Prints tables of `records` (or JSON) and writes all records of the run as ``results.csv``."""
    from robustcsc.metrics import wilson_interval
    from robustcsc.report import attack_tables, gain_tables, headline_tables, records_frame
    from robustcsc.report.tables import corruption_tables
    from robustcsc.store import ResultStore

    with ResultStore(run.store_path, read_only=True) as store:
        frame = records_frame(store.records())
    csv = run.folder / "results.csv"
    partial = csv.with_suffix(".partial")
    frame.to_csv(partial, index=False)
    partial.replace(csv)
    if as_json:
        rows = []
        for record in records:
            low, high = wilson_interval(record.correct, record.total)
            rows.append({**record.row(), "accuracy": record.correct / record.total, "low": low, "high": high})
        print_json(rows)
        return
    console = results_console()
    kinds = {record.condition.kind for record in records}
    tables = list(headline_tables(records))
    if "corruption" in kinds:
        tables += [*corruption_tables(records), *gain_tables(records)]
    if "attack" in kinds:
        tables = list(attack_tables(records))
    for table in tables:
        console.print(table.to_rich())
    note(f"All results of run {run.name!r}: {csv}")
