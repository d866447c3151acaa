"""Elastic transform: a random affine map of the image, then a smooth random displacement of every pixel.

PyTorch's `grid_sample` interpolates between four pixels and mirrors at the border, one image after the other, so that
the bits of an image do not depend on the batch. Its coordinates are float32, good to 3e-5 pixels at 224 pixels.

Source of the definition: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019.

Differences from the original, which warps in OpenCV:
    - Coordinates are exact, where OpenCV before version 5 rounds those of the affine map to 1/32 pixel.
    - On an image that is not square, the control points lie around its centre.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.corruptions.draws import row_blocks, uniform
from robustcsc.corruptions.filters import constants
from robustcsc.corruptions.windows import smooth
from robustcsc.errors import DataError

_REACH = 3.0  # the Gaussian ends at this many sigma
_MIN_SIDE = 3  # the control points fall together on smaller images
_ROUNDING = 2.0**-21  # above the rounding error of two interpolations, so that constant areas keep their 8-bit level


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
        block = images[rows].to(torch.float32)
        if affine > 0:
            block = warp_affine(block, _draws(seeds[rows], (3, 2), 0), affine=affine).add_(_ROUNDING)
        if alpha > 0:
            across, down = (_draws(seeds[rows], (height, width), stream) for stream in (1, 2))
            block = displace(block, across, down, alpha=alpha, sigma=sigma).add_(_ROUNDING)
        warped[rows] = block.clamp(0.0, 1.0)
    return warped


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
    signs = constants((1, 1, 1, -1, -1, -1), torch.float64, draws.device)
    corners, centre = signs.view(3, 2) * third, (width // 2, height // 2)
    moved = corners + draws.to(torch.float64) * affine
    (first_x, first_y), (second_x, second_y) = (moved[:, i].sub(moved[:, i + 1]).unbind(-1) for i in (0, 1))
    # The inverse map sends these differences of the moved points to (0, 2 q) and (2 q, 0).
    area = first_x * second_y - second_x * first_y
    scale = 2 * third / torch.where(area.abs() < 1e-6, -1e-6, area)
    across = torch.arange(width, dtype=torch.float64, device=draws.device) - (centre[0] + moved[:, 1, :1])
    down = torch.arange(height, dtype=torch.float64, device=draws.device) - (centre[1] + moved[:, 1, 1:])
    x_by_x, x_by_y = (scale * -first_y)[:, None] * across, (scale * first_x)[:, None] * down
    y_by_x, y_by_y = (scale * second_y)[:, None] * across, (scale * -second_x)[:, None] * down
    columns = x_by_x + (centre[0] + third), x_by_y
    rows = y_by_x, y_by_y + (centre[1] - third)
    grid = torch.empty(len(images), 2, height, width, device=images.device)
    for places, (by_x, by_y), side in zip(grid.unbind(1), (columns, rows), (width, height), strict=True):
        unit = 2.0 / (side - 1)
        torch.add((by_x * unit - 1.0).float()[:, None, :], (by_y * unit).float()[:, :, None], out=places)
    return _sample(images, grid, mirror="last pixel")


def displace(images: Tensor, across: Tensor, down: Tensor, *, alpha: float, sigma: float) -> Tensor:
    """Reads each pixel at its place plus ``alpha`` times smoothed draws; the border mirrors at its outer edge.

    Args:
        images: (N, C, H, W) float32.
        across: (N, H, W) float32 in [-1, 1], moves along the columns.
        down: The same along the rows.
        alpha: As in `elastic_transform`.
        sigma: As there; the Gaussian has ``floor(3 sigma + 1/2)`` taps on each side, and the field is mirrored at its
            outer edge.

    Returns:
        (N, C, H, W) float32.
    """
    height, width = images.shape[2:]
    grid = smooth(torch.stack((across, down), 1), sigma, reach=_REACH, mirrored=True)
    for places, side, line in zip(grid.unbind(1), (width, height), ((1, -1), (-1, 1)), strict=True):
        centres = (torch.arange(side, device=images.device) * 2.0 + 1.0) / side - 1.0
        places.mul_(2.0 * alpha / side).add_(centres.view(line))
    return _sample(images, grid, mirror="edge")


def _sample(images: Tensor, grid: Tensor, mirror: Literal["last pixel", "edge"]) -> Tensor:
    """Images (N, C, H, W) at the places (N, 2, H, W), columns and rows in units that have the mirrors at -1 and 1."""
    grid = grid.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=mirror == "last pixel")
