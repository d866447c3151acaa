"""What layers that solve a sparse-coding problem share: the weight lambda of the l1 norm, and a residual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class LambdaLayer(nn.Module, ABC):
    """A layer whose output is the sparse code of its input, at a lambda that can be changed after training.

    Attributes:
        lam: The lambda in force: 0-d, or ``(N,)`` for one per input. Assigning a number works too. It is a buffer, so
            ``torch.func.functional_call`` can override it for one call and differentiate through it.
        lam0: The lambda the layer was trained with.
        zero_lam: Whether lambda may be 0.

    Args:
        lam: Weight of the l1 norm.

    Raises:
        ValueError: If `lam` is negative, or 0 where it may not be (at construction or when assigned).
    """

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

    @abstractmethod
    def residual(self, inputs: Tensor, codes: Tensor) -> Tensor:
        """Returns the squared norm of what the codes leave unexplained of every input, ``(N,)``, float32 or better."""


def lambda_layers(model: nn.Module) -> dict[str, LambdaLayer]:
    """Returns the layers of `model` that have a lambda by their qualified name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LambdaLayer)}


def set_lambda(model: nn.Module, lam: float) -> None:
    """Sets lambda in all layers of `model` that have one, in place."""
    for layer in lambda_layers(model).values():
        layer.lam = lam  # type: ignore[assignment]  # a number becomes the 0-d buffer


def squared_norms(differences: Tensor) -> Tensor:
    """Returns the squared l2 norm of every row or image, ``(N,)``, in float32 or better."""
    if differences.dtype in (torch.bfloat16, torch.float16):
        differences = differences.float()
    return differences.flatten(1).square().sum(1)
