"""The cost of an attack in forward and backward passes, counted by hooks on the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from robustcsc.layers.tracing import traced


@dataclass
class Calls:
    """Calls of a model, counted in images.

    Attributes:
        forward: Images in forward passes.
        gradient: Images in backward passes from the logits; an image counts once per backward pass.
    """

    forward: int = 0
    gradient: int = 0


@contextmanager
def counted(model: nn.Module) -> Iterator[Calls]:
    """Counts the forward and backward passes through `model` within the block, whoever makes them."""
    calls = Calls()

    def backwards(gradient: Tensor) -> None:
        calls.gradient += len(gradient)

    def forwards(module: nn.Module, inputs: tuple[Tensor, ...], logits: object) -> None:
        calls.forward += len(inputs[0])
        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(backwards)  # type: ignore[no-untyped-call]

    with traced([model], after=forwards):
        yield calls
