"""A sweep that is killed (nothing can be caught or cleaned up) and started again ends with the same file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from robustcsc.adaptive.fit import fit_lambda
from robustcsc.corruptions import load_spec
from robustcsc.data import load
from robustcsc.measurements.store import ResultStore
from robustcsc.models.catalog import default_spec
from robustcsc.runs import create
from robustcsc.training.log import quiet_fabric
from robustcsc.training.parts import heldout_images
from robustcsc.training.recipes import Recipe
from robustcsc.training.run import train_run

SWEEP = "sweep --run tiny --corruptions noise --limit 60 --lambda train,adaptive,adaptive-image --device cpu"
CELLS = 3 * (1 + 4 * 5)  # policies; clean, and four noises at five severities


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``runs`` of a model trained on 100 digits for one epoch, with a lambda fit."""
    quiet_fabric()
    root = tmp_path_factory.mktemp("trained") / "runs"
    digits = load("digits", split="train").subset(torch.arange(100))
    recipe = Recipe(
        epochs=1, batch_size=10, learning_rate=0.05, schedule="onecycle", crop_padding=1, flip=False, source="test"
    )
    run = create("tiny", root)
    spec = default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 8})
    made = train_run(run, spec, digits, recipe, data="digits", heldout_fraction=0.2)
    fits = fit_lambda(
        made.model,
        heldout_images(digits, made)[0],
        model_name="sdnet-digits",
        weights=made.weights,
        noises=["gaussian"],
        spec=load_spec("cifar10_c"),
        trained_on_images=False,
        grid=(0.1, 0.5, 1.0),
    )
    fits["gaussian"].save(run.fit_path("gaussian"))
    return root


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the command as a user would, in a folder with ``runs``."""
    return subprocess.Popen(
        [sys.executable, "-m", "robustcsc.cli.main", *SWEEP.split()],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(folder: Path) -> bytes:
    """Runs the command to its end and returns what it wrote."""
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return (folder / "runs" / "tiny" / "results.csv").read_bytes()


def measured(folder: Path) -> int:
    with ResultStore(folder / "runs" / "tiny" / "results.sqlite", read_only=True) as store:
        return len(store.records())


def kill_after(folder: Path, cells: int) -> None:
    """Starts the command and kills it as soon as so many records are stored."""
    process = start(folder)
    deadline = time.monotonic() + 300
    try:
        while measured(folder) < cells:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "runs" / "tiny" / "results.csv").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_sweep_ends_like_an_uninterrupted_one(trained: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        shutil.copytree(trained, folder / "runs")
    expected = finish(whole)
    assert expected.count(b"\n") == CELLS + 1
    kill_after(killed, 10)
    assert 10 <= measured(killed) < CELLS
    assert finish(killed) == expected
    assert measured(killed) == CELLS
