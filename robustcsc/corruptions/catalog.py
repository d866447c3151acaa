"""The corruption kernels by name, and the ranges of their parameters.

To add a kernel: one pure function ``kernel(images, seeds, *, parameters)`` in the file of its group, one line in
`KERNELS`, one line in `RANGES` for each new parameter name, and its levels in the severity tables.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from robustcsc.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robustcsc.corruptions.poisson import MAX_RATE

Kernel = Callable[..., Tensor]
"""``kernel(images, seeds, *, ...) -> images``: (N, C, H, W) in [0, 1] to the same, with one int64 seed per image."""

GROUPS = ("noise", "blur", "weather", "digital")

KERNELS: dict[str, Kernel] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "speckle_noise": speckle_noise,
}


class Range(NamedTuple):
    """The values a parameter may take: from `low` (itself excluded when `positive`) to `high`."""

    low: float
    high: float = math.inf
    positive: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and (
            self.low <= value <= self.high and not (self.positive and value <= 0)
        )

    def __str__(self) -> str:
        lower = f"above {self.low:g}" if self.positive else f"at least {self.low:g}"
        return lower if math.isinf(self.high) else f"{lower} and at most {self.high:g}"


RANGES: dict[str, Range] = {
    "std": Range(0.0, 10.0),
    "photons": Range(0.0, MAX_RATE, positive=True),
    "share": Range(0.0, 1.0),
}


def parameter_names(kernel: str) -> tuple[str, ...]:
    """The keyword-only parameters of a kernel of `KERNELS`, in the order of its signature."""
    signature = inspect.signature(KERNELS[kernel])
    return tuple(name for name, each in signature.parameters.items() if each.kind is each.KEYWORD_ONLY)


def parameter_problem(kernel: str, parameters: Mapping[str, object]) -> str | None:
    """What is wrong with the parameters of a kernel, as the middle of a sentence that names the field, or None."""
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
