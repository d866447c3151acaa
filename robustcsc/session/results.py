"""The file of results that every measurement leaves in its run."""

from __future__ import annotations

from robustcsc.files import write_whole
from robustcsc.measurements.frames import records_csv
from robustcsc.measurements.store import ResultStore
from robustcsc.runs import Run


def keep_results(run: Run) -> None:
    """Writes all records of a run, without their times, to its ``results.csv``."""
    with ResultStore(run.store_path, read_only=True) as store:
        text = records_csv(store.records(), timing=False)
    write_whole(run.results_path, text.encode())
