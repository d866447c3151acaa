"""The unrolled proximal gradient iteration of layers whose dictionary is a convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robustcsc.layers.operator import ConvOperator


def unrolled(
    operator: ConvOperator,
    images: Tensor,
    weights: Sequence[float],
    bias: Tensor | None = None,
    prox: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Returns the codes after proximal gradient steps of size 1 on ``1/2 ||x - A z||^2 + g(z)`` from ``z = 0``.

    A step is ``z <- prox(y + A*(x - A y))``, from the extrapolated point y. One of another size s is that with images
    and atoms times ``sqrt(s)``, which are smaller than codes.

    Args:
        operator: A and A*.
        images: x, ``(N, C, H, W)``.
        weights: The weight of the extrapolation before each step, as of `extrapolation_weights`.
        bias: Negative thresholds of the atoms, ``(k,)``: added, and what is then negative becomes 0, before `prox`.
        prox: What follows, in place only without `bias`.

    Returns:
        ``(N, k, h, w)``.
    """
    rectified, last = bias is not None, len(weights) - 1
    codes = operator.analyse(images, bias, rectified=rectified)  # A(0) = 0
    codes = previous = codes if prox is None else prox(codes)
    for count, weight in enumerate(weights[1:], 1):
        point = torch.lerp(previous, codes, 1 + weight) if weight else codes
        moved = operator.step(point, images, bias, rectified=rectified, last=count == last)
        previous, codes = codes, moved if prox is None else prox(moved)
    return codes
