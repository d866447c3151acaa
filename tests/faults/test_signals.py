"""Ctrl-C and SIGTERM at any moment, closed or full streams, little memory: one sentence, and results are kept."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import FULL, Commands, Undisturbed, records, state
from tests.faults.examples import EXAMPLES

pytestmark = pytest.mark.slow

SENTENCES = {
    signal.SIGINT: "Interrupted; what was finished is kept.",
    signal.SIGTERM: "Terminated; what was finished is kept.",
}
MOMENTS, STARTS = (5, 20) if FULL else (1, 1)
PROGRAM = [sys.executable, "-m", "robustcsc.cli.start"]
EVALUATE = [*PROGRAM, "evaluate", "--run", "sdnet-digits", "--limit", "10"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_command_that_is_stopped_says_so_and_is_resumed(
    name: str, commands: Commands, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    example, whole, chance = EXAMPLES[name], undisturbed(name), random.Random(name)
    for number in range(MOMENTS):
        for sent, sentence in SENTENCES.items():
            place = whole.copy(tmp_path / f"{sent.name}-{number}")
            after = (0.05 + chance.random() * whole.seconds, sent, 0)
            stopped = commands(place, example.typed, signal_after=after)
            assert stopped.code in (0, 128 + sent), stopped
            assert stopped.code == 0 or sentence in stopped.err, stopped
            assert "Traceback" not in stopped.err
            if stopped.code:
                assert not [path for path in place.rglob("*") if path.name.startswith(".") or ".partial" in path.name]
                assert commands(place, example.typed + example.again).code == 0
            assert state(place) == whole.state


def test_a_program_that_is_stopped_while_it_starts_says_so(tmp_path: Path) -> None:
    """The first tenth of a second belongs to Python, which has no words for it; its last one says nothing either."""
    chance = random.Random(0)
    for _ in range(STARTS):
        for sent, sentence in SENTENCES.items():
            begun = subprocess.Popen(EVALUATE, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while not caught(signal.SIGTERM, begun):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 3.0))
            begun.send_signal(sent)
            _, err = begun.communicate()
            assert begun.returncode in (0, 128 + sent), err
            assert begun.returncode == 0 or err.startswith(sentence), err
            assert "Traceback" not in err


def test_a_signal_while_a_program_ends_changes_nothing(tmp_path: Path) -> None:
    written, chance = [*PROGRAM, "--version"], random.Random(0)
    whole = subprocess.run(written, cwd=tmp_path, capture_output=True, text=True).stdout
    for sent in SENTENCES:
        for _ in range(STARTS):
            begun = subprocess.Popen(written, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert begun.stdout is not None and begun.stdout.readline() == whole
            time.sleep(chance.uniform(0.0, 0.2))
            begun.send_signal(sent)
            _, err = begun.communicate()
            assert (begun.returncode, err) in [(0, ""), (128 + sent, f"{SENTENCES[sent]}\n")]


@pytest.mark.parametrize("closed", [">&- 2>&-", "2>/dev/full", *(["<&- >&-", "2>&-"] if FULL else [])])
def test_streams_that_lead_nowhere_disturb_no_measurement(closed: str, tmp_path: Path) -> None:
    typed = f"{' '.join(EVALUATE)} {closed}"
    done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert ("Accuracy" in done.stdout) == (">&-" not in closed.split())
    assert len(records(tmp_path)["sdnet-digits"]) == 1
    assert (tmp_path / "runs/sdnet-digits/results.csv").exists()


def test_little_memory_is_one_sentence(tmp_path: Path) -> None:
    for megabytes in (100, 300, 1000, 2000) if FULL else (300, 2000):
        limit = partial_limit(megabytes << 20)
        done = subprocess.run(EVALUATE, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit)
        assert done.returncode == 2, done
        assert done.stderr.startswith("Error: There is too little memory: ") and done.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


def partial_limit(size: int) -> Callable[[], None]:
    """Returns what limits the memory of a process that is about to begin."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))


def caught(number: int, begun: subprocess.Popen[str]) -> bool:
    """Returns whether a process answers a signal, or has ended."""
    if begun.poll() is not None:
        return True
    (mask,) = [line for line in Path(f"/proc/{begun.pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)
