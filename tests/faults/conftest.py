"""Commands that are killed, disturbed or started together, and what is left of their results."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults.examples import EXAMPLES

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it, and commands would leave it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: How often what is random is tried; `ROBUSTCSC_FAULTS=1` makes it the numbers of docs/reliability.md.
FULL = os.environ.get("ROBUSTCSC_FAULTS") == "1"


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code (negative: the signal that ended it), and what it printed."""

    code: int
    out: str
    err: str
    events: int
    seconds: float


class Commands:
    """Runs commands in forks of a process that has imported everything."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ROBUSTCSC_CACHE": "off"}
        program = [sys.executable, str(Path(__file__).with_name("forking.py"))]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def together(self, place: Path, *commands: str, **disturbance: Any) -> list[Done]:
        """Starts commands at once in a folder, under a disturbance of `forking.py`, and waits for all."""
        place.mkdir(parents=True, exist_ok=True)
        asked = {"place": str(place), "commands": [it.split() for it in commands], **disturbance}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return [Done(**it) for it in json.loads(self._process.stdout.readline())]

    def __call__(self, place: Path, command: str, **disturbance: Any) -> Done:
        """Runs one command."""
        return self.together(place, command, **disturbance)[0]

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


def records(place: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the records of every run in a folder, without what only a clock decides, in any order."""
    found = {}
    for path in sorted(place.glob("runs/*/results.sqlite")):
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = [json.loads(row) for (row,) in connection.execute("SELECT record FROM records")]
        connection.close()
        found[path.parent.name] = sorted(map(timeless, rows), key=json.dumps)
    return found


#: Times, and digests over them.
_TIMED = ("seconds", "created", "digest", "sha256")


def timeless(value: Any) -> Any:
    """Returns a JSON value without the times and dates in it."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key not in _TIMED}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def state(place: Path) -> dict[str, object]:
    """Returns everything in a folder: what each file holds, without what only a clock decides."""
    return {path.relative_to(place).as_posix(): _content(path) for path in sorted(place.rglob("*"))}


def _content(path: Path) -> object:
    if path.is_dir():
        return None
    if path.suffix == ".sqlite":
        return records(path.parents[2])
    content = path.read_bytes()
    if path.name == "weights.safetensors":
        header = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + header])
        facts["__metadata__"] = timeless(facts["__metadata__"])
        facts["__metadata__"]["training"] = timeless(json.loads(facts["__metadata__"]["training"]))
        return facts, content[8 + header :]
    if path.suffix == ".pt":
        return "a training state"
    if path.parent.name == "lambda" and path.suffix == ".json":
        return timeless(json.loads(content))
    if path.name == "results.csv":  # in the order of the records, which races change
        return sorted(csv.reader(content.decode().splitlines()))
    return content


@dataclass(frozen=True)
class Whole:
    """What a command leaves if nothing disturbs it."""

    before: Path
    state: dict[str, object]
    events: int
    seconds: float

    def copy(self, place: Path) -> Path:
        """Returns a new folder as it was before the command."""
        shutil.copytree(self.before, place)
        return place


Undisturbed = Callable[[str], Whole]


@pytest.fixture(scope="session")
def undisturbed(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Runs an example, once for all tests."""

    @cache
    def whole(name: str) -> Whole:
        before = tmp_path_factory.mktemp(name)
        for typed in EXAMPLES[name].first:
            assert commands(before, typed).code == 0
        place = tmp_path_factory.mktemp(name) / "place"
        shutil.copytree(before, place)
        done = commands(place, EXAMPLES[name].typed)
        assert done.code == 0, done.err
        return Whole(before, state(place), done.events, done.seconds)

    return whole


def alive(pid: int) -> bool:
    """Returns whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(pids: Iterable[int], seconds: float = 20) -> bool:
    """Returns whether processes end within some seconds."""
    left, until = list(pids), time.monotonic() + seconds
    while (left := list(filter(alive, left))) and time.monotonic() < until:
        time.sleep(0.05)
    return not left
