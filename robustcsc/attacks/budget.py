"""What an attack costs, counted on the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class Calls:
    """Calls of a model, counted in images.

    Attributes:
        forward: Images that went through it forwards.
        gradient: Images whose logits a gradient was taken of; one image counts once for each backward pass.
    """

    forward: int = 0
    gradient: int = 0


@contextmanager
def counted(model: nn.Module) -> Iterator[Calls]:
    """Counts what is asked of `model` within the block, by hooks on it; nothing has to be believed."""
    calls = Calls()

    def backwards(gradient: Tensor) -> None:
        calls.gradient += len(gradient)

    def forwards(module: nn.Module, inputs: tuple[Tensor, ...], logits: object) -> None:
        calls.forward += len(inputs[0])
        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(backwards)  # type: ignore[no-untyped-call]

    hook = model.register_forward_hook(forwards)
    try:
        yield calls
    finally:
        hook.remove()
