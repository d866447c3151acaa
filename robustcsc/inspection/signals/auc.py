"""The area under the ROC curve, with an interval for samples that contain the same images.

Sources: Mann and Whitney, Annals of Mathematical Statistics 18 (1947): the area is the probability that a positive
score is above a negative one, ties counted half. DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988): its variance
from the placements of the scores. Obuchowski, Biometrics 53 (1997): the same for clustered scores, here a clean image
and its corrupted copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import rankdata

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Auc:
    """An area under the ROC curve and its 95 % interval.

    Attributes:
        area: In [0, 1]; 0.5 is no better than chance.
        low: Lower end of the interval.
        high: Upper end. At an area of 0 or 1 no placement varies, and the interval is that point, which tells nothing.
    """

    area: float
    low: float
    high: float


def placements(negative: Array, positive: Array) -> tuple[Array, Array]:
    """Returns the share of negative scores below each positive one, and of positive scores above each negative one.

    Ties count half. The mean of either is the area under the ROC curve.

    Args:
        negative: ``(m,)``.
        positive: ``(n,)``.
    """
    ranks = rankdata(np.concatenate((negative, positive)))
    below = (ranks[len(negative) :] - rankdata(positive)) / len(negative)
    above = 1 - (ranks[: len(negative)] - rankdata(negative)) / len(positive)
    return below, above


def auc(negative: Array, positive: Array, *, paired: bool) -> Auc:
    """Returns the area under the ROC curve of a score that should be larger for positive examples.

    The interval is symmetric in the logit of the area, so that it stays in [0, 1].

    Args:
        negative: Scores of the negative examples, ``(m,)``, at least 2.
        positive: Those of the positive ones, ``(n,)``, at least 2.
        paired: Whether ``positive[i]`` and ``negative[i]`` belong to the same image.

    Raises:
        ValueError: If there are fewer than 2 of either, or paired samples of different sizes.
    """
    if min(len(negative), len(positive)) < 2 or (paired and len(negative) != len(positive)):
        raise ValueError(
            f"an AUC needs 2 scores of each kind, paired ones equally many, got {len(negative)} and {len(positive)}"
        )
    below, above = placements(negative, positive)
    area = float(below.mean())
    if paired:
        variance = float(np.var(below + above, ddof=1)) / len(below)
    else:
        variance = float(np.var(below, ddof=1)) / len(below) + float(np.var(above, ddof=1)) / len(above)
    if not 0 < area < 1:
        return Auc(area, area, area)
    centre, spread = log(area / (1 - area)), sqrt(variance) / (area * (1 - area))
    reach = NormalDist().inv_cdf(0.975) * spread
    return Auc(area, _logistic(centre - reach), _logistic(centre + reach))


def _logistic(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > -700 else 0.0
