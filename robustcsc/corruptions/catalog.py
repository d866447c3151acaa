"""The corruption kernels by name, and the ranges of their parameters.

To add a kernel: one pure function ``kernel(images, seeds, *, parameters)`` in the file of its group, one line in
`KERNELS`, one line in `RANGES` for each new parameter name, and its levels in the severity tables.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from robustcsc.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from robustcsc.corruptions.digital import brightness, contrast, jpeg_compression, pixelate, saturate
from robustcsc.corruptions.elastic import elastic_transform
from robustcsc.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robustcsc.corruptions.poisson import MAX_RATE
from robustcsc.corruptions.spatter import spatter
from robustcsc.corruptions.weather import fog, frost, snow

Kernel = Callable[..., Tensor]
"""``kernel(images, seeds, *, ...) -> images``: (N, C, H, W) in [0, 1] to the same, with one int64 seed per image."""

GROUPS = ("noise", "blur", "weather", "digital")

KERNELS: dict[str, Kernel] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}


EIGHT_BIT_KERNELS = frozenset({"pixelate", "jpeg_compression"})
"""The kernels whose results are multiples of 1/255 already: truncating them to 8 bits changes nothing."""


class Range(NamedTuple):
    """The valid values of a parameter: `low` (excluded if `positive`) to `high`, all or only `whole` numbers."""

    low: float
    high: float
    positive: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int | float)
            and self.low <= value <= self.high
            and not (self.positive and value <= 0)
            and not (self.whole and value != int(value))
        )

    def __str__(self) -> str:
        lower = f"above {self.low:g}" if self.positive else f"at least {self.low:g}"
        return f"{'a whole number, ' if self.whole else ''}{lower} and at most {self.high:g}"


RANGES: dict[str, Range] = {
    "affine": Range(0.0, 1000.0),
    "alias_sigma": Range(0.0, 100.0, positive=True),
    "alpha": Range(0.0, 10000.0),
    "decay": Range(1.0, 100.0),
    "distance": Range(1.0, 100.0, whole=True),
    "factor": Range(0.0, 10.0),
    "frost_weight": Range(0.0, 10.0),
    "gain": Range(0.0, 1000.0),
    "image_weight": Range(0.0, 1.0),
    "last": Range(1.0, 10.0),
    "mean": Range(-10.0, 10.0),
    "mud": Range(0.0, 1.0, whole=True),
    "passes": Range(1.0, 100.0, whole=True),
    "photons": Range(0.0, MAX_RATE, positive=True),
    "quality": Range(1.0, 100.0, whole=True),
    "radius": Range(0.0, 100.0),
    "scale": Range(0.0, 1.0, positive=True),
    "share": Range(0.0, 1.0),
    "shift": Range(-1.0, 1.0),
    "sigma": Range(0.0, 1000.0),
    "std": Range(0.0, 10.0),
    "step": Range(0.001, 1.0),
    "strength": Range(0.0, 10.0),
    "texture_scale": Range(0.0, 1.0, positive=True),
    "threshold": Range(-10.0, 10.0),
    "zoom": Range(1.0, 10.0),
}


def parameter_names(kernel: str) -> tuple[str, ...]:
    """The parameters of a kernel of `KERNELS` that a level sets, in order: its keyword-only ones without a default."""
    parameters = inspect.signature(KERNELS[kernel]).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty)


def parameter_problem(kernel: str, parameters: Mapping[str, object]) -> str | None:
    """Returns the error in the parameters of a kernel, as part of a sentence that names the field, or None."""
    expected = parameter_names(kernel)
    for name in expected:
        if name not in parameters:
            return f"field {name!r} is missing (kernel {kernel!r} takes {', '.join(expected)})"
    for name, value in parameters.items():
        if name not in expected:
            return f"field {name!r} is unknown (kernel {kernel!r} takes {', '.join(expected)})"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"field {name!r} must be a number, not {value!r}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"field {name!r} must be finite, not {value!r}"
        if value not in RANGES[name]:
            return f"field {name!r} must be {RANGES[name]}, not {value!r}"
    return None
