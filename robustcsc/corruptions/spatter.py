"""Spatter: drops of water or splashes of mud on the lens, one field of drops per image for all its channels.

Water is drawn through whole numbers of 8 bits: edges of the drops, distances to them, two small filters. The planes
of a block of images lie side by side, (H, W, N), which keeps the neighbours of a pixel in contiguous memory for the
whole block. Every number up to the last product is a multiple of 2^-16 below 2^8, exact in float32 in any order.

Sources: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019. J. Canny, "A computational approach to edge detection", 1986. G. Borgefors, "Distance
transformations in digital images", 1986.

Differences from the original:
    - An image on which no water is left stays as it is; the original divides zero by zero there, which gives black.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.corruptions.draws import normal, row_blocks
from robustcsc.corruptions.filters import clear_below_, constants, on_device
from robustcsc.corruptions.growth import grow, neighbours
from robustcsc.corruptions.windows import smooth
from robustcsc.errors import DataError

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_MUD_EDGE = 0.8  # thinner mud runs off
_WEAK, _STRONG = 50, 150  # thresholds of the gradient, which is 8 times that of an 8-bit image
_TANGENT = 13573 / 32768  # of 22.5 degrees, in 15 bits; that of 67.5 degrees is 2 more
_FARTHEST = 20.0
_STEPS = (  # moves of the distance and their costs in 16 bits: (rows, columns) and the same with a minus
    (0, 1, 1.0),
    (1, 0, 1.0),
    (1, 1, 91750 / 65536),
    (1, -1, 91750 / 65536),
    (1, 2, 143976 / 65536),
    (1, -2, 143976 / 65536),
    (2, 1, 143976 / 65536),
    (2, -1, 143976 / 65536),
)
_MIN_SIDE = 2  # of an image that is mirrored at its last pixel


def spatter(
    images: Tensor,
    seeds: Tensor,
    *,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Tensor:
    """Returns the images behind drops, where a smooth random field exceeds a threshold.

    Args:
        images: (N, 3, H, W) float, pixels in [0, 1], both sides at least 2.
        seeds: (N,) int64, from `image_seeds`, on the device of the images.
        mean: Mean of the field before smoothing.
        std: Its standard deviation.
        sigma: Standard deviation of its smoothing in pixels, at least 0.
        threshold: Smallest value of the field inside a drop.
        strength: Weight of the water, or standard deviation of the smoothing of the mud in pixels.
        mud: 0 for water, 1 for mud.

    Returns:
        (N, 3, H, W), clipped to [0, 1].

    Raises:
        DataError: If the images are not in colour or a side is shorter than 2 pixels.
    """
    channels, height, width = images.shape[1:]
    if channels != 3:
        raise DataError(f"Corruption spatter needs colour images of 3 channels, not {channels}.")
    if min(height, width) < _MIN_SIDE:
        least = f"{_MIN_SIDE} x {_MIN_SIDE}"
        raise DataError(f"Corruption spatter needs images of at least {least} pixels, not {height} x {width}.")
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for rows in row_blocks(len(images), height * width, images.device):
        draws = normal(seeds[rows], (height, width))
        field = drops(draws, mean=mean, std=std, sigma=sigma, threshold=threshold)
        if int(mud):
            result[rows] = cover_with_mud(images[rows], field, threshold=threshold, sigma=strength)
        else:
            result[rows] = cover_with_water(images[rows], field, strength=strength)
    return result


def drops(draws: Tensor, *, mean: float, std: float, sigma: float, threshold: float) -> Tensor:
    """Returns (N, H, W) float32, the field ``mean + std z`` smoothed by `sigma`, with 0 below the threshold.

    The draws z are (N, H, W), standard normal; the other parameters are those of `spatter`.
    """
    field = smooth((draws.to(torch.float32) * std).add_(mean).unsqueeze(1), sigma).squeeze(1)
    return clear_below_(field, threshold)


def cover_with_mud(images: Tensor, field: Tensor, *, threshold: float, sigma: float) -> Tensor:
    """Blends in brown with the weight of the drops, smoothed by `sigma` pixels, where that is at least 0.8.

    Images (N, 3, H, W) and the field (N, H, W) of `drops`, which exceeds the threshold inside a drop, to images clipped
    to [0, 1].
    """
    weight = smooth((field > threshold).view(torch.uint8).to(torch.float32).unsqueeze(1), sigma)
    weight = clear_below_(weight, _MUD_EDGE).to(images.dtype)
    brown = constants(_MUD, images.dtype, images.device)[:, None, None]
    return (brown - images).mul_(weight).add_(images).clamp_(0.0, 1.0)


def cover_with_water(images: Tensor, field: Tensor, *, strength: float) -> Tensor:
    """Adds pale turquoise where the drops are, in relief, with the weight `strength` where the water is thickest.

    Images (N, 3, H, W), both sides at least 2, and the field (N, H, W) of `drops` to images clipped to [0, 1].
    """
    levels = (field * 255.0).to(torch.int32).bitwise_and_(255)  # 8 bits, wrapping like the original's cast
    planes = levels.to(torch.int16).permute(1, 2, 0).contiguous()
    water = relief(edge_distances(edges(planes))).mul_(planes).permute(2, 0, 1).contiguous()
    thickest = water.flatten(1).amax(1)[:, None, None]
    water = water.div_(torch.where(thickest > 0, thickest, 1.0)).mul_(strength).to(images.dtype).unsqueeze(1)
    colour = constants(_WATER, images.dtype, images.device)[:, None, None]
    return (water * colour).add_(images).clamp_(0.0, 1.0)


def edges(planes: Tensor) -> Tensor:
    """Canny's edges: Sobel gradient, thinned along its direction, weak edges kept where they reach strong ones.

    Planes (H, W, N) int16 of 0..255 to (H, W, N) bool. Masks are numbers of 16 bits, all 1 or all 0, the signs of
    differences: several times faster on a CPU than comparisons and bool. Where nothing changes, which is no edge, the
    direction does not matter.
    """
    across, down = _gradient(planes)
    falling = _negative(across ^ down)
    across.abs_()
    down.abs_()
    strength = across + down
    limit = (across.to(torch.float32) * _TANGENT).ceil_().to(torch.int16)  # never a whole number unless it is 0
    flat = _negative(down - limit)
    steep = _negative(limit.add_(across, alpha=2).sub_(1).sub_(down))
    near = neighbours(F.pad(strength, (0, 0, 1, 1, 1, 1)))
    beside = torch.maximum(near(0, -1), near(0, 1) - 1)
    above = torch.maximum(near(-1, 0), near(1, 0) - 1)
    slanted = _select(falling, torch.maximum(near(-1, 1), near(1, -1)), torch.maximum(near(-1, -1), near(1, 1)))
    rivals = _select(flat, beside, _select(steep, above, slanted)).clamp_(min=_WEAK)
    ridge = _negative(rivals.sub_(strength))
    strong = _negative(_STRONG - strength).bitwise_and_(ridge)
    return grow(strong.to(torch.bool), ridge.to(torch.bool))


def _negative(numbers: Tensor) -> Tensor:
    """All bits where an int16 number is negative, and else none; overwrites the numbers."""
    return numbers.bitwise_right_shift_(15)


def _select(mask: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    """`torch.where` for a mask of all bits or none; the last two are overwritten."""
    return others.bitwise_xor_(chosen.bitwise_xor_(others).bitwise_and_(mask))


def _gradient(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives of (H, W, N) along the columns and along the rows, the border pixel repeated."""
    padded = torch.cat((planes[:1], planes, planes[-1:]))
    padded = torch.cat((padded[:, :1], padded, padded[:, -1:]), 1)
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    return (
        (across[1:-1] * 2).add_(across[:-2]).add_(across[2:]),
        (down[:, 1:-1] * 2).add_(down[:, :-2]).add_(down[:, 2:]),
    )


