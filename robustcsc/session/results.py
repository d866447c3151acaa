"""The file of results that every measurement leaves in its run."""

from __future__ import annotations

from robustcsc.files import write_whole
from robustcsc.locks import PATIENCE, alone
from robustcsc.measurements.frames import records_csv
from robustcsc.measurements.store import ResultStore
from robustcsc.runs import Run
from robustcsc.session.choices import written


def keep_results(run: Run) -> None:
    """Writes all records of a run, without their times, to its ``results.csv``.

    Of processes that measure at once, the last one to finish finds the records of all.
    """
    doing = f"The results of run {run.name!r} are being written"
    with written(run), alone(run.results_path, doing, "choose another --run", patience=PATIENCE):
        with ResultStore(run.store_path, read_only=True) as store:
            text = records_csv(store.records(), timing=False)
        write_whole(run.results_path, text.encode())
