"""The phantom device finds what it is made to find."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from tests.phantom.device import PHANTOM, HostReadError, moved, on_phantom, watched


def test_computing_on_the_device_passes_with_gradients() -> None:
    layer, images = moved(nn.Conv2d(3, 8, 3)), on_phantom(torch.rand(2, 3, 8, 8))
    with watched():
        loss = layer(images).square().mean()
        loss.backward()
    assert loss.device == PHANTOM
    assert layer.weight.grad is not None and layer.weight.grad.shape == (8, 3, 3, 3)


PLANTED: dict[str, tuple[Callable[[Tensor], object], type[Exception]]] = {
    "cpu()": (lambda images: images.cpu(), HostReadError),
    "to(cpu)": (lambda images: torch.zeros(2, 3, 8, 8).copy_(images), HostReadError),
    "item()": (lambda images: images.sum().item(), DataDependentOutputException),
    "bool()": (lambda images: bool((images > 0).any()), DataDependentOutputException),
    "tolist()": (lambda images: images.flatten()[0].tolist(), DataDependentOutputException),
    "nonzero()": (lambda images: images.nonzero(), DynamicOutputShapeException),
    "mask": (lambda images: images[images > 0], DynamicOutputShapeException),
    "a constant of the host": (lambda images: images + torch.zeros(3, 8, 8), RuntimeError),
    "an index of the host": (lambda images: images.gather(0, torch.zeros(2, 3, 8, 8, dtype=torch.int64)), RuntimeError),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    images = on_phantom(torch.rand(2, 3, 8, 8))
    compute, error = PLANTED[fault]
    with pytest.raises(error), watched():
        compute(images)


class _KeepsTensorOnTheHost(nn.Module):
    """A constant that is no buffer stays behind when the module moves."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.full((3, 1, 1), 0.5)

    def forward(self, images: Tensor) -> Tensor:
        return images - self.mean


def test_a_constant_that_is_no_buffer_is_found() -> None:
    model, images = moved(_KeepsTensorOnTheHost()), on_phantom(torch.rand(2, 3, 8, 8))
    with pytest.raises((RuntimeError, AssertionError), match=r"device|FakeTensor"), watched():
        model(images)
