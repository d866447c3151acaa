"""Weighted sums over windows of pixels: Gaussians and even kernels.

Every output value is one sum of weighted inputs, formed in an order that depends on the sizes of the image alone: image
``i`` gets the same bits alone and in any batch, with any number of threads. `weighted_rows` does the work.
"""

import functools
import math
from dataclasses import dataclass
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

    A row of `width` values is stored in p pieces of `_piece(width)`. Indices, see `_row_numbers`, and weights are
    (planes side p, K), shared, so read only.
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
    weights = taps.to(dtype).repeat_interleave(width // _piece(width), 0).repeat(planes, 1)
    return _row_numbers(places, side, width, planes).to(device), weights.to(device)


def _row_numbers(rows: Tensor, step: int, width: int, planes: int) -> Tensor:
    """The (S, K) rows of one plane for all planes, which begin `step` rows of `width` values apart, and all pieces.

    Returns:
        (planes S pieces, K) int32.
    """
    pieces = width // _piece(width)
    firsts = torch.arange(planes, device=rows.device)[:, None, None, None] * step
    parts = torch.arange(pieces, device=rows.device)[:, None]
    return ((firsts + rows[:, None]) * pieces + parts).to(torch.int32).view(-1, rows.shape[1])


def _piece(width: int) -> int:
    """Values of the pieces that rows are summed in: as many as fit into registers, if all are as long; else all."""
    lengths = (width // pieces for pieces in range(1, width + 1) if width % (pieces * _REGISTER) == 0)
    return next((length for length in lengths if length <= _REGISTERS * _REGISTER), width)


@dataclass(frozen=True, eq=False)  # a key of the tables that are made of it
class Kernel:
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
    planes = images.reshape(-1, height, width)
    result = torch.empty_like(planes)
    blocks = list(row_blocks(len(planes), height * width, images.device))
    for block in blocks:
        indices, weights = _kernel_sums(kernel, height, width, blocks[0].stop, images.dtype)
        table = _pairs_of_columns(planes[block], kernel.half_width).view(-1, _piece(width))
        count = len(table) // (kernel.half_width + 1)
        result[block] = weighted_rows(table, indices[:count], weights[:count]).view_as(planes[block])
    return result.view_as(images)


@functools.lru_cache(maxsize=8)
def _kernel_sums(kernel: Kernel, height: int, width: int, planes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """As `_sums`, of the rows of `_pairs_of_columns`."""
    rows = torch.arange(height, device=kernel.rows.device)[:, None] + kernel.rows
    rows = (height - 1) - ((height - 1) - rows.abs()).abs()  # mirrored at the first row and at the last
    rows += kernel.columns * height
    indices = _row_numbers(rows, (kernel.half_width + 1) * height, width, planes)
    return indices, kernel.weights.to(dtype).expand_as(indices).contiguous()


def _pairs_of_columns(planes: Tensor, most: int) -> Tensor:
    """(P, most + 1, H, W), the sums of the pixels `shift` columns left and right of each, mirrored; itself for shift 0.

    Planes (P, H, W) are more than `most` columns wide.
    """
    count, height, width = planes.shape
    padded = planes.new_empty(count, height, width + 2 * most)
    padded[..., most : most + width] = planes
    padded[..., :most] = planes[..., 1 : most + 1].flip(-1)
    padded[..., most + width :] = planes[..., width - 1 - most : width - 1].flip(-1)
    sums = planes.new_empty(count, most + 1, height, width)
    sums[:, 0] = planes
    for shift in range(1, most + 1):
        left, right = most - shift, most + shift
        torch.add(padded[..., left : left + width], padded[..., right : right + width], out=sums[:, shift])
    return sums
