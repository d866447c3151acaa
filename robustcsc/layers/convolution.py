"""One convolution with what follows it, and its derivative with respect to the weight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

Pair = tuple[int, int]
#: Stride, padding and dilation, as a convolution takes them.
Place = tuple[Pair, Pair, Pair]


def convolved(
    images: Tensor, weight: Tensor, bias: Tensor | None, place: Place, rectified: bool, onto: Tensor | None = None
) -> Tensor:
    """Returns ``A* x``, or `onto` with that added to it in place, in one pass over the codes if oneDNN can."""
    if images.dtype != torch.float32 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        plain = F.conv2d(images, weight, bias, *place)
        plain = plain if onto is None else onto.add_(plain)
        return plain.relu_() if rectified else plain
    stride, padding, dilation = place
    if bias is not None:
        bias = bias.contiguous()  # oneDNN ignores the strides of a bias
    # Its ReLU makes 0 of NaN, which is to stay.
    finite = rectified and bool((images.sum() + weight.sum() + (0 if bias is None else bias.sum())).isfinite())
    how, relu = (padding, stride, dilation, 1), "relu" if finite else None
    if onto is None:
        codes: Tensor = torch.ops.mkldnn._convolution_pointwise(images, weight, bias, *how, relu or "none", [], None)
    else:
        add = torch.ops.mkldnn._convolution_pointwise_
        codes = add(onto, images, weight, bias, *how, "add", 1.0, relu, [], None)
    return codes.relu_() if rectified and not finite else codes


def correlated(images: Tensor, codes: Tensor, weight: Tensor, place: Place) -> Tensor:
    """Returns the derivative of ``<A* x, z>`` with respect to the weight."""
    of_weight: Tensor = conv2d_weight(images, weight.shape, codes, *place)  # type: ignore[no-untyped-call]
    return of_weight
