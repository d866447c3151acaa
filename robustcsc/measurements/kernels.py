"""The corruption kernels by name, as facts: their groups, parameters, and the ranges of these.

`robustcsc.corruptions.catalog` has the kernels themselves.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

GROUPS = ("noise", "blur", "weather", "digital")

PARAMETERS: dict[str, tuple[str, ...]] = {
    "gaussian_noise": ("std",),
    "shot_noise": ("photons",),
    "impulse_noise": ("share",),
    "defocus_blur": ("radius", "alias_sigma"),
    "glass_blur": ("sigma", "distance", "passes"),
    "motion_blur": ("radius", "sigma"),
    "zoom_blur": ("last", "step"),
    "snow": ("mean", "std", "zoom", "threshold", "radius", "sigma", "image_weight"),
    "frost": ("image_weight", "frost_weight", "texture_scale"),
    "fog": ("strength", "decay"),
    "brightness": ("shift",),
    "contrast": ("factor",),
    "elastic_transform": ("alpha", "sigma", "affine"),
    "pixelate": ("scale",),
    "jpeg_compression": ("quality",),
    "speckle_noise": ("std",),
    "gaussian_blur": ("sigma",),
    "spatter": ("mean", "std", "sigma", "threshold", "strength", "mud"),
    "saturate": ("gain", "shift"),
}
"""What a level of a severity table sets, in order: the keyword-only parameters of the kernel that have no default."""

MAX_RATE = 2000.0
"""The largest rate of a Poisson draw: it bounds the tables of `robustcsc.corruptions.poisson`."""


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


def parameter_problem(kernel: str, parameters: Mapping[str, object]) -> str | None:
    """Returns the error in the parameters of a kernel, as part of a sentence that names the field, or None."""
    expected = PARAMETERS[kernel]
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
