"""Ctrl-C: exit code 130, and what was measured is kept."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]
SWEEP = "sweep --corruptions gaussian_noise --limit 20"


def interrupting(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Returns the function, interrupted when it is called once more than `after` times."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return call


def test_an_interrupted_sweep_is_resumed_with_what_is_missing(
    robustcsc: Command, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcsc.corruptions.apply import corrupt_unchecked

    run = make_run("sdnet", "sdnet-digits")
    with monkeypatch.context() as patched:
        patched.setattr("robustcsc.evaluation.sources.corrupt_unchecked", interrupting(corrupt_unchecked, after=2))
        done = robustcsc(SWEEP)
    assert (done.code, done.out) == (130, "")
    assert done.err == "Interrupted; what was finished is kept.\n"
    with sqlite3.connect(run.store_path) as connection:
        columns = "json_extract(record, '$.measurement.perturbation.severity'), created"
        kept = connection.execute(f"SELECT {columns} FROM records ORDER BY id").fetchall()
    connection.close()
    assert [severity for severity, _ in kept] == [None, 1, 2]

    # three severities are missing, and no more
    monkeypatch.setattr("robustcsc.evaluation.sources.corrupt_unchecked", interrupting(corrupt_unchecked, after=3))
    rows = json.loads(robustcsc(f"{SWEEP} --json").out)
    assert [(row.get("severity"), row["created"]) for row in rows][:3] == kept
    assert [row.get("severity") for row in rows] == [None, 1, 2, 3, 4, 5]


def test_an_interrupted_training_is_resumed_to_the_same_weights(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcsc.training import loop

    typed = "train resnet-digits --epochs 3 --run {} --json"
    whole = json.loads(robustcsc(typed.format("whole")).out)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_keep", interrupting(loop._keep, after=1))
        done = robustcsc(typed.format("stopped"))
    assert (done.code, done.out) == (130, "")
    assert "rerun the command with --resume to continue after the last epoch" in done.err
    assert [path.name for path in (place / "runs/stopped").iterdir()] == ["training.pt"]
    resumed = robustcsc(typed.format("stopped") + " --resume")
    assert [line.split(":")[0] for line in resumed.err.splitlines()] == ["epoch 2/3", "epoch 3/3"]
    assert json.loads(resumed.out)["sha256"] == whole["sha256"]


def test_training_that_is_interrupted_before_its_first_epoch_leaves_nothing(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcsc.training import loop

    monkeypatch.setattr(loop, "_keep", interrupting(loop._keep, after=0))
    assert robustcsc("train resnet-digits --epochs 1").code == 130
    assert list(place.iterdir()) == []
