"""JPEG compression and decompression of whole batches, without files.

Between pixels and the entropy coder, which loses nothing, libjpeg computes with integers: conversion to YCbCr, means of
2x2 samples of the colour planes (4:2:0), cosine transforms of blocks of 8x8 samples with constants of 13 bits, rounding
to multiples of the quantisation table, and the way back with a triangle filter for the colour planes. The same integers
are formed here in floating point, where they are exact: in float32 below 2^24, and in float64 in the transforms, which
need about 30 bits. So the result is libjpeg's to the bit, on every device, alone and in any batch.

Sources: ITU-T T.81 (1992), Annex K (tables) and A.3.3 (cosine transform); T.871 (YCbCr); the transform's factorisation
is that of C. Loeffler, A. Ligtenberg and G. Moschytz, ICASSP 1989, whose rounded constants make up the matrix below.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustcsc.corruptions.filters import constants

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
#: Left half of the transform matrix, times 2^13; its right half is the mirror image, negated in every second row.
_TRANSFORM = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
#: Weights of R, G and B, and offset, in 1/2^16, for Y, Cb and Cr.
_TO_YCC = (
    ((19595, 38470, 7471), 1 << 15),
    ((-11059, -21709, 32768), (128 << 16) + (1 << 15) - 1),
    ((32768, -27439, -5329), (128 << 16) + (1 << 15) - 1),
)
#: Weights of Cb - 128 and Cr - 128 in 1/2^16, for what R, G and B have beside Y.
_TO_RGB = ((0, 91881), (-22554, -46802), (116130, 0))


def through_jpeg(levels: Tensor, quality: int) -> Tensor:
    """Returns the images as libjpeg reads them back from a file that it wrote with 4:2:0 colour.

    Args:
        levels: (N, C, H, W) float32 with C = 1 or 3, integers 0 to 255.
        quality: 1 to 100.

    Returns:
        (N, C, H, W) float32, integers 0 to 255.
    """
    if levels.shape[1] == 1:
        return _code(levels, _table(_LUMA, quality, levels.device))
    height, width = levels.shape[2:]
    luma = _code(_mix(levels, *_TO_YCC[0]), _table(_LUMA, quality, levels.device))
    chroma = torch.cat([_mix(levels, *weights) for weights in _TO_YCC[1:]], dim=1)
    small = _code(_halve(chroma), _table(_CHROMA, quality, levels.device))
    small = small[..., : (height + 1) // 2, : (width + 1) // 2].sub(128.0)
    chroma = _double(small)[..., :height, :width]
    result = torch.empty_like(levels)
    for channel, weights in enumerate(_TO_RGB):
        torch.add(luma, _mix(chroma, weights, 1 << 15), out=result[:, channel : channel + 1])
    return result.clamp_(0.0, 255.0)


def _mix(planes: Tensor, weights: Sequence[int], offset: int) -> Tensor:
    """(N, 1, H, W), ``floor((sum of weights times planes + offset) / 2^16)``, integers below 2^24 throughout."""
    total = torch.full_like(planes[:, :1], offset)
    for plane, weight in enumerate(weights):
        if weight:
            total.add_(planes[:, plane : plane + 1], alpha=weight)
    return total.mul_(2.0**-16).floor_()


def _halve(planes: Tensor) -> Tensor:
    """Means of 2x2 samples, halves rounded down and up in turn; columns are repeated up to whole blocks before."""
    height, width = planes.shape[2:]
    planes = pad(planes, (0, -width % 16, 0, height % 2), mode="replicate")
    sums = planes[..., ::2, :] + planes[..., 1::2, :]
    bias = constants((1.0, 2.0), planes.dtype, planes.device).repeat(sums.shape[3] // 4)
    return (sums[..., ::2] + sums[..., 1::2]).add_(bias).mul_(0.25).floor_()


def _double(planes: Tensor) -> Tensor:
    """Planes of twice the sides: weights 9, 3, 3 and 1 of the four nearest samples; nearest ones on narrow planes."""
    count, channels, height, width = planes.shape
    if width <= 2:
        return planes.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    edged = pad(planes, (1, 1, 1, 1), mode="replicate")
    centre = edged[:, :, 1:-1] * 3.0
    rows = []
    for others in (edged[:, :, :-2], edged[:, :, 2:]):
        sums = centre + others
        middle = sums[..., 1:-1] * 3.0
        left = (sums[..., :-2] + middle).add_(8.0)
        # Complex numbers are pairs in memory: by far the fastest way to interleave two float tensors.
        rows.append(torch.view_as_real(torch.complex(left, middle.add_(sums[..., 2:]).add_(7.0))))
    doubled = torch.stack(rows, dim=3).mul_(1 / 16).floor_()
    return doubled.view(count, channels, 2 * height, 2 * width)


def _code(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (N, P, H, W) float32 of integers 0 to 255, after transform, rounding to the table and inverse transform.

    The table is (8, 8, 1) float32, vertical frequency first. The last row and column are repeated up to whole blocks.
    """
    height, width = planes.shape[2:]
    planes = pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    shape = (*planes.shape[:2], planes.shape[2] // 8, 8, planes.shape[3] // 8, 8)
    blocks = planes.view(shape).permute(3, 5, 0, 1, 2, 4).reshape(8, 8, -1)  # row, column, block
    blocks = _decode(_encode(blocks.sub_(128.0), table))
    planes = blocks.view(8, 8, *shape[:3], shape[4]).permute(2, 3, 4, 0, 5, 1).reshape(planes.shape)
    return planes[..., :height, :width]


def _encode(blocks: Tensor, table: Tensor) -> Tensor:
    """Coefficients of blocks (8, 8, B), rounded to multiples of the table, halves away from 0."""
    # In float64 all along: products of float32 matrices may be rounded further on request (TF32, autocast).
    rows = _round_(_transform(11, blocks.device) @ blocks.to(torch.float64))
    columns = _round_(_transform(15, blocks.device) @ rows.flatten(1))
    values = columns.to(torch.float32).view(blocks.shape)  # 8 times the coefficients
    # They are integers: the extra half decides no comparison, and keeps the product clear of the rounded reciprocal.
    sizes = values.abs().add_(table * 4.0 + 0.5).mul_(1.0 / (table * 8.0)).floor_()
    return sizes.mul_(table).copysign_(values)


def _decode(coefficients: Tensor) -> Tensor:
    """Samples 0 to 255 of coefficients (8, 8, B)."""
    inverse = _transform(11, coefficients.device).T
    columns = _round_(inverse @ coefficients.to(torch.float64).flatten(1)).view(coefficients.shape)
    inverse = _transform(18, coefficients.device).T
    return _round_(inverse @ columns).to(torch.float32).add_(128.0).clamp_(0.0, 255.0)


def _round_(values: Tensor) -> Tensor:
    """``floor(values + 1/2)`` in place."""
    return values.add_(0.5).floor_()


@lru_cache(maxsize=32)
def _transform(bits: int, device: torch.device) -> Tensor:
    """(8, 8) float64, the cosine transform times ``2^(13 - bits)``."""
    rows = [(*left, *(-value if row % 2 else value for value in left[::-1])) for row, left in enumerate(_TRANSFORM)]
    return torch.tensor(rows, dtype=torch.float64, device=device).mul_(2.0**-bits)


@lru_cache(maxsize=64)
def _table(base: tuple[tuple[int, ...], ...], quality: int, device: torch.device) -> Tensor:
    """(8, 8, 1) float32, the quantisation table of a quality."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    rows = [[min(max((value * percent + 50) // 100, 1), 255) for value in row] for row in base]
    return torch.tensor(rows, dtype=torch.float32, device=device).unsqueeze(2)
