"""bfloat16 around a model, and settings of PyTorch that must not change what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.precision import Bfloat16, reproducible, rounds_to_tf32

_BACKENDS: Any = torch.backends  # some of it has no types
_PRODUCTS = (
    *(_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn),
    *(_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv, _BACKENDS.mkldnn.rnn),
)


def _read(setting: Callable[[], object]) -> object:
    try:
        return setting()
    except RuntimeError:  # an older setting that a newer one contradicts
        return "unreadable"


def _settings() -> list[object]:
    older = [_read(torch.get_float32_matmul_precision), _read(lambda: _BACKENDS.cudnn.allow_tf32)]
    cudnn = [_BACKENDS.cudnn.benchmark, _BACKENDS.cudnn.deterministic]
    return [*older, *cudnn, *(it.fp32_precision for it in _PRODUCTS)]


def _defaults() -> None:
    pass


def _older() -> None:
    torch.set_float32_matmul_precision("medium")  # bfloat16 inside oneDNN, TF32 on a GPU
    _BACKENDS.cudnn.allow_tf32 = True
    _BACKENDS.cudnn.benchmark = True


def _newer() -> None:
    for it in _PRODUCTS[:3]:
        it.fp32_precision = "tf32"
    for it in _PRODUCTS[3:]:
        it.fp32_precision = "bf16"
    _BACKENDS.cudnn.deterministic = True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Puts the settings of the process back."""
    values = [it.fp32_precision for it in _PRODUCTS]
    yield
    torch.set_float32_matmul_precision("highest")
    _BACKENDS.cudnn.allow_tf32 = True
    _BACKENDS.cudnn.benchmark, _BACKENDS.cudnn.deterministic = False, False
    for it, value in zip(_PRODUCTS, values, strict=True):
        it.fp32_precision = value


@pytest.mark.parametrize("setting", [_defaults, _older, _newer])
def test_no_setting_decides_how_float32_is_rounded(setting: Callable[[], None]) -> None:
    setting()
    before = _settings()
    with pytest.raises(KeyError), reproducible():
        assert _settings() == ["highest", False, False, True, *["ieee"] * len(_PRODUCTS)]
        assert not rounds_to_tf32()
        raise KeyError
    assert _settings() == before


def test_convolutions_of_a_gpu_round_to_tf32_unless_told() -> None:
    assert rounds_to_tf32()  # the default of PyTorch
    with evaluation_mode(nn.Identity()):
        assert not rounds_to_tf32()


def test_bfloat16_rounds_factors_to_eight_bits_and_gives_float32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    images = torch.tensor([[1 + 2**-7], [1 + 2**-8 + 2**-9], [1 + 2**-10]])
    logits = Bfloat16(layer)(images)
    assert logits.dtype == torch.float32
    assert logits.flatten().tolist() == [1 + 2**-7, 1 + 2**-7, 1.0]


def test_gradients_pass_through_bfloat16_as_float32() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1 + 2**-12, 0.5]]))
    images = torch.tensor([[0.25, 0.75]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Bfloat16(layer)(images).sum(), images)
    assert gradient.dtype == torch.float32
    assert gradient.tolist() == [[1.0, 0.5]]  # the weight that the product saw
    assert layer.weight.dtype == torch.float32


def test_a_model_in_bfloat16_keeps_the_names_of_its_layers() -> None:
    class Net(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images

    wrapped = Bfloat16(nn.Sequential(Net()))
    assert [name for name, _ in wrapped.named_modules()] == ["", "model", "model.0"]
