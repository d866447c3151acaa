"""Weighted sums over windows of pixels: Gaussians and even kernels.

Every output value is one sum of weighted inputs, formed in an order that depends on the sizes of the image alone: image
``i`` gets the same bits alone and in any batch, with any number of threads. `weighted_rows` does the work.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.corruptions.draws import row_blocks

_REGISTER, _REGISTERS = 8, 14  # values of a vector register, and registers that sum a row; longer rows take two loops


def weighted_rows(table: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Returns (Q, L), the rows ``y[r] = sum_k weights[r, k] table[indices[r, k]]``.

    The table is (R, L) float; indices and weights are (Q, K), int32 or int64 and of the table's type. On the CPU the
    sum stays in registers, tap by tap, which is several times faster than adding whole tensors.
    """
    return F.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)


def gaussian(distance: float) -> float:
    """``exp(-distance^2 / 2)``."""
    return math.exp(-distance * distance / 2.0)


def gaussian_taps(sigma: float, radius: int) -> Tensor:
    """(2 radius + 1,) float64 on the CPU, ``exp(-i^2 / (2 sigma^2))`` for i = -radius .. radius over their sum."""
    taps = [gaussian(i / sigma) for i in range(-radius, radius + 1)]
    return torch.tensor(taps, dtype=torch.float64) / math.fsum(taps)


def smooth(images: Tensor, sigma: float, *, reach: float = 4.0, mirrored: bool = False) -> Tensor:
    """Gaussian blur with ``floor(reach sigma + 1/2)`` taps on each side, normalised.

    Args:
        images: (N, C, H, W) float.
        sigma: Standard deviation in pixels, at least 0.
        reach: Where the Gaussian ends, in standard deviations.
        mirrored: Whether the image is mirrored at its outer edge, however often; else the border pixel is repeated.

    Returns:
        (N, C, H, W); a copy of the images when the kernel is a single tap.
    """
    window = _Window(sigma, math.floor(reach * sigma + 0.5), mirrored)
    if window.radius == 0:
        return images.clone()
    height, width = images.shape[2:]
    planes = images.reshape(-1, height, width)
    result = torch.empty_like(planes)
    blocks = list(row_blocks(len(planes), height * width, images.device))
    for block in blocks:
        most = blocks[0].stop  # planes of a block; a smaller one takes the first rows of the tables
        columns = _along_rows(planes[block], *_sums(window, height, width, most, images.dtype, images.device))
        rows = columns.transpose(1, 2).contiguous()
        rows = _along_rows(rows, *_sums(window, width, height, most, images.dtype, images.device))
        result[block] = rows.transpose(1, 2)
    return result.view_as(images)


class _Window(NamedTuple):
    """A Gaussian of 2 radius + 1 taps, and what is beyond the border."""

    sigma: float
    radius: int
    mirrored: bool


def _along_rows(planes: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Filters (P, H, W) planes down their columns with the tables of `_sums` for P planes or more."""
    rows = planes.reshape(-1, _piece(planes.shape[2]))
    return weighted_rows(rows, indices[: len(rows)], weights[: len(rows)]).view_as(planes)


@functools.lru_cache(maxsize=8)
def _sums(
    window: _Window, side: int, width: int, planes: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What `weighted_rows` sums for the rows of several planes of `side` rows, which lie one after the other.

    A row of `width` values is stored in p pieces of `_piece(width)`. Indices (planes side p, K) int32 and weights are
    shared, so read only.
    """
    places = torch.arange(side)[:, None] + torch.arange(-window.radius, window.radius + 1)
    if window.mirrored:
        places.remainder_(2 * side)
        places = torch.minimum(places, 2 * side - 1 - places)
    else:
        places.clamp_(0, side - 1)
    taps = gaussian_taps(window.sigma, window.radius).expand(side, -1)
    if taps.shape[1] > side:  # every row is summed once
        taps = torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, places, taps)
        places = torch.arange(side).expand(side, -1)
    pieces = width // _piece(width)
    firsts, parts = torch.arange(planes)[:, None, None, None] * side, torch.arange(pieces)[:, None]
    indices = ((firsts + places[:, None]) * pieces + parts).to(torch.int32).view(-1, places.shape[1])
    return indices.to(device), taps.to(dtype).repeat_interleave(pieces, 0).repeat(planes, 1).to(device)


def _piece(width: int) -> int:
    """Values of the pieces that rows are summed in: as many as fit into registers, if all are as long; else all."""
    lengths = (width // pieces for pieces in range(1, width + 1) if width % (pieces * _REGISTER) == 0)
    return next((length for length in lengths if length <= _REGISTERS * _REGISTER), width)


class Kernel(NamedTuple):
    """The weights of an even correlation, without those that are 0.

    Attributes:
        half_width: Columns on either side of the middle.
        rows: (K,) int64, row of each weight, counted from the middle.
        columns: (K,) int64, its column on either side of the middle, at least 0.
        weights: (K,) float64.
    """

    half_width: int
    rows: Tensor
    columns: Tensor
    weights: Tensor


def even_kernel(table: Tensor) -> Kernel:
    """Returns what counts of a table (2 a + 1, 2 b + 1), float64 on the CPU, that a mirror left to right keeps."""
    half_height, half_width = (side // 2 for side in table.shape)
    right = table[:, half_width:]
    rows, columns = right.nonzero(as_tuple=True)
    return Kernel(half_width, rows - half_height, columns, right[rows, columns])


def correlate(images: Tensor, kernel: Kernel) -> Tensor:
    """Returns ``y(r, c) = sum_ij kernel(i, j) x(r + i, c + j)``, the images mirrored without doubling the border pixel.

    Images are (N, C, H, W) float, each side larger than the kernel's half side; so is the result.
    """
    height, width = images.shape[2:]
    half_width, weights = kernel.half_width, kernel.weights.to(images.dtype)
    rows = torch.arange(height, device=images.device)[:, None] + kernel.rows
    rows = (height - 1) - ((height - 1) - rows.abs()).abs()  # mirrored at the first row and at the last
    rows += kernel.columns * height
    planes = images.reshape(-1, height, width)
    result = torch.empty_like(planes)
    for block in row_blocks(len(planes), height * width, images.device):
        padded = F.pad(planes[block], (half_width, half_width), mode="reflect")
        table = padded.new_empty(len(padded), half_width + 1, height, width)
        table[:, 0] = padded[..., half_width : half_width + width]
        for shift in range(1, half_width + 1):  # kernel columns `shift` left and right of the middle, which weigh alike
            start, mirrored = half_width - shift, half_width + shift
            table[:, shift] = padded[..., start : start + width] + padded[..., mirrored : mirrored + width]
        first = torch.arange(len(padded), device=images.device)[:, None, None] * ((half_width + 1) * height)
        indices = (first + rows).view(-1, len(weights))
        filtered = weighted_rows(table.view(-1, width), indices, weights.expand_as(indices).contiguous())
        result[block] = filtered.view_as(planes[block])
    return result.view_as(images)
