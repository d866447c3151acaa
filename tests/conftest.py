"""What all tests need of the environment.

Under `make test` as many workers as cores run the tests, so each computes in one thread, as do its subprocesses.
"""

import gc
import os
import shutil
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # read at the first import of torch or numpy, and no earlier file has one
os.environ.pop("ROBUSTCSC_DATA", None)  # tests write the data they use
os.environ["ROBUSTCSC_CACHE"] = "off"  # nor do they leave anything at home

# SQLite waits for the disk with each of thousands of records, so temporary folders are in memory where there is room;
# `tmp_path_retention_policy` empties it.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# Thousands of tests and the modules they import stay to the end: the garbage collector looks through them seldom while
# they are made, and never afterwards. It took a tenth of the time of all tests.
gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the charts of reports and lambda fits empty: drawing them takes most of the time of a test of all else."""
    from matplotlib.figure import Figure

    from robustcsc.presentation.chart import Chart
    from robustcsc.presentation.drawing import Drawing

    def empty(chart: Chart, *, narrow: bool = False) -> Drawing:
        return Drawing(chart.name, chart.title, chart.description, Figure())

    monkeypatch.setattr("robustcsc.session.reporting.draw", empty)
    monkeypatch.setattr("robustcsc.reports.page.build.draw", empty)
    monkeypatch.setattr(Drawing, "to_svg", lambda _: "<svg></svg>")
    monkeypatch.setattr(Drawing, "to_png", lambda _: b"")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the checks of gradients, which take longer than the attacks of these tests."""
    from robustcsc.measurements.records import GradientChecks

    sound = GradientChecks(
        images=20,
        zero_gradients=0.0,
        deterministic=True,
        one_step=1.0,
        all_steps=2.0,
        broken_in_one_step=0,
        right_at_large_budget=0,
    )
    monkeypatch.setattr("robustcsc.evaluation.measure.check_gradients", lambda *arguments: sound)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
