"""Elastic transform: a random affine map of the image, then a smooth random displacement of every pixel.

Smoothing is a product with one matrix per side of the image, which holds the taps folded back at the mirrors, however
often. The product is exact: draws, matrix and the result of the first side are multiples of 2^-26 of size about 1, so
that every sum fits into the 53 bits of a float64, and no library can round it in two ways.

Source of the definition: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019.

Differences from the original, which warps in OpenCV:
    - Coordinates are exact, where OpenCV before version 5 rounds those of the affine map to 1/32 pixel.
    - On an image that is not square, the control points lie around its centre.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from robustcsc.corruptions.draws import row_blocks, uniform
from robustcsc.errors import DataError

_UNIT = 2.0**-26
_TRUNCATE = 3.0  # the Gaussian ends at this many sigma
_BAND = 56  # outputs of one product in the smoothing
_MIN_SIDE = 3  # the control points fall together on smaller images


def elastic_transform(images: Tensor, seeds: Tensor, *, alpha: float, sigma: float, affine: float) -> Tensor:
    """Returns the images under random maps, each image under its own, the same for its channels.

    Args:
        images: (N, C, H, W) float, pixels in [0, 1], both sides at least 3.
        seeds: (N,) int64, from `image_seeds`, on the device of the images.
        alpha: Factor of the smoothed displacements in pixels, at least 0.
        sigma: Standard deviation of their smoothing in pixels, at least 0.
        affine: Largest shift of the control points of the affine map in pixels, at least 0.

    Returns:
        (N, C, H, W), clipped to [0, 1].

    Raises:
        DataError: If a side is shorter than 3 pixels.
    """
    height, width = images.shape[2:]
    if min(height, width) < _MIN_SIDE:
        raise DataError(
            f"Corruption elastic_transform needs images of at least {_MIN_SIDE} x {_MIN_SIDE} pixels, "
            f"not {height} x {width}."
        )
    warped = torch.empty_like(images, memory_format=torch.contiguous_format)
    for rows in row_blocks(len(images), 2 * height * width, images.device):
        block = warp_affine(images[rows], _draws(seeds[rows], (3, 2), 0), affine=affine)
        if alpha > 0:
            across, down = (_draws(seeds[rows], (height, width), stream) for stream in (1, 2))
            block = displace(block, across, down, alpha=alpha, sigma=sigma)
        warped[rows] = block
    return warped.clamp_(0.0, 1.0)


def _draws(seeds: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """Uniform numbers in [-1, 1), (N, *shape) float32."""
    return uniform(seeds, shape, stream).mul_(2.0).sub_(1.0)


def warp_affine(images: Tensor, draws: Tensor, *, affine: float) -> Tensor:
    """Moves three control points by ``affine * draws`` and the image with them; the border mirrors at the last pixel.

    With m the centre and q a third of the shorter side, the points (x, y) are m + (q, q), m + (q, -q) and m - (q, q).
    The draws are (N, 3, 2), x and y for each point, in [-1, 1]. The result is float32.
    """
    height, width = images.shape[2:]
    third = min(height, width) // 3
    corners = torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64, device=draws.device) * third
    centre = torch.tensor([width // 2, height // 2], dtype=torch.float64, device=draws.device)
    moved = corners + draws.to(torch.float64) * affine
    (first_x, first_y), (second_x, second_y) = (moved[:, i].sub(moved[:, i + 1]).unbind(-1) for i in (0, 1))
    # The inverse map sends these differences of the moved points to (0, 2 q) and (2 q, 0).
    area = first_x * second_y - second_x * first_y
    scale = 2 * third / torch.where(area.abs() < 1e-6, -1e-6, area)
    across = torch.arange(width, dtype=torch.float64, device=draws.device) - (centre[0] + moved[:, 1, :1])
    down = torch.arange(height, dtype=torch.float64, device=draws.device) - (centre[1] + moved[:, 1, 1:])
    x_by_x, x_by_y = (scale * -first_y)[:, None] * across, (scale * first_x)[:, None] * down
    y_by_x, y_by_y = (scale * second_y)[:, None] * across, (scale * -second_x)[:, None] * down
    columns = (x_by_x + (centre[0] + third)).float()[:, None, :] + x_by_y.float()[:, :, None]
    rows = (y_by_y + (centre[1] - third)).float()[:, :, None] + y_by_x.float()[:, None, :]
    return _bilinear(images, _fold(rows, height, 0.0), _fold(columns, width, 0.0))


def displace(images: Tensor, across: Tensor, down: Tensor, *, alpha: float, sigma: float) -> Tensor:
    """Reads each pixel at its place plus ``alpha`` times smoothed draws; the border mirrors at its outer edge.

    The draws in [-1, 1] are (N, H, W), `across` along the columns and `down` along the rows; `alpha` and `sigma` are
    those of `elastic_transform`. The result is float32.
    """
    height, width = images.shape[2:]
    rows = (smooth_field(down, sigma) * alpha).float()
    columns = (smooth_field(across, sigma) * alpha).float()
    rows.add_(torch.arange(height, dtype=torch.float32, device=images.device)[:, None])
    columns.add_(torch.arange(width, dtype=torch.float32, device=images.device))
    return _bilinear(images, _fold(rows, height, 0.5), _fold(columns, width, 0.5))


def smooth_field(field: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing with taps up to ``floor(3 sigma + 1/2)`` and the field mirrored at its outer edge.

    (N, H, W) in [-1, 1], multiples of 2^-26 as draws are, to (N, H, W) float64, within 2^-26 (H + W) of the exact
    result; the same bits whatever the batch.
    """
    count, height, width = field.shape
    exact = field.to(torch.float64)
    across = torch.empty_like(exact)
    for outputs, inputs, weights in _bands(width, sigma):
        weights = weights.to(field.device) / _UNIT
        torch.mm(exact.view(-1, width)[:, inputs], weights, out=across.view(-1, width)[:, outputs])
    across.round_()
    for outputs, inputs, weights in _bands(height, sigma):
        weights = weights.to(field.device).t() * _UNIT
        torch.bmm(weights.expand(count, -1, -1), across[:, inputs], out=exact[:, outputs])
    return exact


