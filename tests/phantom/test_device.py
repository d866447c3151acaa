"""The phantom device computes, and finds what it is made to find."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.phantom.device import PHANTOM, MixedDevicesError, PhantomTensor, Wait, WaitError, moved, on_phantom, watched


def values(tensor: Tensor | None) -> Tensor:
    assert isinstance(tensor, PhantomTensor) and tensor.device == PHANTOM
    return tensor.host


def test_computing_on_the_device_gives_what_the_host_gives() -> None:
    layer, images = nn.Conv2d(3, 8, 3), torch.rand(2, 3, 8, 8)
    loss = layer(images).square().mean()
    (expected,) = torch.autograd.grad(loss, layer.weight)
    there, shown = moved(layer), on_phantom(images)
    with watched():
        found = there(shown).square().mean()
        found.backward()
    assert torch.equal(values(found), loss.detach())
    assert torch.equal(values(layer.weight.grad), expected)


def test_new_tensors_are_made_on_the_device() -> None:
    with watched():
        made = torch.arange(3, device=PHANTOM).add_(torch.ones((), dtype=torch.int64))
        made[1:] = 7
    assert values(made).tolist() == [1, 7, 7]


PLANTED: dict[str, tuple[Callable[[Tensor], object], type[Exception]]] = {
    "cpu()": (lambda images: images.cpu(), WaitError),
    "to(cpu)": (lambda images: torch.zeros(2, 3, 8, 8).copy_(images), WaitError),
    "to the device": (lambda images: torch.zeros(3).to(images.device), WaitError),
    "tensor()": (lambda images: images + torch.tensor([0.5], device=images.device), WaitError),
    "item()": (lambda images: images.sum().item(), WaitError),
    "bool()": (lambda images: bool((images > 0).any()), WaitError),
    "tolist()": (lambda images: images.flatten()[0].tolist(), WaitError),
    "all of tolist()": (lambda images: images.tolist(), WaitError),
    "numpy()": (lambda images: images.cpu().numpy(), WaitError),
    "equal()": (lambda images: torch.equal(images, images), WaitError),
    "nonzero()": (lambda images: images.nonzero(), WaitError),
    "mask": (lambda images: images[images > 0], WaitError),
    "assignment to a mask": (lambda images: images.index_put_((images > 2,), images.flatten()[:0]), WaitError),
    "unique()": (lambda images: torch.ops.aten._unique2(images), WaitError),
    "bincount()": (lambda images: images.long().flatten().bincount(), WaitError),
    "cholesky()": (lambda images: torch.linalg.cholesky(images @ images.mT + torch.eye(8, device=PHANTOM)), WaitError),
    "a constant of the host": (lambda images: images + torch.zeros(3, 8, 8), MixedDevicesError),
    "an index of the host": (
        lambda images: images.gather(0, torch.zeros(2, 3, 8, 8, dtype=torch.int64)),
        MixedDevicesError,
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    images = on_phantom(torch.rand(2, 3, 8, 8))
    compute, error = PLANTED[fault]
    with pytest.raises(error), watched():
        compute(images)


def test_waits_are_noted_with_their_place_and_computing_goes_on() -> None:
    waits: list[Wait] = []
    with watched(waits):
        total = on_phantom(torch.ones(3)).sum().item()
    assert total == 3.0
    assert waits == [
        Wait("_local_scalar_dense", "test_device.test_waits_are_noted_with_their_place_and_computing_goes_on")
    ]


ALLOWED: dict[str, Callable[[Tensor], object]] = {
    "copy that does not block": lambda images: images + torch.zeros(3, 8, 8).to(PHANTOM, non_blocking=True),
    "a number of the host": lambda images: images + torch.tensor(0.5),
    "fill of a mask": lambda images: images.masked_fill(images > 0.5, 0.0),
}


@pytest.mark.parametrize("form", ALLOWED)
def test_what_does_not_wait_passes(form: str) -> None:
    with watched():
        ALLOWED[form](on_phantom(torch.rand(2, 3, 8, 8)))


class _KeepsTensorOnTheHost(nn.Module):
    """A constant that is no buffer stays behind when the module moves."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.full((3, 1, 1), 0.5)

    def forward(self, images: Tensor) -> Tensor:
        return images - self.mean


def test_a_constant_that_is_no_buffer_is_found() -> None:
    model, images = moved(_KeepsTensorOnTheHost()), on_phantom(torch.rand(2, 3, 8, 8))
    with pytest.raises(MixedDevicesError), watched():
        model(images)
