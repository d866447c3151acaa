"""What an attacker may do: a norm and a budget."""

from __future__ import annotations

import math
from typing import Literal

from robustcsc.errors import AttackError, grey_levels
from robustcsc.measurements.facts import Fact, as_float

Norm = Literal["linf", "l2"]

NORMS: tuple[Norm, ...] = ("linf", "l2")

#: The budgets in Table 4 of the SDNet paper (Dai et al., NeurIPS 2022), in pixel units of [0, 1].
DEFAULT_EPSILON: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}

#: Default radii xi of universal perturbations: that of the DeTraMe-Net paper; a tenth of the usual l2 norm of a CIFAR
#: image.
DEFAULT_XI: dict[Norm, float] = {"linf": 5e-2, "l2": 2.0}

#: Larger L2 budgets are taken for grey levels: published ones are below 10, and a whole CIFAR image has a norm near 30.
LARGEST_L2 = 32.0


class ThreatModel(Fact, frozen=True, kw_only=False):
    """All images within `epsilon` of the clean one in `norm`, and within [0, 1].

    Attributes:
        norm: ``"linf"`` (largest change of a pixel) or ``"l2"`` (Euclidean norm over all pixels of an image).
        epsilon: Budget in pixel units of [0, 1]; at least 0, for ``"linf"`` at most 1.

    Raises:
        AttackError: The norm is unknown or the budget is outside its range.

    Examples:
        >>> ThreatModel("l2", 0.5)
        ThreatModel(norm='l2', epsilon=0.5)
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise AttackError(f"Unknown norm {self.norm!r}: choose one of {', '.join(NORMS)}.")
        if not math.isfinite(self.epsilon) or self.epsilon < 0:
            raise AttackError(f"epsilon must be a finite number of at least 0, not {self.epsilon}.")
        if self.norm == "linf" and self.epsilon > 1:
            raise AttackError(grey_levels("Budgets in linf are", self.epsilon))
        as_float(self, "epsilon")


def check_budget(threat: ThreatModel) -> None:
    """Raises an `AttackError` if a budget in l2 was probably meant in grey levels; in linf no threat has such a one."""
    if threat.norm == "l2" and threat.epsilon > LARGEST_L2:
        raise AttackError(grey_levels("Budgets in l2 are", threat.epsilon))


def check_step_size(step_size: float | str | None, threat: ThreatModel) -> None:
    """Raises an `AttackError` if a step is at least 1 and longer than the ball is wide: grey levels, probably."""
    if step_size is not None and float(step_size) >= max(1.0, 2 * threat.epsilon):
        raise AttackError(grey_levels("Step sizes are", float(step_size)))


def check_rho(rho: float) -> None:
    """Raises an `AttackError` if the relative energy of random noise is negative, above 1 or not finite."""
    if not (math.isfinite(rho) and rho >= 0):
        raise AttackError(
            f"rho must be a finite number of at least 0, not {rho:g}: the energy of the noise relative to the image's."
        )
    if rho > 1:
        raise AttackError(
            f"rho is the energy of the noise relative to the image's, so at {rho:g} the noise is stronger than the "
            f"image: did you mean {rho / 100:g}?"
        )


def check_crafting(threat: ThreatModel, delta: float, passes: int, batch_size: int) -> None:
    """Raises an `AttackError` if xi is 0, delta is outside [0, 1), or passes or batch size are below 1."""
    if threat.epsilon <= 0:
        raise AttackError(f"xi must be above 0, not {threat.epsilon:g}: a ball of radius 0 holds no perturbation.")
    if not 0 <= delta < 1:
        raise AttackError(
            f"delta must be at least 0 and below 1, not {delta:g}: a share of 1 - delta of the images is to be fooled."
        )
    if passes < 1 or batch_size < 1:
        raise AttackError(f"Passes and batch size must be at least 1, not {passes} and {batch_size}.")


def parse_epsilon(text: str) -> float:
    """Returns the budget that a user typed, as a fraction (``"8/255"``) or a number (``"0.5"``).

    Raises:
        AttackError: The text is no such number, or it is negative or not finite.
    """
    numerator, slash, denominator = text.partition("/")
    try:
        epsilon = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        epsilon = math.nan
    if not math.isfinite(epsilon) or epsilon < 0:
        raise AttackError(f"{text!r} is no attack budget: write a number such as 0.5 or a fraction such as 8/255.")
    return epsilon


def typed_epsilon(epsilon: float) -> str:
    """Returns a budget as a user types it, so that `parse_epsilon` gives the very same number.

    Examples:
        >>> typed_epsilon(8 / 255), typed_epsilon(0.5 / 255), typed_epsilon(0.5), typed_epsilon(1 / 31)
        ('8/255', '0.5/255', '0.5', '0.03225806451612903')
    """
    if len(repr(epsilon)) > 6 and epsilon < 1000:
        levels = f"{round(2 * epsilon * 255) / 2:g}"
        if float(levels) / 255 == epsilon:
            return f"{levels}/255"
    return f"{epsilon:g}" if float(f"{epsilon:g}") == epsilon else repr(epsilon)