def edge_distances(chosen: Tensor) -> Tensor:
    """Distance of each pixel to the nearest chosen one, at most 20, by the chamfer metric of 5 x 5 pixels.

    (H, W, N) bool to (H, W, N) float32, multiples of 2^-16. A shortest path consists of at most two of the moves
    `_STEPS`, in any order, and stays between its ends. So one move after the other is propagated over the planes, by
    1, 2, 4, ... steps, which add up to any number of steps. The rows lie one after the other with a margin between them
    that is too wide to cross, so that a move is one shift of all of them.
    """
    height, width, count = chosen.shape
    pitch = width + int(_FARTHEST)
    planes = torch.full((height, pitch, count), _FARTHEST, device=chosen.device)
    planes[:, :width].sub_(chosen.view(torch.uint8), alpha=_FARTHEST)
    distances = planes.view(-1)
    farther = torch.empty_like(distances)
    for rows, columns, cost in _STEPS:
        steps = 1
        while steps * cost < _FARTHEST and steps * rows < height:
            shift = steps * (rows * pitch + columns) * count
            before, after = distances[:-shift], distances[shift:]
            torch.add(distances, steps * cost, out=farther)
            torch.minimum(after, farther[:-shift], out=after)
            torch.minimum(before, farther[shift:], out=before)
            steps *= 2
    return planes[:, :width]


