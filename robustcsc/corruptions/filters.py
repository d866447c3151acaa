"""Motion along a ray, zoom, thresholds, and the truncation to 8 bits.

Every output value is formed in an order that depends on the sizes of the image alone: image ``i`` gets the same bits
alone and in any batch, with any number of threads. A zoom is a sum of `weighted_rows`; the rest is additions and
multiplications of whole tensors, which IEEE 754 rounds in one way. Those that a ray is summed with are fused where the
processor can, for all values alike.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.corruptions.draws import row_blocks
from robustcsc.corruptions.windows import gaussian, weighted_rows

_LANES = 64  # planes filtered side by side, pixel by pixel
_VECTOR = 16  # their number is a multiple of this, so that no value falls to the scalar code for left-over elements
_SIXTEEN_BITS = 65535.0


@functools.lru_cache(maxsize=256)
def constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A few numbers on a device, copied to it once: each copy would wait for it. Shared, so read only."""
    return torch.tensor(values, dtype=dtype, device=device)


def on_device(divisor: float, like: Tensor) -> Tensor:
    """The divisor of the type and on the device of `like`: a GPU divides by a Python number through its inverse."""
    return torch.full((), divisor, dtype=like.dtype, device=like.device)


def motion(images: Tensor, angles: Tensor, *, radius: float, sigma: float) -> Tensor:
    """One-sided Gaussian blur along a ray from each pixel, rounded to 16 bits.

    Tap i = 0 .. 2 radius has the weight ``exp(-i^2 / (2 sigma^2))``, normalised, and reads the pixel
    ``ceil(i cos t - 1/2)`` columns and ``ceil(i sin t - 1/2)`` rows further; the border pixel is repeated. The sums
    are rounded to the nearest of 65536 levels, so that their truncation to 8 bits keeps the levels of constant areas.

    Source: ImageMagick's motion blur, as the original corruption functions call it.

    Args:
        images: (N, C, H, W) float, pixels in [0, 1].
        angles: (N,) float, t in degrees, one per image.
        radius: Half the length of the ray in pixels, at least 0, cut to a whole number.
        sigma: Decay of the weights in pixels; 0 leaves the first tap alone.

    Returns:
        (N, C, H, W), multiples of 1 / 65535.
    """
    count = 2 * int(radius) + 1
    weights = [gaussian(i / sigma) if sigma else float(i == 0) for i in range(count)]
    weights = [weight for weight in weights if weight > 0.0]
    total = math.fsum(weights)
    ratios = [after / before for before, after in itertools.pairwise(weights)]
    if images.device.type != "cpu":
        return _round_to_16_bits(gathered_ray_sums(images, angles, ratios).div_(total))
    order = torch.argsort(angles, stable=True)
    radians = [math.radians(angle) for angle in angles[order].tolist()]
    directions = torch.tensor([(math.cos(each), math.sin(each)) for each in radians], dtype=torch.float64)
    columns, rows = _ray_offsets(directions.view(-1, 2), len(weights))
    result = torch.empty_like(images)
    for block in row_blocks(len(images), math.prod(images.shape[1:]), images.device):
        blurred = _ray_sums(images.index_select(0, order[block]), columns[block], rows[block], ratios)
        result.index_copy_(0, order[block], _round_to_16_bits(blurred.div_(total)))
    return result


def gathered_ray_sums(images: Tensor, angles: Tensor, ratios: Sequence[float]) -> Tensor:
    """The sum over taps of the pixels on each image's ray, each tap weighing `ratios` times the one before it.

    For devices that the host should not wait for: it never learns the angles.
    """
    height, width = images.shape[2:]
    radians = angles.to(torch.float64).deg2rad()
    columns, rows = _ray_offsets(torch.stack((radians.cos(), radians.sin()), 1), len(ratios) + 1)
    every_row, every_column = (torch.arange(side, device=images.device) for side in (height, width))
    pixels, sums = images.flatten(2), torch.zeros_like(images)
    for tap, ratio in _from_the_far_end(ratios):
        row = (every_row + rows[:, tap, None]).clamp_(0, height - 1)
        column = (every_column + columns[:, tap, None]).clamp_(0, width - 1)
        places = (row[:, :, None] * width + column[:, None, :]).view(len(images), 1, -1)
        sums = torch.add(pixels.gather(2, places.expand_as(pixels)).view_as(images), sums, alpha=ratio)
    return sums


def _from_the_far_end(ratios: Sequence[float]) -> Iterator[tuple[int, float]]:
    """The taps in the order of Horner's scheme, each with the factor of the sum so far, which begins with 0."""
    return reversed(list(enumerate((*ratios, 0.0))))


