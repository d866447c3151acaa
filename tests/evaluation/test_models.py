from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from robustcsc.evaluation.models import LoadedModel, device_words, versions
from robustcsc.layers.csc import CSCConv2d
from robustcsc.measurements.facts import replace as replace_fact
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Subject
from robustcsc.models.catalog import ModelSpec
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.runs import create


def test_fits_of_other_weights_are_left_out(trained: nn.Module, fit: LambdaFit, tmp_path: Path) -> None:
    run = create("r", tmp_path)
    replace_fact(fit, weights="aa").save(run.fit_path("gaussian"))
    replace_fact(fit, weights="bb", noise="shot").save(run.fit_path("shot"))
    spec = ModelSpec(name="tiny", num_classes=10, image_shape=(1, 8, 8))
    checkpoint = Checkpoint(spec=spec, model=copy.deepcopy(trained), weights="aa")
    loaded = LoadedModel.of(run, checkpoint, torch.device("cpu"))
    assert loaded.subject == Subject(run="r", model="tiny", weights="aa")
    assert list(run.fit_paths()) == ["gaussian", "shot"]
    assert list(loaded.fits) == list(loaded.facts.fits) == ["gaussian"]


def test_facts_name_the_training_lambdas_of_all_layers(model: LoadedModel, plain: LoadedModel) -> None:
    assert (model.facts.training_lambdas, model.facts.lam0) == ((0.1,), 0.1)
    assert (plain.facts.training_lambdas, plain.facts.lam0) == ((), None)
    several = nn.Sequential(CSCConv2d(1, 4, 3, lam=0.3), CSCConv2d(4, 4, 3, lam=0.1))
    assert replace(plain, model=several).facts.training_lambdas == (0.1, 0.3)


def test_the_device_and_the_versions_are_named() -> None:
    assert device_words(torch.device("cpu")).startswith("cpu (")
    assert versions()["torch"] == torch.__version__ and set(versions()) == {"robustcsc", "torch", "python"}
