"""Models and options that are refused before PyTorch is imported."""

from __future__ import annotations

from typing import Any

import pytest

from robustcsc.errors import ModelError, UnknownNameError, hint
from robustcsc.models.known import check_known, images_for, known_models, typed_options

SIZE = "is not a whole number of at least 1 and at most 100000, as in --model-option"
NUMBER = "is not a number, as in --model-option"


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("sdnet-textures", {"atoms": "abc"}, f"--model-option atoms=abc {SIZE} atoms=16."),
        ("sdnet-textures", {"atoms": -3}, f"--model-option atoms=-3 {SIZE} atoms=16."),
        ("sdnet-textures", {"atoms": 0}, f"--model-option atoms=0 {SIZE} atoms=16."),
        ("sdnet-textures", {"atoms": 2.5}, f"--model-option atoms=2.5 {SIZE} atoms=16."),
        ("sdnet-textures", {"atoms": True}, f"--model-option atoms=true {SIZE} atoms=16."),
        ("sdnet-textures", {"lam": "0,1"}, f"--model-option lam=0,1 {NUMBER} lam=0.1."),
        ("sdnet-textures", {"lam": float("nan")}, f"--model-option lam=NaN {NUMBER} lam=0.1."),
        ("sdnet-textures", {"signed": "yes"}, "signed=yes is not true or false, as in --model-option signed=false."),
        ("ml-csc-ista", {"unfolding": [2]}, f"--model-option unfolding=[2] {SIZE} unfolding=2."),
    ],
)
def test_a_value_of_another_kind_is_refused(model: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError) as refusal:
        check_known(model, options)
    assert str(refusal.value).endswith(sentence)


def test_values_of_the_kind_of_the_default_are_taken() -> None:
    check_known("sdnet-textures", {"atoms": 3, "lam": 1, "signed": True, "num_steps": 1})
    check_known("resnet18", {"form": "imagenet"})
    check_known("mine:net", {"atoms": "abc"})


def test_an_unknown_option_is_answered_with_the_likely_one() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown option of sdnet-textures 'atom': did you mean 'atoms'\?"):
        check_known("sdnet-textures", {"atom": 3})


def test_options_are_written_as_they_are_typed() -> None:
    assert typed_options({"form": "cifar", "lam": 0.5}) == "--model-option form=cifar --model-option lam=0.5"


def test_one_name_alone_is_no_choice() -> None:
    assert hint("DEFAULT", ["IMAGENET1K_V1"]) == "choose IMAGENET1K_V1."
    assert hint("zzz", ["one", "two"]) == "choose one of one, two."


def test_models_called_after_embedded_images_are_trained_on_them() -> None:
    named = {name: name.rpartition("-")[2] for name in known_models() if name.endswith(("-digits", "-textures"))}
    assert {name: images_for(name) for name in named} == named
    assert images_for("resnet20") == images_for("package.module:factory") == "digits"
