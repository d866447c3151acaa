"""Hooks on modules that never outlive the forward pass they watch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from robustcsc.layers.modes import evaluation_mode

#: Called with a module and its positional inputs, before the module runs; it may return other inputs.
Before = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]
#: Called with a module, its positional inputs and its output, after the module ran.
After = Callable[[nn.Module, tuple[Any, ...], Any], None]


class _AllCalled(Exception):
    """Ends a forward pass once every watched module has run."""


@contextmanager
def traced(modules: Iterable[nn.Module], *, before: Before | None = None, after: After | None = None) -> Iterator[None]:
    """Calls `before` and `after` around every call of `modules` within the block."""
    handles = []
    try:
        for module in modules:
            if before is not None:
                handles.append(module.register_forward_pre_hook(before))
            if after is not None:
                handles.append(module.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_until_called(forward: Callable[[], object], modules: Collection[nn.Module], after: After) -> None:
    """Runs `forward` until all of `modules` have been called, with `after` as in `traced`.

    The pass stops behind the last of them: a network whose only watched layer is its first costs next to nothing.
    """
    missing = set(modules)

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        after(module, inputs, output)
        missing.discard(module)
        if not missing:
            raise _AllCalled

    with suppress(_AllCalled), traced(modules, after=note):
        forward()


@torch.no_grad()
def run_zero_image(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Runs `model` on one zero image of this shape ``(C, H, W)`` in evaluation mode, to trace what its layers see."""
    like = next(model.parameters(), torch.zeros(()))
    with evaluation_mode(model):
        model(torch.zeros(1, *image_shape, dtype=like.dtype, device=like.device))
