"""The weight lambda of the l1 norm, of layers whose lambda can be changed after training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustcsc.layers.coding import CodingLayer


class LambdaLayer(CodingLayer):
    """A coding layer with a lambda that can be changed after training.

    Attributes:
        lam: The current lambda: 0-d, or ``(N,)`` for one per input. Assigning a number works too. It is a buffer, so
            ``torch.func.functional_call`` can override it for one call and differentiate through it.
        lam0: The training lambda.
        zero_lam: Whether lambda may be 0.

    Args:
        lam: Weight of the l1 norm.

    Raises:
        ValueError: If `lam` is negative, or 0 where it may not be (at construction or when assigned).
    """

    kind: ClassVar[str] = "lambda"
    lam: Tensor
    zero_lam: ClassVar[bool] = True

    def __init__(self, lam: float) -> None:
        super().__init__()
        self.register_buffer("lam", torch.zeros(()))
        self.lam = lam  # type: ignore[assignment]  # checked and made a tensor by __setattr__
        self.lam0 = float(lam)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "lam" and isinstance(value, int | float):
            if not (value > 0 or (value == 0 and self.zero_lam)):
                bound = "at least" if self.zero_lam else "above"
                raise ValueError(f"lam must be {bound} 0, got {value}")
            value = self.lam.new_tensor(float(value))
        super().__setattr__(name, value)


def lambda_layers(model: nn.Module) -> dict[str, LambdaLayer]:
    """Returns the layers of `model` that have a lambda, by qualified name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LambdaLayer)}


def set_lambda(model: nn.Module, lam: float) -> None:
    """Sets lambda in every layer of `model` that has one, in place."""
    for layer in lambda_layers(model).values():
        layer.lam = lam  # type: ignore[assignment]  # a number becomes the 0-d buffer
