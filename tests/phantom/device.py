"""A GPU that is not there: tensors without values, which know their device and cannot be read back.

PyTorch's fake tensors find an operation that mixes devices, and one that needs a value on the host: those block until
the GPU has caught up, so that it idles while Python goes on. The device is ``lazy``, not ``cuda``: autograd asks the
driver for a stream of CUDA tensors, fake ones included, and fails without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PHANTOM = torch.device("lazy:0")

T = TypeVar("T")


class HostReadError(AssertionError):
    """Values went from the device to the host."""


class _Watch(TorchDispatchMode):
    """Refuses what copies from the device to the host; fake tensors alone allow it."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given, returned = _devices((args, kwargs)), _devices(result)
        if PHANTOM.type in given and "cpu" in returned:
            raise HostReadError(f"{func} copies to the host.")
        return result


def _devices(tree: object) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


class Phantom:
    """Tensors and modules on the device; computing with them needs ``with phantom.watched():``."""

    def __init__(self) -> None:
        self._mode = FakeTensorMode()

    def tensor(self, real: Tensor) -> Tensor:
        """Returns a tensor of the form of a real one."""
        fake = self._mode.from_tensor(real.detach())
        with self._mode:
            return fake.to(PHANTOM)

    def module(self, real: nn.Module) -> nn.Module:
        """Moves a module; whatever is neither parameter nor buffer stays on the host, as with `nn.Module.to`."""
        for part in real.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(self.tensor(parameter), parameter.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.tensor(buffer)
        return real

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Computes within the block without values; a host read or mixed devices raise.

        Raises:
            HostReadError: A tensor was copied to the host.
            RuntimeError: Devices were mixed, or a value was needed on the host (its subclass
                `DataDependentOutputException`, or `DynamicOutputShapeException` for a shape).
        """
        with self._mode, _Watch():
            yield
