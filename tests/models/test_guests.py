"""Models from outside the package are served as they expect it, or refused in a sentence."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robustcsc.errors import ModelError
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.guests import is_guest, memory_format_of, receive

SHAPE = (2, 4, 6)
IMAGES = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))


class Viewing(nn.Module):
    """Flattens by ``view``, which fails on images with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(72, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).view(len(images), -1))  # type: ignore[no-any-return]


class Volume(nn.Module):
    """Has weights of five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(1, 5, (2, 3, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images[:, None]).mean((2, 3, 4))  # type: ignore[no-any-return]


class InPlace(nn.Module):
    """Normalises the tensor that it is given."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sub_(0.5).flatten(1)[:, :5]


class ChannelsLast(nn.Module):
    """Takes pixels as tokens, which only works with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.permute(0, 2, 3, 1).view(len(images), -1, 2)).mean(1)  # type: ignore[no-any-return]


@torch.no_grad()
@pytest.mark.parametrize("kind", [Viewing, Volume, InPlace, ChannelsLast])
@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last])
def test_a_guest_gets_a_copy_in_the_format_it_accepts(kind: type[nn.Module], given: torch.memory_format) -> None:
    torch.manual_seed(0)
    model = kind()
    accepted = torch.channels_last if kind is ChannelsLast else torch.contiguous_format
    expected = model(IMAGES.clone(memory_format=accepted))
    receive(model, "guest", 5, SHAPE)
    images = IMAGES.clone(memory_format=given)
    assert torch.equal(model(images), expected)
    assert torch.equal(images, IMAGES)


def test_gradients_reach_the_images_of_a_guest() -> None:
    model = InPlace()
    receive(model, "guest", 5, SHAPE)
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.flatten(1)[:, :5].eq(1).all() and gradient.flatten(1)[:, 5:].eq(0).all()


def test_a_guest_is_known_and_received_once() -> None:
    model = Viewing()
    assert (is_guest(model), memory_format_of(model)) == (False, torch.channels_last)
    for _ in range(2):
        receive(model, "guest", 5, SHAPE)
    assert (is_guest(model), memory_format_of(model)) == (True, torch.contiguous_format)
    assert len(model._forward_pre_hooks) == 1
    assert list(model.state_dict()) == ["features.weight", "features.bias", "head.weight", "head.bias"]


class Returning(nn.Module):
    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> object:
        if isinstance(self.output, Exception):
            raise self.output
        return self.output


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ((torch.zeros(2, 5), None), "guest returns a tuple of 0, 1: choose the logits, as in --output 0."),
        ({"scores": None, "a": 1}, "guest returns a dict of scores, a: choose the logits, as in --output scores."),
        ("five", "guest returned a str for 2 images of 5 classes"),
        (torch.zeros(2, 7), r"guest returned logits of shape \(2, 7\) for 2 images of 5 classes"),
        (torch.zeros(2), r"guest returned logits of shape \(2,\)"),
        (torch.zeros(2, 5, 1, 1), r"guest returned logits of shape \(2, 5, 1, 1\)"),
        (
            IndexError("no such layer"),
            rf"guest fails on images \(2, 2, 4, 6\): IndexError: no such layer \({__file__}, line \d+\)",
        ),
        (KeyboardInterrupt(), None),
    ],
)
def test_a_guest_that_cannot_be_measured_is_refused(output: object, sentence: str | None) -> None:
    if sentence is None:
        with pytest.raises(KeyboardInterrupt):
            receive(Raising(), "guest", 5, SHAPE)
        return
    model = Returning(output)
    with pytest.raises(ModelError, match=sentence):
        receive(model, "guest", 5, SHAPE)


@dataclass
class Output:
    loss: None
    logits: object


class Pair(NamedTuple):
    logits: object
    features: object


LOGITS = torch.arange(10.0).view(2, 5)


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        ({"logits": LOGITS, "features": torch.zeros(2, 3)}, "logits"),
        (OrderedDict({0: torch.zeros(2, 3), 1: LOGITS}), "1"),
        ((torch.zeros(2, 3), LOGITS), "1"),
        ([LOGITS], "0"),
        (Pair(LOGITS, None), "logits"),
        (Pair(LOGITS, None), "0"),
        (Output(None, LOGITS), "logits"),
    ],
)
def test_the_logits_of_several_outputs_are_chosen(outputs: object, output: str) -> None:
    model = Returning(outputs)
    receive(model, "guest", 5, SHAPE, output)
    assert torch.equal(model(IMAGES), LOGITS)


def test_an_output_is_chosen_anew() -> None:
    model = Returning((LOGITS, LOGITS + 1))
    for output in ("0", "1"):
        receive(model, "guest", 5, SHAPE, output)
    assert torch.equal(model(IMAGES), LOGITS + 1)
    with pytest.raises(ModelError, match="guest returns no output '2': choose one of 0, 1"):
        receive(model, "guest", 5, SHAPE, "2")
    with pytest.raises(ModelError, match="guest returns a Tensor and nothing to choose from: leave --output out"):
        receive(Returning(LOGITS), "guest", 5, SHAPE, "0")


class Raising(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise KeyboardInterrupt


SOURCES = {
    "of_import": (
        "raise RuntimeError('no licence')",
        r"Cannot import .*RuntimeError: no licence \(.*of_import.py, line 1",
    ),
    "of_syntax": ("def net(:\n    pass", "Cannot import .*SyntaxError"),
    "of_name": ("import torch\n", "Cannot import .*AttributeError"),
    "of_call": ("def net():\n    return {}['weights']", r"of_call:net cannot be built: KeyError.*of_call.py, line 2"),
    "of_arguments": ("def net(depth):\n    return depth", r"cannot be built: TypeError.*'depth'"),
    "of_kind": ("def net():\n    return 3", "returned a int: it must return an nn.Module"),
}


@pytest.mark.parametrize("module", SOURCES)
def test_an_error_in_a_factory_is_one_sentence_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    source, sentence = SOURCES[module]
    (tmp_path / f"factory_{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=sentence) as refusal:
        build(default_spec(f"factory_{module}:net", 5, SHAPE))
    assert "\n" not in str(refusal.value)