def relief(distances: Tensor) -> Tensor:
    """The drops' relief: distances smoothed, equalised, seen in light from one corner and smoothed again.

    (H, W, N) float32, 0 to 20, to (H, W, N) float32, whole numbers 0..255.
    """
    smoothed = _sum_of_nine(distances).div_(on_device(9.0, distances)).floor_()
    near = neighbours(_mirror(equalize(smoothed)))
    lit = (near(1, 1) - near(-1, -1)).mul_(2).add_(near(0, 0))
    lit.add_(near(0, 1)).sub_(near(0, -1)).add_(near(1, 0)).sub_(near(-1, 0))
    return _sum_of_nine(lit.clamp_(0, 255)).to(torch.float32).div_(on_device(9.0, distances)).round_()


def _mirror(planes: Tensor) -> Tensor:
    """(H, W, N) with one more row and column on each side, mirrored without doubling the border pixel."""
    padded = torch.cat((planes[1:2], planes, planes[-2:-1]))
    return torch.cat((padded[:, 1:2], padded, padded[:, -2:-1]), 1)


def _sum_of_nine(planes: Tensor) -> Tensor:
    """Sum of 3 x 3 pixels, mirrored at the border; exact, so that a whole mean is whole."""
    padded = _mirror(planes)
    tall = (padded[:-2] + padded[1:-1]).add_(padded[2:])
    return (tall[:, :-2] + tall[:, 1:-1]).add_(tall[:, 2:])


def equalize(planes: Tensor) -> Tensor:
    """Histogram equalisation of each plane to 0..255: level v becomes the rounded share of the pixels up to it.

    (H, W, N) float32, whole numbers 0..20, to int16 of 0..255. The pixels of the lowest level do not count and become
    0. A plane of one level stays as it is.
    """
    height, width, count = planes.shape
    levels = int(_FARTHEST) + 1
    own = torch.arange(count, dtype=torch.int32, device=planes.device)
    index = planes.to(torch.int32).mul_(count).add_(own).flatten()
    ones = torch.ones_like(index)  # not `bincount`, for which a GPU reads the largest number back
    occurrences = ones.new_zeros(levels * count).index_add_(0, index, ones).view(levels, count)
    total = occurrences.cumsum(0)
    lowest = torch.where(occurrences > 0, total, height * width).amin(0)
    others = (height * width - lowest).to(torch.float32)
    scale = torch.full_like(others, 255.0).div_(others)
    table = (total - lowest).clamp_(min=0).to(torch.float32).mul_(scale).round_()
    same = torch.arange(levels, dtype=torch.float32, device=planes.device)[:, None]
    table = torch.where(others > 0, table, same).to(torch.int16).view(-1)
    return table.index_select(0, index).view_as(planes)
