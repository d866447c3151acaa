"""What follows from counts of images: shares with intervals, differences, tests, and spreads over training seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

_Z = NormalDist().inv_cdf(0.975)


@lru_cache(maxsize=2**16)  # a report asks for the same counts again and again
def wilson_interval(met: float, total: int) -> tuple[float, float]:
    """Returns the ends of the 95 % Wilson score interval for the share ``met / total``, both in [0, 1].

    With ``p = met / total``, ``n = total`` and ``z`` the normal quantile of 0.975:
    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``.

    Args:
        met: Number of images that met the metric, 0 to `total`; a mean of such numbers need not be whole.
        total: Number of images, at least 1.

    Raises:
        ValueError: If the counts make no share.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    # scipy's binomtest computes a p-value before it gives the interval: ~1 ms, too slow for 200,000 records.
    if total < 1:
        raise ValueError(f"total must be at least 1, not {total}: nothing was measured")
    if not 0 <= met <= total:
        raise ValueError(f"met must be 0 to {total}, not {met}")
    share = met / total
    centre = share + _Z * _Z / (2 * total)
    reach = _Z * math.sqrt(share * (1 - share) / total + (_Z / (2 * total)) ** 2)
    scale = 1 + _Z * _Z / total
    # At the ends of the range the formula gives exactly 0 and 1; floats do not.
    lower = 0.0 if met == 0 else (centre - reach) / scale
    upper = 1.0 if met == total else (centre + reach) / scale
    return lower, upper


class Score(NamedTuple):
    """Counts of one cell or of several pooled ones, and what follows from them.

    Attributes:
        met: Images that met the metric, over all cells that were pooled; a mean of counts need not be whole.
        total: Images that were classified, over all cells.
        cells: Number of pooled cells, each of the same ``total / cells`` images.
    """

    met: float
    total: int
    cells: int = 1

    @classmethod
    def mean_of(cls, scores: Sequence[Score]) -> Score:
        """Returns the mean of scores of as many images, at least one, without rounding."""
        return scores[0]._replace(met=fmean(score.met for score in scores))

    @property
    def rate(self) -> float:
        """`met / total`, in [0, 1]; NaN without images."""
        return self.met / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval, in [0, 1]; NaN without images.

        Pooled cells show the same images and are not independent: their mean gets the interval of a single cell of the
        same accuracy, which is what it would have if every image behaved alike in all of them.
        """
        if not self.total:
            return math.nan, math.nan
        return wilson_interval(self.met / self.cells, self.total // self.cells)


@dataclass(frozen=True)
class SeedScores:
    """What one measure gave for every training seed.

    Attributes:
        scores: One per training seed, at least one; counts are averaged over seeds of the measurement.
    """

    scores: tuple[Score, ...]

    @property
    def mean(self) -> float:
        """Mean share over training seeds, in [0, 1]."""
        return fmean(score.rate for score in self.scores)

    @property
    def std(self) -> float | None:
        """Standard deviation of the share over training seeds (n - 1); ``None`` for a single seed."""
        return stdev(score.rate for score in self.scores) if len(self.scores) > 1 else None

    @property
    def best(self) -> float:
        """Largest share, in [0, 1]."""
        return max(score.rate for score in self.scores)


@dataclass(frozen=True)
class Gain:
    """The difference of two accuracies, in percentage points.

    Attributes:
        points: First accuracy minus the second, in [-100, 100].
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    points: float
    low: float
    high: float

    @classmethod
    def between(cls, first: Score, second: Score) -> Gain:
        """Returns the gain of `first` over `second`.

        With accuracies p, q and their Wilson intervals (l, u) and (m, v), the interval is
        ``p - q - sqrt((p - l)^2 + (v - q)^2)`` to ``p - q + sqrt((u - p)^2 + (q - m)^2)``, as if the images of the two
        were independent.

        Source:
            R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison
            of eleven methods", Statistics in Medicine 17 (1998), method 10.
        """
        p, q = first.rate, second.rate
        (low, high), (other_low, other_high) = first.interval, second.interval
        down = math.hypot(p - low, other_high - q)
        up = math.hypot(high - p, q - other_low)
        return cls(100 * (p - q), 100 * (p - q - down), 100 * (p - q + up))


@dataclass(frozen=True)
class Pair:
    """How two classifiers fared on the same images.

    Attributes:
        only_first: Images that only the first one classified correctly.
        only_second: Images that only the second one classified correctly.
        total: Images.
    """

    only_first: int
    only_second: int
    total: int

    @classmethod
    def of_bits(cls, first: int, second: int, total: int) -> Pair:
        """Returns the pair of two outcomes, given as integers with one bit per image, 1 where it was correct."""
        return cls((first & ~second).bit_count(), (second & ~first).bit_count(), total)

    @property
    def points(self) -> float:
        """Accuracy of the first minus that of the second, in percentage points."""
        return 100 * (self.only_first - self.only_second) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `points`: Wald's after half an image was added to each of the four counts.

        Source:
            A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
            Medicine 24 (2005).
        """
        first, second, total = self.only_first + 0.5, self.only_second + 0.5, self.total + 2
        middle = (first - second) / total
        reach = _Z * math.sqrt(first + second - (first - second) ** 2 / total) / total
        return 100 * max(middle - reach, -1.0), 100 * min(middle + reach, 1.0)

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: that of `only_first` heads in ``only_first + only_second`` coin throws.

        Source:
            Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
            Psychometrika 12 (1947).
        """
        return _sign_test(self.only_first, self.only_second)


@lru_cache(maxsize=2**16)
def _sign_test(heads: int, tails: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(heads, heads + tails).pvalue) if heads + tails else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values of several tests so that the chance of even one false finding stays below the level.

    The k-th smallest of m is multiplied by m - k + 1, and never falls below an earlier one; at most 1.

    Source:
        S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = reached
    return adjusted
