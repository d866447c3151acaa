"""Signatures of a corruption: what it does to images, in numbers that differ where corruptions differ.

A corruption is told by its error and by how that lies: over spatial frequencies (what is left of the image, and what
came on top of it), over intensities, colours and values. The trace of a JPEG file is looked for separately.
"""

from __future__ import annotations

import io
from functools import lru_cache

import scipy.fft
import torch
from PIL import Image
from torch import Tensor

RINGS = 8
#: The numbers of a signature, with what two careful implementations of one corruption may differ by: in float32 or
#: float64, with warp coordinates rounded or not, with photographs of frost that were encoded again.
FEATURES = {
    "log error": 0.01,
    "log kurtosis": 0.03,
    **{f"shift of channel {channel}": 0.1 for channel in range(3)},
    "colours together": 0.01,
    "with intensity": 0.01,
    "with its square": 0.01,
    "unchanged": 0.002,
    "black": 0.001,
    "white": 0.001,
    **{f"gain {ring}": 0.004 for ring in range(RINGS)},
    **{f"log added {ring}": 0.04 for ring in range(RINGS)},
    "log colour detail": 0.05,
}
_BLOCK = 1 << 17  # values
_FLOOR = 0.05  # levels squared: below the error of rounding


def signatures(clean: Tensor, corrupted: Tensor) -> Tensor:
    """Returns the signature of each image.

    Args:
        clean: (N, C, H, W) uint8.
        corrupted: The same images, corrupted, uint8 of the same shape.

    Returns:
        (N, F) float64, in the order of `FEATURES`; errors and powers as logarithms, shifts in levels of 0 to 255.
    """
    few = max(1, _BLOCK // max(1, clean[:1].numel()))  # together: what is made of them stays in the cache
    blocks = (slice(start, start + few) for start in range(0, len(clean), few))
    return torch.cat([_block_signatures(clean[rows].float(), corrupted[rows].float()) for rows in blocks])


def _block_signatures(x: Tensor, y: Tensor) -> Tensor:
    change = y - x
    square = change.square()
    mean_square = square.mean(dim=1)
    error = mean_square.mean(dim=(1, 2))
    shift = change.mean(dim=(2, 3))
    power = (square.mean(dim=(2, 3)) - shift.square()).sum(dim=1)
    # As many times the power as there are channels if all change alike.
    together = change.sum(dim=1).square().mean(dim=(1, 2)) - shift.sum(dim=1).square()
    grey = x.mean(dim=1)
    intensity = grey / 255.0
    parts = [
        (error + _FLOOR).log(),
        (square.square().mean(dim=(1, 2, 3)) / (error.square() + _FLOOR**2) + 0.1).log(),
        *shift.expand(-1, 3).T,
        together / (power + _FLOOR),
        _slope(mean_square, intensity),
        _slope(mean_square, intensity.square()),
        *((y == it).float().mean(dim=(1, 2, 3)) for it in (x, 0.0, 255.0)),
        *_spectrum(grey, y.mean(dim=1)),
        _colour_detail(y),
    ]
    return torch.stack(parts, dim=1).to(torch.float64)


def _slope(square: Tensor, values: Tensor) -> Tensor:
    """(N,), how the squared change goes with some values of the clean pixels: its regression over its mean."""
    centred = values - values.mean(dim=(1, 2), keepdim=True)
    spread = centred.square().mean(dim=(1, 2)).sqrt()
    return (centred * square).mean(dim=(1, 2)) / ((spread + 1e-3) * (square.mean(dim=(1, 2)) + 1.0))


def _spectrum(x: Tensor, y: Tensor) -> Tensor:
    """(2 RINGS, N): per ring of frequencies, the share of the image that is left, and the log power on top of it."""
    height, width = x.shape[1:]
    ring = _ring_of(height, width)
    before, after = (torch.fft.rfft2(it).flatten(1) for it in (x, y))
    gain = _ring_sums(ring, (before.conj() * after).real) / (_ring_sums(ring, before.abs().square()) + 1.0)
    added = _ring_sums(ring, (after - gain[:, ring] * before).abs().square()) / (height * width) ** 2
    return torch.cat([gain.T, (added.T + _FLOOR / RINGS**2).log()])


def _ring_sums(ring: Tensor, values: Tensor) -> Tensor:
    return torch.zeros(len(values), RINGS).index_add_(1, ring, values)


@lru_cache(maxsize=8)
def _ring_of(height: int, width: int) -> Tensor:
    """(H (W // 2 + 1),) int64, the ring of each frequency; rings are narrow where images have their power."""
    vertical = torch.fft.fftfreq(height)[:, None]
    radius = (vertical.square() + torch.fft.rfftfreq(width).square()).sqrt() / 0.5**0.5
    rings: Tensor = (radius.sqrt() * RINGS).long().clamp(max=RINGS - 1).flatten()
    return rings


def _colour_detail(y: Tensor) -> Tensor:
    """(N,), log power of differences between neighbours in colour, which JPEG with 4:2:0 takes away."""
    colour = y[:, 0] - y[:, -1]
    pairs = colour[..., 1::2] - colour[..., : colour.shape[2] // 2 * 2 : 2]
    return (pairs.square().mean(dim=(1, 2)) + 1.0).log()


def jpeg_trace(images: Tensor) -> float:
    """Returns near 1 for images that were saved as JPEG of quality 85, about 0 for others.

    It tells whether the cosine coefficients of luma lie on the steps of that quality, of those that are not rounded to
    0: the mean cosine of their phase within a step. Pixels are rounded, so only steps of 4 and more can be seen.

    Args:
        images: (N, C, H, W) uint8, whose blocks of 8x8 pixels begin at the upper left corner.
    """
    levels = images.to(torch.float32)
    weights = torch.tensor((0.299, 0.587, 0.114) if images.shape[1] == 3 else (1.0,))
    luma = (levels * weights[:, None, None]).sum(dim=1)
    height, width = (side // 8 * 8 for side in luma.shape[1:])
    blocks = luma[:, :height, :width].reshape(len(luma), height // 8, 8, width // 8, 8)
    values = torch.from_numpy(scipy.fft.dctn(blocks.numpy() - 128.0, axes=(2, 4), norm="ortho"))
    steps = torch.tensor(quantization(85), dtype=torch.float32).view(8, 1, 8)
    counted = (values.abs() > 0.5 * steps) & (steps >= 4)
    phases = torch.cos(2 * torch.pi * values / steps)[counted]
    return float(phases.mean()) if len(phases) else 0.0


@lru_cache(maxsize=8)
def quantization(quality: int) -> tuple[int, ...]:
    """Returns the 64 steps of luma, row by row, that libjpeg writes for a quality."""
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "JPEG", quality=quality)
    with Image.open(content) as image:
        return tuple(image.quantization[0])  # type: ignore[attr-defined]
