"""The noise levels C of Algorithm 1, at which the best lambda is searched."""

from robustcsc.errors import SpecError, UnknownNameError
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.kernels import RANGES
from robustcsc.measurements.severity_tables import Spec

NOISE_LEVELS: dict[str, tuple[str, tuple[float, ...]]] = {
    "gaussian": ("std", (0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20)),
    "shot": ("photons", (60.0, 54.0, 48.0, 42.0, 36.0, 30.0, 24.0, 18.0, 12.0, 6.0)),
    "speckle": ("std", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    "impulse": ("share", (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27)),
}
"""Parameter and levels of each family in the code of SDNet's authors, weakest noise first."""

_COUNT = 10
_MARGIN = 1.25


def noise_levels(noise: str, spec: Spec) -> tuple[dict[str, float], ...]:
    """Returns 6 to 10 levels of one noise that bracket its severities in a table, weakest first.

    The levels of SDNet's authors where they reach from the weakest to the strongest severity; else 10 levels in
    geometric progression from 1.25 times weaker than the weakest severity to 1.25 times stronger than the strongest
    (a factor on the parameter, cut at the end of its range), rounded to 3 significant digits.

    Differences from the paper: it does not give its levels; the authors' shot levels (60 to 6 photons) are all
    noisier than severities 1 to 4 of CIFAR-10-C (500 to 75).

    Args:
        noise: ``"gaussian"``, ``"shot"``, ``"speckle"`` or ``"impulse"``.
        spec: The severity table to bracket.

    Returns:
        Parameters for `apply_kernel` with ``NOISE_KERNELS[noise]``.

    Raises:
        UnknownNameError: If there is no such noise family.
        SpecError: If the table has no noise of this family with a strength above 0.
    """
    if noise not in NOISE_KERNELS:
        raise UnknownNameError("noise", noise, NOISE_KERNELS)
    parameter, published = NOISE_LEVELS[noise]
    severities = [
        level[parameter]
        for corruption in spec.corruptions.values()
        if corruption.kernel == NOISE_KERNELS[noise]
        for level in corruption.levels
        if level[parameter] > 0.0
    ]
    if not severities:
        raise SpecError(
            f"Table {spec.name} has no {NOISE_KERNELS[noise]} above strength 0, so no levels can bracket it: choose "
            "another --spec."
        )
    low, high = min(severities), max(severities)
    if min(published) <= low and high <= max(published):
        return tuple({parameter: value} for value in published)
    first, last = low / _MARGIN, min(high * _MARGIN, RANGES[parameter].high)
    ratio = (last / first) ** (1.0 / (_COUNT - 1))
    values = [float(f"{first * ratio**step:.3g}") for step in range(_COUNT)]
    return tuple({parameter: value} for value in (reversed(values) if noise == "shot" else values))