def _ray_offsets(directions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Two (N, count) int64, the columns and rows from a pixel to the taps of its ray; directions are (N, 2) float64."""
    taps = torch.arange(count, dtype=torch.float64, device=directions.device)
    columns, rows = (directions[:, :, None] * taps).sub_(0.5).ceil_().to(torch.int64).unbind(1)
    return columns, rows


def _ray_sums(images: Tensor, columns: Tensor, rows: Tensor, ratios: Sequence[float]) -> Tensor:
    """As `gathered_ray_sums`, for images in the order of their angles: long runs of them are shifted alike."""
    height, width = images.shape[2:]
    left, top = -min(0, int(columns.min())), -min(0, int(rows.min()))
    padding = (left, max(0, int(columns.max())), top, max(0, int(rows.max())))
    padded = F.pad(images, padding, mode="replicate")
    # Whole planes are shifted at once, as if their rows were one: what lies between two rows is computed, too, and cut.
    pitch = padded.shape[3]
    length = (height - 1) * pitch + width
    pixels, sums = padded.flatten(2), images.new_zeros(*images.shape[:2], length)
    for tap, ratio in _from_the_far_end(ratios):
        for run, first in _runs((columns[:, tap] + left + pitch * (rows[:, tap] + top)).tolist()):
            torch.add(pixels[run, :, first : first + length], sums[run], alpha=ratio, out=sums[run])
    return sums.as_strided(images.shape, (*sums.stride()[:2], pitch, 1))


def _runs(values: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """The runs of equal values, as a slice and the value."""
    start = 0
    for value, group in itertools.groupby(values):
        stop = start + sum(1 for _ in group)
        yield slice(start, stop), value
        start = stop


def _round_to_16_bits(values: Tensor) -> Tensor:
    """Rounds values of [0, 1] to the nearest multiple of 1 / 65535, half up, in place."""
    levels = on_device(_SIXTEEN_BITS, values)
    return values.mul_(levels).add_(0.5).floor_().div_(levels)


def truncate_(images: Tensor) -> Tensor:
    """Returns ``floor(255 x) / 255``, the images as in 8-bit files; the 256 levels ``i / 255`` do not change.

    Images, or values along the first dimension, are float32 or float64 in [0, 1]; they are overwritten.
    """
    levels = on_device(255.0, images)
    for rows in row_blocks(len(images), images[:1].numel(), images.device):
        images[rows].mul_(levels).floor_().div_(levels)
    return images


def as_bytes(images: Tensor) -> Tensor:
    """Returns ``floor(255 x)`` as uint8, the levels of `truncate_`; the images, float in [0, 1], are overwritten.

    By way of int16, because PyTorch turns floats into bytes one by one.
    """
    return images.mul_(on_device(255.0, images)).to(torch.int16).to(torch.uint8)


def clear_below_(values: Tensor, least: float) -> Tensor:
    """Sets float32 values below `least` to 0, in place and without a mask, which takes far longer on a CPU."""
    before = torch.nextafter(torch.tensor(least), torch.tensor(-math.inf))
    return torch.threshold_(values, float(before), 0.0)


def zoom(images: Tensor, *factors: float) -> Tensor:
    """Returns the mean, over `factors`, of the middle of each image enlarged by about that factor.

    Per axis of n pixels: the ``c = ceil(n / factor)`` pixels from ``(n - c) // 2`` on are enlarged linearly, the outer
    ones kept, to ``o = round(c factor)``, of which the n from ``(o - n) // 2`` on are taken. Where c = n = o the image
    stays the same.

    Args:
        images: (N, C, H, W) float.
        factors: Each at least 1; repetitions count.

    Returns:
        (N, C, H, W).
    """
    height, width = images.shape[2:]
    indices, weights = _zoom_taps(height, width, factors, images.dtype, images.device)
    planes = images.reshape(-1, height * width)
    result = torch.empty_like(planes)
    for start in range(0, len(planes), _LANES):
        block = planes[start : start + _LANES]
        pixels = F.pad(block, (0, 0, 0, -len(block) % _VECTOR)).t().contiguous()
        result[start : start + _LANES] = weighted_rows(pixels, indices, weights).t()[: len(block)]
    return result.view_as(images)


@functools.lru_cache(maxsize=4)
def _zoom_taps(
    height: int, width: int, factors: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Indices of the pixels, (height width, K) int32, whose weighted sum is the mean of the zooms, and the weights."""
    moving = [f for f in factors if _zoom_sides(height, f) != (height,) * 2 or _zoom_sides(width, f) != (width,) * 2]
    indices, weights = [], []
    if unchanged := len(factors) - len(moving):
        indices.append(torch.arange(height * width).view(-1, 1))
        weights.append(torch.full((height * width, 1), float(unchanged), dtype=torch.float64))
    for factor in moving:
        rows, row_weights = _zoom_axis(height, factor)
        columns, column_weights = _zoom_axis(width, factor)
        indices.append((rows[:, None, :, None] * width + columns[:, None]).view(-1, 4))
        weights.append((row_weights[:, None, :, None] * column_weights[:, None]).view(-1, 4))
    shares = torch.cat(weights, 1) / len(factors)
    return torch.cat(indices, 1).to(device, torch.int32), shares.to(device, dtype)


def _zoom_sides(side: int, factor: float) -> tuple[int, int]:
    """How many of `side` pixels a zoom enlarges, and to how many."""
    crop = math.ceil(side / factor)
    return crop, round(crop * factor)


def _zoom_axis(side: int, factor: float) -> tuple[Tensor, Tensor]:
    """The two pixels each of `side` pixels lies between after a zoom, (side, 2) int64, and their float64 weights."""
    crop, enlarged = _zoom_sides(side, factor)
    positions = torch.arange(side, dtype=torch.float64) + (enlarged - side) // 2
    positions *= (crop - 1) / max(1, enlarged - 1)
    lower = positions.to(torch.int64).clamp_(max=max(0, crop - 2))
    upper = (lower + 1).clamp_(max=crop - 1)
    share = positions - lower
    return torch.stack((lower, upper), 1) + (side - crop) // 2, torch.stack((1.0 - share, share), 1)
