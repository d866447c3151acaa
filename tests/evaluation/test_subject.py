from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation.subject import Subject, fixed_lambda
from robustcsc.measurements.fits import LambdaFit
from robustcsc.models.catalog import ModelSpec
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.runs import create


def test_default_policies_are_those_that_make_sense(subject: Subject, plain: Subject) -> None:
    assert subject.policies(()) == ("train", "adaptive")
    assert replace(subject, fits={}).policies(()) == ("train",)
    assert plain.policies(()) == plain.policies(("train",)) == ("none",)


def test_grid_stands_for_every_value_once(subject: Subject) -> None:
    values = tuple(f"fixed={k / 10:g}" for k in range(1, 16))
    assert subject.policies(("grid",)) == values
    assert subject.policies(("train", "fixed=0.50", "grid", "train")) == (
        "train",
        "fixed=0.5",
        *[value for value in values if value != "fixed=0.5"],
    )


def test_policies_that_cannot_be_measured_are_refused(subject: Subject, plain: Subject) -> None:
    with pytest.raises(UnknownNameError, match="adaptive-image"):
        subject.policies(("adaptve-image",))
    with pytest.raises(UnknownNameError):
        subject.policies(("none",))
    for policy in ("adaptive", "fixed=0.5", "grid", "oracle"):
        with pytest.raises(PolicyError, match="no CSC layer"):
            plain.policies((policy,))
    for policy in ("adaptive", "adaptive-batch", "adaptive-image"):
        with pytest.raises(PolicyError, match="robustcsc fit-lambda --run r"):
            replace(subject, fits={}).policies((policy,))


@pytest.mark.parametrize("text", ["fixed=", "fixed=x", "fixed=-0.1", "fixed=nan", "fixed=inf"])
def test_a_fixed_lambda_is_a_number_of_at_least_zero(text: str) -> None:
    with pytest.raises(PolicyError, match=r"write fixed=0\.5"):
        fixed_lambda(text)


def test_fixed_lambdas_are_read() -> None:
    assert (fixed_lambda("fixed=0"), fixed_lambda("fixed=1.25"), fixed_lambda("train")) == (0.0, 1.25, None)


def test_the_fit_is_that_of_the_noise_then_pooled_then_gaussian_then_any(subject: Subject, fit: LambdaFit) -> None:
    fits = {name: replace(fit, noise=name) for name in ("gaussian", "shot", "speckle", "pooled")}

    def chosen(names: tuple[str, ...], corruption: str | None) -> str:
        return replace(subject, fits={name: fits[name] for name in names}).fit_for(corruption).noise

    everything = ("gaussian", "shot", "speckle", "pooled")
    assert chosen(everything, "shot_noise") == "shot"
    assert chosen(everything, "impulse_noise") == chosen(everything, "fog") == chosen(everything, None) == "pooled"
    assert chosen(("shot", "gaussian"), "fog") == "gaussian"
    assert chosen(("shot", "speckle"), None) == "shot"
    with pytest.raises(PolicyError, match="fit-lambda"):
        replace(subject, fits={}).fit_for("fog")


def test_fits_of_other_weights_are_left_out(trained: nn.Module, fit: LambdaFit, tmp_path: Path) -> None:
    run = create("r", tmp_path)
    replace(fit, weights="aa").save(run.fit_path("gaussian"))
    replace(fit, weights="bb", noise="shot").save(run.fit_path("shot"))
    spec = ModelSpec(name="tiny", num_classes=10, image_shape=(1, 8, 8))
    checkpoint = Checkpoint(spec=spec, model=copy.deepcopy(trained), weights="aa")
    subject = Subject.of(run, checkpoint, torch.device("cpu"))
    assert (subject.run, subject.model_name, subject.weights, subject.lam0) == ("r", "tiny", "aa", 0.1)
    assert list(subject.fits) == ["gaussian"]
