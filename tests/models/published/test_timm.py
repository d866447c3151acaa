"""Models of timm and repositories in its format: the logits of timm behind the normalisation of their configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import robustcsc as rc
from robustcsc.cli import main as cli_main
from robustcsc.errors import ModelError, UnknownNameError

from .conftest import Cached

timm = pytest.importorskip("timm")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
HALF = (0.5, 0.5, 0.5)


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def saved(folder: Path, name: str, num_classes: int, **config: Any) -> Any:
    """A network of timm with fresh weights, saved in its own format."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=num_classes, pretrained_cfg_overlay=config).eval()
    torch.nn.init.normal_(network.get_classifier().weight)
    timm.models.save_for_hf(network, folder, safe_serialization=True)
    return network


@torch.no_grad()
def test_a_repository_of_the_hub_is_measured_offline(
    cached: Cached, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = saved(cached("me/net"), "test_resnet", 3, mean=MEAN, std=STD, input_size=(3, 32, 32))
    typed = f"sweep --model hf:me/net --data imagefolder --root {images} --corruptions fog --severities 1 --json"
    assert cli_main.main(typed.split()) == 0
    printed = capsys.readouterr()
    records = json.loads(printed.out)
    session = rc.open("me-net-again", model="hf:me/net", data=rc.DataChoice("imagefolder", images))
    batch = next(iter(session.images().batches(12)))
    assert batch.images.shape == (12, 3, 32, 32)  # as the configuration says
    right = int((network(normalised(batch.images, MEAN, STD)).argmax(1) == batch.labels).sum())
    assert (records[0]["model"], records[0]["run"], records[0]["met"]) == ("hf:me/net", "hf-me-net", right)
    line = f"{right} right, one finite logit per class, the same each time and in any batch."
    assert printed.err == f"hf:me/net on 12 clean images: {line}\n"
    (cached("me/net") / "model.safetensors").unlink()  # the run has all that it needs
    assert cli_main.main(["attack", "--run", "hf-me-net", "--steps", "1", "--json"]) == 0
    attacked = json.loads(capsys.readouterr().out)
    assert attacked[-1]["weights"] == records[0]["weights"] == session.trained.weights


@torch.no_grad()
def test_published_weights_come_with_the_normalisation_of_their_tag(cached: Cached, images: Path) -> None:
    name = "test_vit.r160_in1k"
    expected = timm.get_pretrained_cfg(name)
    assert expected.mean != (0.485, 0.456, 0.406)
    network = saved(cached(f"timm/{name}"), "test_vit", 1000)
    session = rc.open(f"timm:{name}", data=rc.DataChoice("imagefolder", images))
    spec = session.trained.spec
    assert (spec.num_classes, spec.image_shape, spec.mean) == (1000, (3, 160, 160), tuple(expected.mean))
    batch = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(session.trained.model(batch), network(normalised(batch, expected.mean, expected.std)))


@torch.no_grad()
def test_weights_of_a_file_take_the_classes_of_the_images(cached: Cached, images: Path, tmp_path: Path) -> None:
    network = saved(tmp_path / "saved", "test_resnet", 3)
    torch.save(network.state_dict(), "own.pth")
    half = rc.BuildChoice(mean=HALF, std=HALF)
    data = rc.DataChoice("imagefolder", images, image_size=32)
    session = rc.open(model="timm:test_resnet", weights="own.pth", build=half, data=data)
    batch = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(session.trained.model(batch), network(batch * 2 - 1))
    with pytest.raises(ModelError, match=r"with --model-option no_such=1 cannot be built: .*no_such"):
        choice = rc.BuildChoice(options={"no_such": 1})
        rc.open(model="timm:test_resnet", weights="own.pth", build=choice, data=data)


@torch.no_grad()
def test_a_network_of_ones_own_takes_weights_of_the_hub(cached: Cached, images: Path) -> None:
    network = saved(cached("me/net"), "test_resnet", 3)
    session = rc.open(
        model="timm:test_resnet", weights="hf:me/net", data=rc.DataChoice("imagefolder", images, image_size=32)
    )
    batch = torch.rand(2, 3, 32, 32)
    expected = timm.get_pretrained_cfg("test_resnet")
    torch.testing.assert_close(session.trained.model(batch), network(normalised(batch, expected.mean, expected.std)))


def test_a_connection_that_fails_is_tried_once_and_told_in_one_sentence(
    cached: Cached, images: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    before = logging.get_verbosity()
    assert cli_main.main(f"sweep --model timm:test_resnet.r160_in1k --data imagefolder --root {images}".split()) == 2
    *notes, sentence = capfd.readouterr().err.splitlines()
    assert not [it for it in notes if "Retry" in it or "thrown" in it]
    assert sentence == (
        "Error: hf:timm/test_resnet.r160_in1k is not in the cache of the Hub, which is offline or cannot be reached: "
        "connect and unset HF_HUB_OFFLINE, or fetch it elsewhere with: hf download timm/test_resnet.r160_in1k."
    )
    assert waits == []  # huggingface_hub would try six times
    assert logging.get_verbosity() == before


def test_names_that_do_not_exist_are_refused(cached: Cached, images: Path) -> None:
    data = rc.DataChoice("imagefolder", images)
    for typed, sentence in (
        ("timm:test_resnt.r160_in1k", "Unknown model of timm 'test_resnt': did you mean 'test_resnet'"),
        ("timm:test_resnet.r161_in1k", "Unknown weights of test_resnet 'r161_in1k': did you mean 'r160_in1k'"),
    ):
        with pytest.raises(UnknownNameError, match=sentence):
            rc.open(typed, data=data)
    with pytest.raises(
        ModelError, match=r"^hf:timm/test_resnet\.r160_in1k is not in the cache of the Hub, which is offline or"
    ):
        rc.open("timm:test_resnet.r160_in1k", data=data)
    (cached("me/evil") / "config.json").write_text(json.dumps({"architecture": "hf-hub:me/other"}))
    with pytest.raises(UnknownNameError, match="Unknown model of timm 'hf-hub:me/other'"):
        rc.open("hf:me/evil", data=data)
