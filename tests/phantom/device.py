"""A GPU that is not there: tensors that say they are on a device, compute on the CPU, and tell who waits for them.

Values are computed for real, so the same code that runs on a GPU runs here, with its branches for devices, and its
results can be compared with those of a CPU. Mixed devices raise, as they do on a GPU. What makes the host wait until
the GPU has caught up, so that it idles while Python goes on, is noted: a value that is read, a shape that depends on
values, a copy in either direction that blocks.

The device is ``lazy``, not ``cuda``: autograd asks the driver for a stream of CUDA tensors, pretended ones included,
and fails without one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import robustcsc

PHANTOM = torch.device("lazy:0")
aten = torch.ops.aten
#: Operations for which the host needs values, as it does for indices that are masks.
_READING = {
    aten._local_scalar_dense,
    aten._linalg_check_errors,
    aten._unique2,
    aten.bincount,
    aten.equal,
    aten.masked_select,
    aten.nonzero,
    aten.repeat_interleave,
    aten.unique_consecutive,
    aten.unique_dim,
}
_INDEXING = {aten.index, aten.index_put, aten.index_put_}
_COPYING = {aten._to_copy, aten.copy_}
_FOLDERS = tuple(Path(it).parent for it in (robustcsc.__file__, torchattacks.__file__, Path(__file__).parent))


class WaitError(AssertionError):
    """The host waits for the device."""


class MixedDevicesError(RuntimeError):
    """One operation was given tensors of the host and of the device."""


@dataclass(frozen=True, order=True)
class Wait:
    """Something that the host waits for the device for.

    Attributes:
        operation: Of PyTorch.
        place: ``module.function`` that asks for it.
    """

    operation: str
    place: str


class PhantomTensor(Tensor):
    """A tensor on the device.

    Attributes:
        host: The same on the CPU.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> PhantomTensor:
        """Returns a tensor of the form of `values`."""
        return Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=PHANTOM,
        )

    def __init__(self, values: Tensor) -> None:
        self.host = values

    def __repr__(self, *args: object, **kwargs: object) -> str:  # type: ignore[override]
        return f"PhantomTensor({self.host!r})"

    def tolist(self) -> Any:
        """Reads all values back."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


@torch.inference_mode(False)  # views of tensors from outside inference mode are none of its tensors
def _compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns what an operation gives on the device, or on the host if nothing says otherwise."""
    operation = func.overloadpacket
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    phantoms = [leaf for leaf in tensors if isinstance(leaf, PhantomTensor)]
    if phantoms and operation in _INDEXING and isinstance(args[0], PhantomTensor):
        tensors = [leaf for leaf in tree_leaves(args[2:]) if isinstance(leaf, Tensor)]  # indices may be of the host
    if phantoms and operation not in _COPYING:
        strangers = [leaf for leaf in tensors if not isinstance(leaf, PhantomTensor) and leaf.dim()]
        if strangers:
            raise MixedDevicesError(f"{func} was given tensors of the host and of the device.")
    device = kwargs.get("device")
    there = bool(phantoms) if device is None else torch.device(device) == PHANTOM
    if operation is aten.copy_:
        there = isinstance(args[0], PhantomTensor)
    given = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    result = func(*tree_map(_values, args), **tree_map(_values, given))
    if all(each.alias_info is not None and each.alias_info.is_write for each in func._schema.returns):
        written = _written(func, args, kwargs)  # as in `add_(...)` and `add(..., out=...)`
        if written:
            return written[0] if len(written) == 1 else written
    return tree_map(_phantom, result) if there else result


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the arguments that an operation writes into, and returns."""
    pairs = [
        (argument, args[place] if place < len(args) else kwargs.get(argument.name))
        for place, argument in enumerate(func._schema.arguments)
    ]
    return tuple(value for argument, value in pairs if argument.alias_info is not None and argument.alias_info.is_write)


def _values(leaf: object) -> object:
    return leaf.host if isinstance(leaf, PhantomTensor) else leaf


def _phantom(leaf: object) -> object:
    return PhantomTensor(leaf) if isinstance(leaf, Tensor) else leaf


class _Watch(TorchDispatchMode):
    """Makes tensors on the device, and notes what waits for it, or raises if there is no list to note it in."""

    def __init__(self, waits: list[Wait] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():  # such as `to` and `item`, which inference mode does not take apart
            with self:
                return func.decompose(*args, **kwargs)
        if _waits(func.overloadpacket, args, kwargs):
            wait = Wait(func.overloadpacket._qualified_op_name.removeprefix("aten::"), _place())
            if self._waits is None:
                raise WaitError(f"{wait.place} waits for {wait.operation}.")
            self._waits.append(wait)
        return _compute(func, args, kwargs)


def _waits(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    phantoms = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, PhantomTensor)]
    if operation is aten.copy_:
        return isinstance(args[0], PhantomTensor) != isinstance(args[1], PhantomTensor) and not (
            args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        )
    if operation is aten._to_copy:
        goal = kwargs.get("device")
        moves = goal is not None and (torch.device(goal) == PHANTOM) != bool(phantoms)
        return moves and not kwargs.get("non_blocking", False)
    if operation in _INDEXING:
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        masked = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        filled = operation is not aten.index and args[2].numel() == 1
        copied = any(not isinstance(index, PhantomTensor) and index.dim() for index in indices)
        return bool(phantoms) and (copied or (masked and not filled))
    return bool(phantoms) and operation in _READING


def _place() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and any(folder in path.parents for folder in _FOLDERS):
            return f"{path.stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


def on_phantom(real: Tensor) -> Tensor:
    """Returns a tensor on the device, with the values of a real one."""
    return PhantomTensor(real.detach().clone())


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
def watched(waits: list[Wait] | None = None) -> Iterator[None]:
    """Computes on the device within the block.

    Args:
        waits: Where everything is noted that waits for the device; by default the first of it raises.

    Raises:
        WaitError: The host waits for the device, and there is no list to note it in.
        MixedDevicesError: Devices were mixed.
    """
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # or torch.tensor(..., device=...) asks the device's own library
    try:
        with _Watch(waits):
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