@lru_cache(maxsize=16)
def _bands(side: int, sigma: float) -> tuple[tuple[slice, slice, Tensor], ...]:
    """The smoothing of one side as products: (outputs, the inputs they depend on, float64 weights inputs x outputs).

    The weights are multiples of 2^-26. There are several bands where that leaves out many zeros.
    """
    radius = math.floor(_TRUNCATE * sigma + 0.5)
    steps = range(-radius, radius + 1)
    taps = [math.exp(-((step / sigma) ** 2) / 2) if step else 1.0 for step in steps]
    matrix = torch.zeros(side, side, dtype=torch.float64)
    columns = torch.arange(side)
    for step, tap in zip(steps, taps, strict=True):
        places = (columns + step) % (2 * side)
        matrix[torch.minimum(places, 2 * side - 1 - places), columns] += tap / math.fsum(taps)
    matrix.div_(_UNIT).round_().mul_(_UNIT)
    bands = []
    step = _BAND if 4 * radius < side else side
    for start in range(0, side, step):
        outputs = slice(start, min(start + step, side))
        inputs = slice(max(0, outputs.start - radius), min(side, outputs.stop + radius))
        bands.append((outputs, inputs, matrix[inputs, outputs].contiguous()))
    return tuple(bands)


def _fold(places: Tensor, side: int, margin: float) -> Tensor:
    """Mirrors coordinates, however far outside, `margin` beyond the first and last pixel of a side; overwrites them."""
    span = side - 1 + 2 * margin
    places.add_(margin)
    places.sub_((places / (2 * span)).floor_().mul_(2 * span))
    return places.sub_(span).abs_().neg_().add_(span - margin).clamp_(0.0, side - 1.0)


def _bilinear(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Samples every channel at fractional coordinates within the image, to (N, C, H, W) float32.

    Every step is a selection or rounds once, so that a pixel's bits do not depend on where in the batch it stands. Rows
    in [0, H - 1] and columns in [0, W - 1] are (N, H, W) float32; both are overwritten. Sides are at least 2.
    """
    count, channels, height, width = images.shape
    top, left = rows.floor().clamp_(0, height - 2), columns.floor().clamp_(0, width - 2)
    down, across = rows.sub_(top).view(-1), columns.sub_(left).view(-1)
    first = torch.arange(0, count * height * width, height * width, dtype=torch.int32, device=images.device)
    index = top.to(torch.int32).mul_(width).add_(left.to(torch.int32)).add_(first[:, None, None]).view(-1)
    planes = images.to(torch.float32).transpose(0, 1).reshape(channels, -1)
    upper, lower, right = (torch.empty_like(planes) for _ in range(3))

    def neighbour(offset: int, out: Tensor) -> Tensor:
        for plane, selected in zip(planes, out, strict=True):  # one index serves all channels
            torch.index_select(plane[offset:], 0, index, out=selected)
        return out

    neighbour(0, upper)
    upper.add_(neighbour(1, right).sub_(upper).mul_(across))
    neighbour(width, lower)
    lower.add_(neighbour(width + 1, right).sub_(lower).mul_(across))
    upper.add_(lower.sub_(upper).mul_(down))
    return upper.view(channels, count, height, width).transpose(0, 1)
