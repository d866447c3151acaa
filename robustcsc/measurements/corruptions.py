"""The corruptions by name, the noises among them, and means of errors over several: mCE and its relatives.

Source: Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019, Table 1 and section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

#: The 15 standard corruptions by group, in the order of Hendrycks & Dietterich, ICLR 2019, Table 1.
STANDARD_GROUPS: Mapping[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}

#: The corruptions that the mean error, mCE and relative mCE are taken over; no other one ever enters them.
STANDARD_CORRUPTIONS: tuple[str, ...] = tuple(name for names in STANDARD_GROUPS.values() for name in names)

#: The noise families of the SDNet paper, in the order of its Table 3, and the corruptions that they are.
NOISE_KERNELS = {
    "gaussian": "gaussian_noise",
    "shot": "shot_noise",
    "speckle": "speckle_noise",
    "impulse": "impulse_noise",
}

#: Error rates (fractions in [0, 1]) by corruption, one per severity.
ErrorRates = Mapping[str, Sequence[float]]


def mean_error(errors: ErrorRates) -> float:
    """Returns the mean over the corruptions in `errors`, at least one, of the mean error over severities, in [0, 1]."""
    return fmean(map(fmean, errors.values()))


def mean_corruption_error(
    errors: ErrorRates, baseline: ErrorRates, *, clean: float = 0.0, baseline_clean: float = 0.0
) -> float:
    """Returns mCE, the mean of the corruption errors CE; 1.0 for a model that does as the baseline.

    ``CE = sum_s E_s / sum_s B_s``. With the error rates on clean images it is relative mCE, the mean of
    ``sum_s (E_s - E_clean) / sum_s (B_s - B_clean)``.

    Args:
        errors: Error rates E of the model, for at least one corruption.
        baseline: Error rates B of the baseline, for at least the same corruptions, each at the same severities.
        clean: Error rate of the model on clean images, for relative mCE.
        baseline_clean: Error rate of the baseline on clean images, for relative mCE.

    Raises:
        ValueError: If a corruption does not make the baseline worse, so that no ratio exists.
    """
    ratios = []
    for name, rates in errors.items():
        reference = math.fsum(theirs - baseline_clean for _, theirs in zip(rates, baseline[name], strict=True))
        if reference <= 0:
            raise ValueError(f"{name}: the baseline does not get worse under this corruption, so no ratio to it exists")
        ratios.append(math.fsum(rate - clean for rate in rates) / reference)
    return fmean(ratios)
