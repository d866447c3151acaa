"""Layers that solve a problem, and may be differentiated at its solution or through the steps to it.

An attack needs the gradient of what was computed. The implicit gradient is that of the exact solution: where the steps
stop early, it leads elsewhere, and a model looks more robust than it is. See Athalye, Carlini and Wagner, "Obfuscated
gradients give a false sense of security", ICML 2018; Yang, Pang and Liu, "A closer look at the adversarial robustness
of deep equilibrium models", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, get_args, runtime_checkable

from torch import nn

#: ``"implicit"``: of the solution; ``"unrolled"``: of the steps that were computed.
Gradient = Literal["implicit", "unrolled"]
GRADIENTS: tuple[Gradient, ...] = get_args(Gradient)


@runtime_checkable
class Solving(Protocol):
    """A layer that solves a problem.

    Attributes:
        gradient: What it is differentiated by.
    """

    gradient: Gradient


def implicit_layers(model: nn.Module) -> list[Solving]:
    """Returns the layers of `model` that are differentiated at their solution, and could be through their steps."""
    found = [it for it in model.modules() if isinstance(it, Solving)]
    return [it for it in found if it.gradient == "implicit"]


@contextmanager
def unrolled_gradients(model: nn.Module) -> Iterator[None]:
    """Differentiates every layer of `model` that solves a problem through its steps, within the block.

    Examples:
        >>> from robustcsc.layers.patch_code import PatchCode2d
        >>> layer = PatchCode2d(3, 16, 3)
        >>> with unrolled_gradients(layer):
        ...     layer.gradient
        'unrolled'
        >>> layer.gradient
        'implicit'
    """
    layers = implicit_layers(model)
    for layer in layers:
        layer.gradient = "unrolled"
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient = "implicit"
