"""A GPU that is not there: tensors without values, which know their device and cannot be read back.

PyTorch's fake tensors find an operation that mixes devices, and one that needs a value on the host: those block until
the GPU has caught up, so that it idles while Python goes on. The device is ``lazy``, not ``cuda``: autograd asks the
driver for a stream of CUDA tensors, fake ones included, and fails without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

PHANTOM = torch.device("lazy:0")


class HostReadError(AssertionError):
    """Values went from the device to the host."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what copies from the device to the host; fake tensors alone allow it."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.device((kwargs or {}).get("device") or "cpu") == PHANTOM:
            args = tree_map(_without_values, args)  # fake tensors would move known values to the device for real
        result = func(*args, **(kwargs or {}))
        given, returned = _devices((args, kwargs)), _devices(result)
        if PHANTOM.type in given and "cpu" in returned:
            raise HostReadError(f"{func} copies to the host.")
        return result


def _without_values(leaf: object) -> object:
    if isinstance(leaf, FakeTensor):
        leaf.constant = None
    elif isinstance(leaf, Tensor):
        return _MODE.from_tensor(leaf)
    return leaf


def _devices(tree: object) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


#: One for all tests: the tables of kernels are cached by device, and fake tensors of two modes do not mix. Tables that
#: were made before, on the host, are real; they stay there.
_MODE = FakeTensorMode(allow_non_fake_inputs=True)


def on_phantom(real: Tensor) -> Tensor:
    """Returns a tensor on the device, of the form of a real one."""
    fake = _MODE.from_tensor(real.detach())
    with _MODE:
        return fake.to(PHANTOM)


def moved(module: nn.Module) -> nn.Module:
    """Moves a module, in place; what is neither parameter nor buffer stays on the host, as with `nn.Module.to`."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(on_phantom(parameter), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = on_phantom(buffer)
    return module


@contextmanager
def watched() -> Iterator[None]:
    """Computes within the block without values; a host read or mixed devices raise.

    Raises:
        HostReadError: A tensor was copied to the host.
        RuntimeError: Devices were mixed, or a value was needed on the host (its subclass
            `DataDependentOutputException`, or `DynamicOutputShapeException` for a shape).
    """
    with _MODE, _Watch():  # type: ignore[no-untyped-call]
        yield
