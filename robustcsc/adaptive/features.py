"""What single images show of their noise: numbers per image, without labels, other images or a pass of the network.

Most are statistics of ``a = |L x|``, where L is the 3x3 mask of J. Immerkaer, "Fast noise variance estimation",
Computer Vision and Image Understanding 64 (1996), scaled so that white noise keeps its deviation. It cancels what is
locally linear, so that noise is left, and edges. How a is distributed tells many weak changes (Gaussian, shot noise)
from few strong ones (impulse noise, edges); how it depends on brightness tells shot and speckle noise; how much of it
the channels share, and is left at half the resolution, tells noise from content.

All are differentiable almost everywhere, so that attacks can follow them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Values of a, in pixel units of [0, 1]; the feature ``below_t`` is the log of the mean of ``max(0, 1 - a / t)``.
THRESHOLDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
#: Grey levels within which a pixel at the end of the range counts as saturated in part.
_NEAR = 4 / 255
_TINY = 1e-4

#: The features by name, in the order of `features`.
FEATURES: dict[str, str] = {
    **{f"below_{t:g}": f"log share of a below {t:g}, soft" for t in THRESHOLDS},
    "level": "log mean of a",
    "rms": "log root mean square of a",
    "kurtosis": "log kurtosis of L x",
    "shared": "log root mean square of the mean of L x over channels",
    "unshared": "log root mean square of what is left",
    "coarse": "log mean of a at half the resolution",
    "brightness": "correlation of a with the local brightness",
    "saturated": "share of saturated pixels, soft",
    "log_saturated": "its log",
    "mean": "mean",
    "deviation": "standard deviation",
}


def features(images: Tensor) -> Tensor:
    """Returns the features of every image, ``(N, len(FEATURES))``, in float32 or better.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], at least 6 x 6 pixels.

    Examples:
        >>> flat = torch.full((1, 3, 8, 8), 0.5)
        >>> dict(zip(FEATURES, features(flat)[0].tolist()))["mean"]
        0.5
    """
    images = images.contiguous() if images.dtype == torch.float64 else images.float().contiguous()
    rest = _laplacian(images)
    a, flat = rest.abs().flatten(1), images.flatten(1)
    square = a.square()
    power = square.mean(1)
    shared = rest.mean(1, keepdim=True)
    spread = (rest - shared).flatten(1).square().mean(1)
    brightness = _centred(F.avg_pool2d(images, 3, 1).flatten(1))
    strength = _centred(a)
    correlation = (brightness * strength).mean(1) / (_root(brightness) * _root(strength) + 1e-6)
    saturated = ((1 - flat / _NEAR).relu() + (1 - (1 - flat) / _NEAR).relu()).mean(1)
    found = (
        *(_log((1 - a / t).relu().mean(1)) for t in THRESHOLDS),
        _log(a.mean(1)),
        _log(_root(a)),
        (square.square().mean(1) / power.square().clamp_min(_TINY**4) + 1).log(),
        _log(_root(shared.flatten(1))),
        _log((spread + _TINY**2).sqrt()),
        _log(_laplacian(F.avg_pool2d(images, 2)).abs().flatten(1).mean(1)),
        correlation,
        saturated,
        (saturated + 10 * _TINY).log(),
        flat.mean(1),
        _root(_centred(flat)),
    )
    return torch.stack(found, 1)


def _laplacian(images: Tensor) -> Tensor:
    """Returns ``L x`` where the mask fits, with the mask (1, -2, 1) along both axes: cheaper than a convolution."""
    for axis in (2, 3):
        size = images.shape[axis] - 2
        left, middle, right = (images.narrow(axis, start, size) for start in range(3))
        images = left + right - 2 * middle
    return images / 6


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


def _root(values: Tensor) -> Tensor:
    """Returns the root mean square, ``(N,)``, with a derivative also where it is 0."""
    return (values.square().mean(1) + _TINY**2).sqrt()


def _log(values: Tensor) -> Tensor:
    return (values + _TINY).log()
