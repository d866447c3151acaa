"""The area under the ROC curve, with an interval for samples that contain the same images.

Sources: Mann and Whitney, Annals of Mathematical Statistics 18 (1947): the area is the probability that a positive
score is above a negative one, ties counted half. DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988): its variance
from the placements of the scores. Obuchowski, Biometrics 53 (1997): the same for clustered scores, here a clean image
and its corrupted copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from robustcsc.inspection.sheets import Array


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


def auc(negative: Array, positive: Array) -> Auc:
    """Returns the area under the ROC curve of a score that should be larger for positive examples.

    The interval is symmetric in the logit of the area, so that it stays in [0, 1].

    Args:
        negative: Scores of the negative examples, ``(n,)``, at least 2.
        positive: Those of the positive ones, ``(n,)``; ``positive[i]`` and ``negative[i]`` belong to the same image.
    """
    below, above = placements(negative, positive)
    area = float(below.mean())
    if not 0 < area < 1:
        return Auc(area, area, area)
    variance = float(np.var(below + above, ddof=1)) / len(below)
    centre, spread = log(area / (1 - area)), sqrt(variance) / (area * (1 - area))
    reach = NormalDist().inv_cdf(0.975) * spread
    return Auc(area, float(expit(centre - reach)), float(expit(centre + reach)))
