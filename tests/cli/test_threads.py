"""How many threads a command computes with; no test here needs a quiet or a busy machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcsc.cli import threads
from robustcsc.cli.threads import Usage, free_threads, start_torch


def stat(folder: Path, *rows: str) -> Path:
    """Writes a /proc/stat with the counts of processors 0, 1, ..., and of one that this process may not use."""
    folder.mkdir(exist_ok=True)
    lines = ["cpu 9 9 9 9 9 9 9 9 0 0", *(f"cpu{at} {row}" for at, row in enumerate(rows)), "cpu77 9 9 9 9 9 9 9 9 0 0"]
    (folder / "stat").write_text("\n".join([*lines, "intr 1 2"]))
    return folder / "stat"


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    monkeypatch.setattr(os, "nice", lambda _: 0)


@pytest.mark.usefixtures("two_processors")
def test_busy_is_what_is_neither_idle_nor_waiting_nor_nice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice
    file = stat(tmp_path, "100 7 20 900 50 3 4 5 60 0", "200 8 30 900 50 0 0 0 0 0")
    usage = Usage.now(file)
    assert usage is not None
    assert usage.busy == pytest.approx(1.00 + 0.20 + 0.03 + 0.04 + 0.05 + 2.00 + 0.30)
    monkeypatch.setattr(os, "nice", lambda _: 5)
    usage = Usage.now(file)
    assert usage is not None
    assert usage.busy == pytest.approx(3.62 + 0.15)


def test_nothing_is_told_without_counts(tmp_path: Path) -> None:
    assert Usage.now(tmp_path / "stat") is None


@pytest.mark.parametrize(
    ("busy", "own", "taken"),
    [(4.0, 0.0, 2.0), (4.0, 1.0, 1.5), (2.0, 2.0, 0.0), (1.9, 2.0, 0.0)],
)
def test_what_others_take_is_what_this_process_does_not(busy: float, own: float, taken: float) -> None:
    assert Usage(12.0, 100.0 + busy, 5.0 + own).taken_since(Usage(10.0, 100.0, 5.0)) == pytest.approx(taken)


def test_a_moment_is_too_short_to_tell() -> None:
    assert Usage(10.1, 100.2, 5.0).taken_since(Usage(10.0, 100.0, 5.0)) is None


@pytest.mark.parametrize(
    ("processors", "taken", "expected"),
    [
        (2, 0.0, 2),
        (2, 0.4, 2),  # an editor, a browser
        (2, 1.0, 1),
        (2, 1.33, 1),  # two busy programs, which share two processors with this one
        (2, 2.0, 1),
        (16, 3.1, 13),
        (1, 1.0, 1),
    ],
)
def test_a_thread_for_each_processor_that_is_free(processors: int, taken: float, expected: int) -> None:
    assert free_threads(processors, taken) == expected


class Threads:
    """Stands for the threads of PyTorch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, taken: float) -> None:
        self.count = count
        usages = iter((Usage(0.0, 0.0, 0.0), Usage(2.0, 2 * taken + 1.0, 1.0)))
        monkeypatch.setattr(Usage, "now", lambda: next(usages))
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.count)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: vars(self).update(count=count))
        for variable in threads.VARIABLES:
            monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("taken", "count", "told"),
    [
        (0.2, 4, ""),
        (
            2.6,
            1,
            "Other programs keep 2.6 of 4 processors busy: computing in 1 thread, unless --threads says more.\n",
        ),
        (
            2.0,
            2,
            "Other programs keep 2.0 of 4 processors busy: computing in 2 threads, unless --threads says more.\n",
        ),
    ],
)
def test_fewer_threads_than_processors_are_told(
    taken: float, count: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    computing = Threads(monkeypatch, 4, taken)
    start_torch(None)
    assert (computing.count, capsys.readouterr().err) == (count, told)


def test_what_the_user_says_holds_whatever_the_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    computing = Threads(monkeypatch, 4, 3.0)
    start_torch(3)
    assert computing.count == 3
    computing = Threads(monkeypatch, 4, 3.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    start_torch(None)
    assert (computing.count, capsys.readouterr().err) == (4, "")


def test_a_command_computes_with_the_threads_that_it_is_given(
    few_digits: None, robustcsc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = Threads(monkeypatch, 4, 3.0)
    assert robustcsc("evaluate --run sdnet-digits --limit 5 --threads 3").code == 0
    assert computing.count == 3


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system does not count the use of its processors")
def test_the_load_is_measured_while_torch_is_imported(tmp_path: Path) -> None:
    """Nothing that a command does before imports torch, so that there is a time to measure."""
    code = (
        "import os, sys, robustcsc.cli.threads as t; usual, seen = t.Usage.now, []\n"
        "def now():\n"
        "    seen.append('torch' in sys.modules)\n"
        "    if seen[-1]: print(seen, flush=True); os._exit(0)  # the rest of the command takes its time\n"
        "    return usual()\n"
        "t.Usage.now = now\n"
        "import robustcsc.cli.main as m; m.main(sys.argv[1:])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in threads.VARIABLES}
    typed = ["evaluate", "--run", "sdnet-digits", "--limit", "5", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *typed], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[False, True]", done.stderr
