"""Repositories of the Hugging Face Hub from its local cache, and what is wrong with others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import robustcsc as rc
from robustcsc.cli import main as cli_main
from robustcsc.errors import CheckpointError, ModelError
from robustcsc.models import checkpoint

from .conftest import Cached

pytest.importorskip("huggingface_hub")


def test_a_run_that_was_uploaded_is_the_same_model(cached: Cached, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = checkpoint.load_shipped("sdnet-digits")
    checkpoint.save(cached("me/run") / "weights.safetensors", shipped.spec, shipped.model, shipped.training)
    typed = "evaluate --model hf:me/run --limit 50 --json"
    assert cli_main.main(typed.split()) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["met"], record["model"], record["weights"]) == (48, "sdnet-digits", shipped.weights)
    assert rc.open("hf-me-run").trained.training["published"] == "hf:me/run"
    assert cli_main.main(typed.split()) == 0
    assert json.loads(capsys.readouterr().out) == [record]
    assert cli_main.main(["evaluate", "--model", "hf:me/run", "--run", "other", "--mean", "0.5", "--std", "1"]) == 2
    assert "hf:me/run is a run, which knows its weights and how it is built" in capsys.readouterr().err


def test_a_run_of_somebodys_own_code_is_not_run(cached: Cached) -> None:
    shipped = checkpoint.load_shipped("sdnet-digits")
    spec = replace(shipped.spec, name="os:remove")
    checkpoint.save(cached("me/evil") / "weights.safetensors", spec, shipped.model, {})
    with pytest.raises(CheckpointError, match="is for os:remove, code outside this package"):
        rc.open("hf:me/evil")


def _nothing(folder: Path) -> None:
    pass


def _no_weights(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18"}))


def _no_network(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"hidden": 3}))


def _damaged(folder: Path) -> None:
    (folder / "config.json").write_text("{")


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "not cached": (
        _nothing,
        "hf:me/net is not in the cache of the Hub, which is offline or cannot be reached: connect",
    ),
    "damaged": (_damaged, "hf:me/net has a config.json that is no JSON"),
    "no network": (_no_network, "does not say which network it is for, in the form of timm or transformers: name the"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_repository_that_cannot_be_measured_is_refused(
    cached: Cached, images: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write, sentence = REFUSED[kind]
    write(cached("me/net"))
    assert cli_main.main(f"sweep --model hf:me/net --data imagefolder --root {images}".split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and sentence in err and err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_revision_that_is_not_cached_is_refused(cached: Cached) -> None:
    _no_network(cached("me/net"))
    with pytest.raises(ModelError, match="hf:me/net@v2 is not in the cache of the Hub"):
        rc.open("hf:me/net@v2", data=rc.DataChoice("digits"))


@torch.no_grad()
def test_weights_of_the_hub_for_a_network_of_the_catalog(cached: Cached) -> None:
    shipped = checkpoint.load_shipped("sdnet-digits")
    network = shipped.model.get_submodule("network")
    save_file(
        {name: it.contiguous() for name, it in network.state_dict().items()}, cached("me/net") / "model.safetensors"
    )
    session = rc.open(model="sdnet-digits", weights="hf:me/net", data=rc.DataChoice("digits", limit=50))
    assert session.trained.weights == shipped.weights
    assert session.evaluate()[0].met == 48
    with pytest.raises(ModelError, match="hf:me/none is not in the cache of the Hub"):
        rc.open(model="sdnet-digits", weights="hf:me/none", data=rc.DataChoice("digits"))


def _transformers(folder: Path, **settings: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1], layer_type="basic", num_labels=3
    )
    network: nn.Module = transformers.ResNetForImageClassification(config).eval()
    network.save_pretrained(folder)  # type: ignore[operator]
    expected = {"size": 32, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(expected | settings))
    return network


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_a_repository_of_transformers(cached: Cached, images: Path) -> None:
    network = _transformers(cached("me/net"))
    session = rc.open("hf:me/net", data=rc.DataChoice("imagefolder", images))
    spec = session.trained.spec
    assert (spec.image_shape, spec.num_classes, spec.output) == ((3, 32, 32), 3, "logits")
    batch = next(iter(session.images().batches(12)))
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(-1, 1, 1), torch.tensor([0.4, 0.5, 0.6]).view(-1, 1, 1)
    logits = network((batch.images - mean) / std).logits
    torch.testing.assert_close(session.trained.model(batch.images), logits)
    (record,) = session.evaluate()
    assert record.met == int((logits.argmax(1) == batch.labels).sum())
    assert rc.open("hf-me-net").trained.weights == session.trained.weights


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", [{"do_flip_channel_order": True}, {"rescale_factor": 1 / 127.5}])
def test_images_that_are_changed_in_another_way_are_refused(
    cached: Cached, images: Path, settings: dict[str, Any]
) -> None:
    _transformers(cached("me/net"), **settings)
    with pytest.raises(ModelError, match="changes images in another way than by size, mean and deviation"):
        rc.open("hf:me/net", data=rc.DataChoice("imagefolder", images))
