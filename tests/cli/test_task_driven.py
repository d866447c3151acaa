"""A task-driven model on the command line: trained, fitted, swept and attacked like any other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from robustcsc.models import checkpoint
from robustcsc.training.recipes import RECIPES
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.slow
def test_it_is_trained_fitted_swept_and_attacked(robustcsc: Command, place: Path) -> None:
    train = "train tddl-cnn --train-images 200 --epochs 2 --model-option atoms=50 --model-option lam=2 --run t --json"
    done = robustcsc(train)
    assert done.code == 0, done.err
    training = json.loads(done.out)["training"]
    assert (training["recipe"]["schedule"], training["recipe"]["decayed"]) == ("inverse", "*.head.weight")
    assert (training["subset"]["images"], training["final_epoch"]["number"]) == (200, 2)
    assert "epoch 2/2" in done.err
    fitted = robustcsc("fit-lambda --run t --grid 1,2,4 --limit 60")
    assert fitted.code == 0, fitted.err
    swept = robustcsc(
        "sweep --run t --corruptions gaussian_noise --severities 3 --limit 40 --json "
        "--lambda train,adaptive,adaptive-image"
    )
    assert swept.code == 0, swept.err
    attacked = robustcsc("attack --run t --pgd linf --steps 2 --limit 20 --json")
    assert attacked.code == 0, attacked.err


def test_a_recipe_of_iterations_does_not_promise_a_number_of_epochs(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "tddl-1k", replace(RECIPES["tddl-1k"], iterations=3))
    done = robustcsc("train tddl-lin --train-images 200 --model-option atoms=30 --model-option features=20 --run t")
    assert done.code == 0, done.err
    assert "epoch 1: loss" in done.err
    assert "2 epochs" in done.out  # two batches of 100 in an epoch
    assert checkpoint.load(place / "runs/t/weights.safetensors").training["recipe"]["iterations"] == 3


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("train tddl-cnn --model-option lam=0", "lam must be above 0"),
        ("train tddl-cnn --model-option lam=-1", "lam must be above 0"),
        ("train tddl-cnn --train-images 100", "training images for its 40 of 400 atoms"),
        ("train tddl-cnn --train-images 5", "balanced subset of 5 images"),
        ("train tddl-lin --train-images 100000", "balanced subset of 100000 images"),
    ],
)
def test_mistakes_are_one_sentence(robustcsc: Command, typed: str, sentence: str) -> None:
    done = robustcsc(typed)
    assert done.code == 2
    assert re.search(sentence, " ".join(done.err.split()))
    assert "Traceback" not in done.err
