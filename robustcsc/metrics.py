"""Numbers computed from counts and error rates: pure functions, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist

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


def accuracy(correct: int, total: int) -> float:
    """Returns the share ``correct / total`` in [0, 1].

    Args:
        correct: Number of images that met the metric, 0 to `total`.
        total: Number of images, at least 1.

    Raises:
        ValueError: `total` is below 1 or `correct` lies outside 0 to `total`.
    """
    _check_counts(correct, total)
    return correct / total


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the ends of the Wilson score interval for the share ``correct / total``.

    With ``p = correct / total``, ``n = total`` and ``z`` the normal quantile of ``(1 + confidence) / 2``:
    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``.

    Args:
        correct: Number of images that met the metric, 0 to `total`.
        total: Number of images, at least 1.
        confidence: Coverage, strictly between 0 and 1.

    Returns:
        Lower and upper end, both in [0, 1].

    Raises:
        ValueError: The counts make no share, or `confidence` is not strictly between 0 and 1.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    _check_counts(correct, total)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be strictly between 0 and 1, not {confidence}")
    z = _quantile((1 + confidence) / 2)
    share = correct / total
    centre = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    # At the ends of the range the formula gives exactly 0 and 1; floats do not.
    lower = 0.0 if correct == 0 else (centre - reach) / scale
    upper = 1.0 if correct == total else (centre + reach) / scale
    return lower, upper


@cache
def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)


def mean_error(errors: ErrorRates) -> float:
    """Returns the mean over the corruptions in `errors` of the mean error over their severities, in [0, 1].

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity, by corruption.

    Raises:
        ValueError: `errors` or one of its entries is empty, or holds something that is not a fraction.
    """
    if not errors:
        raise ValueError("there are no errors to average: measure at least one corruption")
    return math.fsum(_mean_of(rates, name) for name, rates in errors.items()) / len(errors)


def corruption_error(errors: Sequence[float], baseline: Sequence[float]) -> float:
    """Returns the corruption error ``CE = sum_s E_s / sum_s B_s`` of one corruption (1.0 = as the baseline).

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity.
        baseline: Error rates of the baseline at the same severities.

    Raises:
        ValueError: The two differ in length, are empty, hold something that is not a fraction, or the
            baseline makes no error at any severity.

    Source:
        Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and
        perturbations", ICLR 2019, section 4.
    """
    return _error_ratio(errors, baseline, 0.0, 0.0, "corruption")


def relative_corruption_error(
    errors: Sequence[float], baseline: Sequence[float], *, clean: float, baseline_clean: float
) -> float:
    """Returns ``sum_s (E_s - E_clean) / sum_s (B_s - B_clean)`` of one corruption.

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity.
        baseline: Error rates of the baseline at the same severities.
        clean: Error rate of the model on uncorrupted images.
        baseline_clean: Error rate of the baseline on uncorrupted images.

    Raises:
        ValueError: As for `corruption_error`, or the corruption does not make the baseline worse, so that
            there is nothing to relate to.

    Source:
        Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    return _error_ratio(errors, baseline, clean, baseline_clean, "corruption")


def mean_corruption_error(errors: ErrorRates, baseline: ErrorRates) -> float:
    """Returns mCE: the mean of `corruption_error` over the corruptions in `errors` (1.0 = as the baseline).

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity, by corruption.
        baseline: Error rates of the baseline, for at least the same corruptions.

    Raises:
        ValueError: `errors` is empty, the baseline lacks one of its corruptions, or `corruption_error`
            refuses one.

    Source:
        Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    return _mean_error_ratio(errors, baseline, 0.0, 0.0)


def relative_mean_corruption_error(
    errors: ErrorRates, baseline: ErrorRates, *, clean: float, baseline_clean: float
) -> float:
    """Returns relative mCE: the mean of `relative_corruption_error` over the corruptions in `errors`.

    Args:
        errors: Error rates of the model, fractions in [0, 1], one per severity, by corruption.
        baseline: Error rates of the baseline, for at least the same corruptions.
        clean: Error rate of the model on uncorrupted images.
        baseline_clean: Error rate of the baseline on uncorrupted images.

    Raises:
        ValueError: `errors` is empty, the baseline lacks one of its corruptions, or
            `relative_corruption_error` refuses one.

    Source:
        Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    return _mean_error_ratio(errors, baseline, clean, baseline_clean)


def fooling_counts(
    clean: Sequence[int], perturbed: Sequence[int], labels: Sequence[int] | None = None
) -> tuple[int, int]:
    """Returns how many predictions a perturbation changed, and out of how many.

    Args:
        clean: Predicted classes without the perturbation, one per image.
        perturbed: Predicted classes with it.
        labels: If given, only images that were classified correctly without the perturbation are counted.

    Returns:
        ``(changed, counted)``; `counted` is 0 when no image was classified correctly.

    Raises:
        ValueError: The sequences differ in length.

    Source:
        Moosavi-Dezfooli et al., "Universal adversarial perturbations", CVPR 2017 (over all images).
    """
    if len(clean) != len(perturbed) or (labels is not None and len(labels) != len(clean)):
        raise ValueError("clean, perturbed and labels must have one entry per image each")
    counted = [index for index in range(len(clean)) if labels is None or clean[index] == labels[index]]
    changed = sum(clean[index] != perturbed[index] for index in counted)
    return int(changed), len(counted)


def fooling_rate(clean: Sequence[int], perturbed: Sequence[int], labels: Sequence[int] | None = None) -> float:
    """Returns the share in [0, 1] of predictions that a perturbation changed; see `fooling_counts`.

    Raises:
        ValueError: The sequences differ in length, or no image is counted.
    """
    return accuracy(*fooling_counts(clean, perturbed, labels))


def _check_counts(correct: int, total: int) -> None:
    if total < 1:
        raise ValueError(f"total must be at least 1, not {total}: nothing was measured")
    if not 0 <= correct <= total:
        raise ValueError(f"correct must be 0 to {total}, not {correct}")


def _check_fractions(rates: Sequence[float], name: str) -> None:
    for rate in rates:
        if not 0 <= rate <= 1:  # NaN fails too
            raise ValueError(f"{name}: error rates are fractions in [0, 1], not {rate}")


def _mean_of(rates: Sequence[float], name: str) -> float:
    if not rates:
        raise ValueError(f"{name}: there are no error rates to average")
    _check_fractions(rates, name)
    return math.fsum(rates) / len(rates)


def _mean_error_ratio(errors: ErrorRates, baseline: ErrorRates, clean: float, baseline_clean: float) -> float:
    if not errors:
        raise ValueError("there are no errors to average: measure at least one corruption")
    missing = sorted(set(errors) - set(baseline))
    if missing:
        raise ValueError(f"the baseline has no errors for {', '.join(missing)}: measure it on the same corruptions")
    ratios = [_error_ratio(rates, baseline[name], clean, baseline_clean, name) for name, rates in errors.items()]
    return math.fsum(ratios) / len(ratios)


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
