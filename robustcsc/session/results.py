"""What was measured into a run: its records, and the file of them that every measurement leaves."""

from __future__ import annotations

from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.locks import PATIENCE, alone
from robustcsc.measurements.frames import records_csv
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.runs import Run
from robustcsc.session.choices import written


def measured_records(run: Run, doing: str) -> list[Record]:
    """Returns all records of a run.

    Args:
        run: The run.
        doing: What they are for, a verb.

    Raises:
        StoreError: It has none, or its store cannot be read.
    """
    with ResultStore(run.store_path, read_only=True) as store:
        records = store.records()
    if not records:
        raise StoreError(
            f"Run {run.name!r} has no results to {doing} yet: measure some with `robustcsc sweep --run {run.name}`."
        )
    return records


def keep_results(run: Run) -> None:
    """Writes all records of a run, without their times, to its ``results.csv``.

    Of processes that measure at once, the last one to finish finds the records of all.
    """
    doing = f"The results of run {run.name!r} are being written"
    with written(run), alone(run.results_path, doing, "choose another --run", patience=PATIENCE):
        with ResultStore(run.store_path, read_only=True) as store:
            text = records_csv(store.records(), timing=False)
        write_whole(run.results_path, text.encode())
