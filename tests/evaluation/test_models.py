from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.models import LoadedModel, device_words, driver_version, provenance, versions
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.precision import reproducible
from robustcsc.measurements.facts import replace as replace_fact
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.policies import Adaptive, Scope
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


def test_fits_of_another_precision_are_left_out_and_the_model_computes_in_its_own(
    trained: nn.Module, fit: LambdaFit, images: ImageSet, tmp_path: Path
) -> None:
    run = create("r", tmp_path)
    replace_fact(fit, weights="aa").save(run.fit_path("gaussian"))
    replace_fact(fit, weights="aa", noise="shot", precision="bf16").save(run.fit_path("shot", "bf16"))
    spec = ModelSpec(name="tiny", num_classes=10, image_shape=(1, 8, 8))
    checkpoint = Checkpoint(spec=spec, model=copy.deepcopy(trained), weights="aa")
    loaded = LoadedModel.of(run, checkpoint, torch.device("cpu"), "bf16")
    assert (list(loaded.fits), loaded.precision, loaded.facts.precision) == (["shot"], "bf16", "bf16")
    assert run.fit_path("gaussian").name == "gaussian.json"
    (batch,) = images.batches(60)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        reduced = checkpoint.model(batch.images).float()
    with torch.no_grad():
        assert torch.equal(loaded.model(batch.images), reduced)
        assert not torch.equal(checkpoint.model(batch.images), reduced)
    with pytest.raises(PolicyError, match=r"in bf16, .*: run `robustcsc fit-lambda --run r --precision bf16` first\.$"):
        replace(loaded, fits={}).facts.fit_for(Adaptive(scope=Scope.IMAGE))
    with pytest.raises(PolicyError, match=r"no lambda fit ff in bf16: run `.* --precision bf16` again\.$"):
        loaded.facts.fit_by_digest("ff")


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build", "570.86.15"),
        (None, ""),
    ],
)
def test_the_driver_of_a_gpu_is_what_linux_says(told: str | None, version: str, tmp_path: Path) -> None:
    if told is not None:
        (tmp_path / "version").write_text(told)
    assert driver_version(tmp_path / "version") == version


def test_records_of_a_gpu_say_the_card_its_driver_and_that_nothing_was_rounded(
    plain: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr("robustcsc.evaluation.models.driver_version", lambda: "570.86.15")
    on_gpu = replace(plain, device=torch.device("cuda"))
    with reproducible():
        made = provenance(on_gpu, 1.2345)
    assert (made.device, made.driver, made.tf32, made.seconds) == ("NVIDIA H200", "570.86.15", False, 1.234)
    assert provenance(on_gpu, 0).tf32 is True  # the default of PyTorch, outside of a measurement
    on_cpu = provenance(plain, 0)
    assert (on_cpu.driver, on_cpu.tf32) == ("", None)


@pytest.mark.gpu
def test_a_real_gpu_has_a_driver() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert driver_version()


def test_facts_name_the_training_lambdas_of_all_layers(model: LoadedModel, plain: LoadedModel) -> None:
    assert (model.facts.training_lambdas, model.facts.lam0) == ((0.1, 0.1), 0.1)
    assert (plain.facts.training_lambdas, plain.facts.lam0) == ((), None)
    several = nn.Sequential(CSCConv2d(1, 4, 3, lam=0.3), CSCConv2d(4, 4, 3, lam=0.1))
    assert replace(plain, model=several).facts.training_lambdas == (0.3, 0.1)


def test_the_device_and_the_versions_are_named() -> None:
    assert device_words(torch.device("cpu")).startswith("cpu (")
    assert versions()["torch"] == torch.__version__ and set(versions()) == {"robustcsc", "torch", "python"}
