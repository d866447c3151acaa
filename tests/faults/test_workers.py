"""A sweep in several processes of which one is killed: the store is that of an undisturbed sweep."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import FULL, alive, end, records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc"),
]

TIMES = 10 if FULL else 1
CELLS = 21  # of a tenth of a second
TYPED = "sweep --run sdnet-digits --corruptions noise --lambda train,oracle --limit 100"


@contextmanager
def begun(place: Path, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """Gives a command in a session of its own, which is killed with all of its processes if a test fails."""
    place.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "robustcsc.cli.start", *TYPED.split(), *more.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        words,
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Returns the workers of a command that are alive."""
    found = []
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            with suppress(OSError):  # it has ended meanwhile
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
    return found


@contextmanager
def measuring(place: Path, cells: int) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Gives a command with two workers, stopped, and these, once some cells are stored and before all are.

    On a busy machine all cells can be measured between two looks: then it begins again.
    """
    for _ in range(5):
        shutil.rmtree(place, ignore_errors=True)
        with begun(place, "--workers 2") as process:
            while process.poll() is None and count(place) < cells:
                time.sleep(0.02)
            process.send_signal(signal.SIGSTOP)  # or it could end before anything happens to it
            found = workers(process)
            if len(found) == 2 and count(place) < CELLS:
                yield process, found
                return
            process.kill()
    raise AssertionError("every time all cells were measured before anybody looked")


def count(place: Path) -> int:
    """Returns how many cells are stored."""
    try:
        return len(records(place).get("sdnet-digits", ())) // 2
    except sqlite3.OperationalError:  # the table is being made
        return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> object:
    place = tmp_path_factory.mktemp("whole") / "place"
    with begun(place) as process:
        assert process.wait() == 0
    return records(place)


def test_a_worker_that_is_killed_costs_its_cell_only(whole: object, tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(TIMES):
        place = tmp_path / str(number)
        with measuring(place, chance.randrange(1, 7)) as (process, both):
            os.kill(chance.choice(both), signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate()
        assert (process.returncode, "Error" in err) == (0, False), err
        assert records(place) == whole


def test_a_command_that_is_killed_takes_its_workers_along_and_is_resumed(whole: object, tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(TIMES):
        place = tmp_path / str(number)
        with measuring(place, chance.randrange(1, 7)) as (process, left):
            process.kill()
            process.wait()
            assert end(left)
        with begun(place, "--workers 2") as process:
            assert process.wait() == 0
        assert records(place) == whole


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_ends_its_workers_and_is_resumed(
    sent: signal.Signals, whole: object, tmp_path: Path
) -> None:
    """Ctrl-C goes to the whole group, as a terminal sends it."""
    chance = random.Random(sent)
    for number in range(TIMES):
        place = tmp_path / str(number)
        with measuring(place, chance.randrange(1, 7)) as (process, left):
            os.killpg(process.pid, sent) if sent is signal.SIGINT else process.send_signal(sent)
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate()
            assert not any(map(alive, left))
        assert process.returncode == 128 + sent, err
        assert "what was finished is kept." in err
        assert "Traceback" not in err
        with begun(place, "--workers 2") as process:
            assert process.wait() == 0
        assert records(place) == whole
