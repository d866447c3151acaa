"""Errors under corruptions, averaged and related to a baseline: mCE and its relatives.

Source: Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

#: Error rates (fractions in [0, 1]) by corruption, one per severity.
ErrorRates = Mapping[str, Sequence[float]]

#: The 15 standard corruptions by group, in the order of Hendrycks & Dietterich, ICLR 2019, Table 1.
STANDARD_GROUPS: Mapping[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}

#: The corruptions that the mean error, mCE and relative mCE are taken over; no other one ever enters them.
STANDARD_CORRUPTIONS: tuple[str, ...] = tuple(name for names in STANDARD_GROUPS.values() for name in names)


def mean_error(errors: ErrorRates) -> float:
    """Returns the mean over the corruptions in `errors` of the mean error over their severities, in [0, 1].

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity, by corruption.

    Raises:
        ValueError: If `errors` or one of its entries is empty, or holds something that is not a fraction.
    """
    if not errors:
        raise ValueError("there are no errors to average: measure at least one corruption")
    for name, rates in errors.items():
        if not rates:
            raise ValueError(f"{name}: there are no error rates to average")
        _check_fractions(rates, name)
    return math.fsum(math.fsum(rates) / len(rates) for rates in errors.values()) / len(errors)


def corruption_error(
    errors: Sequence[float], baseline: Sequence[float], *, clean: float = 0.0, baseline_clean: float = 0.0
) -> float:
    """Returns the corruption error of one corruption, 1.0 where the model does as the baseline.

    ``CE = sum_s E_s / sum_s B_s``. With the error rates on clean images it is the relative corruption error
    ``sum_s (E_s - E_clean) / sum_s (B_s - B_clean)``.

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity.
        baseline: Error rates of the baseline at the same severities.
        clean: Error rate of the model on clean images, for the relative error.
        baseline_clean: Error rate of the baseline on clean images, for the relative error.

    Raises:
        ValueError: If the two differ in length, are empty, or hold something that is not a fraction; or if the
            corruption does not make the baseline worse, so that no ratio exists.
    """
    return _error_ratio(errors, baseline, clean, baseline_clean, "corruption")


def mean_corruption_error(
    errors: ErrorRates, baseline: ErrorRates, *, clean: float = 0.0, baseline_clean: float = 0.0
) -> float:
    """Returns mCE, the mean of `corruption_error` over the corruptions in `errors`; relative mCE with the clean errors.

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity, by corruption.
        baseline: Error rates of the baseline, for at least the same corruptions.
        clean: As for `corruption_error`.
        baseline_clean: As for `corruption_error`.

    Raises:
        ValueError: If `errors` is empty, the baseline lacks one of its corruptions, or `corruption_error` refuses one.
    """
    if not errors:
        raise ValueError("there are no errors to average: measure at least one corruption")
    missing = sorted(set(errors) - set(baseline))
    if missing:
        raise ValueError(f"the baseline has no errors for {', '.join(missing)}: measure it on the same corruptions")
    ratios = [_error_ratio(rates, baseline[name], clean, baseline_clean, name) for name, rates in errors.items()]
    return math.fsum(ratios) / len(ratios)


def _check_fractions(rates: Sequence[float], name: str) -> None:
    for rate in rates:
        if not 0 <= rate <= 1:  # NaN fails too
            raise ValueError(f"{name}: error rates are fractions in [0, 1], not {rate}")


def _error_ratio(
    errors: Sequence[float], baseline: Sequence[float], clean: float, baseline_clean: float, name: str
) -> float:
    if len(errors) != len(baseline) or not errors:
        raise ValueError(
            f"{name}: {len(errors)} error rates against {len(baseline)} of the baseline: both need the same severities"
        )
    _check_fractions((*errors, *baseline, clean, baseline_clean), name)
    reference = math.fsum(rate - baseline_clean for rate in baseline)
    if reference <= 0:
        raise ValueError(f"{name}: the baseline does not get worse under this corruption, so no ratio to it exists")
    return math.fsum(rate - clean for rate in errors) / reference
