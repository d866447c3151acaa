import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from robustcsc.measurements.records import Outcomes
from robustcsc.measurements.statistics import Difference, Score, SeedScores, Shares, holm, wilson_interval


def test_accuracy_is_the_share() -> None:
    assert [Score(correct, 5).rate for correct in (3, 0, 5)] == [0.6, 0.0, 1.0]


def test_a_score_without_images_has_no_accuracy() -> None:
    assert math.isnan(Score(0, 0).rate)
    assert all(map(math.isnan, Score(0, 0).interval))


def test_pooled_cells_of_the_same_images_get_the_interval_of_one_cell() -> None:
    assert Score(24, 30, cells=3).interval == wilson_interval(8, 10)
    assert Score(8, 10).interval == wilson_interval(8, 10)


def wilson(share: Fraction, total: int) -> tuple[float, float]:
    """The interval by hand: z is that of the 95 % interval, and only the root is no fraction."""
    z2 = Fraction(1.959963984540054) ** 2
    centre, scale = share + z2 / (2 * total), 1 + z2 / total
    reach = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2)))
    return (float(centre) - reach) / float(scale), (float(centre) + reach) / float(scale)


@pytest.mark.parametrize(
    ("counts", "total", "cells"),
    [
        ((20, 23, 24), 30, 3),  # 67 / 3 images in three cells
        ((8537, 8538), 10_000, 1),  # half an image is 0.005 points
        ((1, 1, 1, 2, 2, 2, 2), 1000, 1),  # 11 / 7 images, nearly 0.05 points from a whole one
        ((34_231,), 50_000, 5),  # one score: 6,846.2 images of each cell
        ((0, 0, 1), 7, 1),
        ((50_000, 49_999), 50_000, 5),
    ],
)
def test_the_mean_of_scores_and_its_interval_are_those_of_unrounded_counts(
    counts: tuple[int, ...], total: int, cells: int
) -> None:
    mean = Score.mean_of([Score(count, total, cells) for count in counts])
    share = Fraction(sum(counts), len(counts) * total)
    assert (mean.total, mean.cells) == (total, cells)
    assert mean.rate == pytest.approx(float(share), rel=1e-15, abs=0)
    assert mean.interval == pytest.approx(wilson(share, total // cells), rel=1e-12)


def test_equal_scores_have_themselves_as_mean_also_at_the_ends() -> None:
    for count in (0, 30):
        assert Score.mean_of([Score(count, 30, 3)] * 3) == Score(count, 30, 3)
    assert Score.mean_of([Score(0, 30, 3)] * 3).interval[0] == 0.0
    assert Score.mean_of([Score(30, 30, 3)] * 3).interval[1] == 1.0


def test_the_spread_over_training_seeds_is_the_sample_standard_deviation() -> None:
    spread = SeedScores((Score(79, 100), Score(80, 100), Score(84, 100)))
    assert (spread.mean, spread.best) == pytest.approx((0.81, 0.84))
    assert spread.std == pytest.approx((0.0014 / 2) ** 0.5)  # (0.02^2 + 0.01^2 + 0.03^2) / (3 - 1)
    assert SeedScores((Score(79, 100),)).std is None


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (1, 0), (-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        wilson_interval(correct, total)


def test_wilson_interval_of_the_textbook_example() -> None:
    # By hand with z = 1.96: (0.8 + 0.19208 -+ 1.96 sqrt(0.016 + 0.009604)) / 1.38416.
    lower, upper = wilson_interval(8, 10)
    assert lower == pytest.approx(0.4902, abs=5e-5)
    assert upper == pytest.approx(0.9433, abs=5e-5)


@given(st.integers(1, 60_000), st.floats(0, 1))
def test_wilson_interval_agrees_with_scipy(total: int, share: float) -> None:
    correct = round(share * total)
    expected = binomtest(correct, total).proportion_ci(method="wilson")
    lower, upper = wilson_interval(correct, total)
    assert lower == pytest.approx(expected.low, abs=1e-12)
    assert upper == pytest.approx(expected.high, abs=1e-12)
    assert 0 <= lower <= correct / total <= upper <= 1


def test_wilson_interval_touches_the_ends_exactly() -> None:
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 10), 0.6075, 1.0)],
)
def test_without_single_outcomes_the_interval_of_a_difference_is_newcombes_published_one(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = Difference.between(Score(*first), Score(*second))
    assert (found.low / 100, found.high / 100) == pytest.approx((low, high), abs=5e-5)


def one_cell(only_first: int, only_second: int, total: int) -> Difference:
    return Difference.of_images(total, only_first - only_second, only_first + only_second, only_first + only_second)


def test_the_difference_of_one_cell_has_the_interval_of_agresti_and_min() -> None:
    # b = 16, c = 69 of n = 1144 (their example): (69.5 - 16.5) / 1146 = .0462, se = sqrt(86 - 53^2/1146) / 1146
    found = one_cell(69, 16, 1144)
    reach = 1.959964 * (86 - 53**2 / 1146) ** 0.5 / 1146
    assert found.points == pytest.approx(100 * 53 / 1144)
    assert (found.low, found.high) == pytest.approx((100 * (53 / 1146 - reach), 100 * (53 / 1146 + reach)), abs=1e-4)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    # McNemar's mid-p values: twice the tail of a fair coin, of which the observed count itself is half
    [(6, 0, 1 / 64), (10, 2, (1 + 12 + 66 / 2) / 2048), (59, 121, 3.5e-6), (3, 3, 1.0)],
)
def test_its_p_value_is_near_that_of_mcnemars_test(only_first: int, only_second: int, p_value: float) -> None:
    assert one_cell(only_first, only_second, 10_000).p_value == pytest.approx(p_value, rel=0.6)
    assert one_cell(only_second, only_first, 10_000).p_value == one_cell(only_first, only_second, 10_000).p_value


def test_nobody_differs_from_himself_as_far_as_the_images_tell() -> None:
    found = one_cell(0, 0, 50)
    assert (found.points, found.p_value) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-100 * 1.959964 / 52, 100 * 1.959964 / 52), abs=1e-4)


def shares(*cells: str) -> Shares:
    """Cells as ``"110"``: the first two of three images are right."""
    found = Shares.of([Outcomes.of([bit == "1" for bit in cell]) for cell in cells])
    assert found is not None
    return found


def test_without_all_outcomes_there_are_no_shares() -> None:
    kept = Outcomes.of([True, False])
    assert Shares.of([kept, None]) is None and Shares.of([]) is None
    assert Shares.of([kept, Outcomes.of([True])]) is None


def test_images_are_compared_with_themselves_over_all_cells() -> None:
    first, second = shares("1110", "1100"), shares("0101", "0101", "0101")
    # shares 1, 1, 1/2, 0 and 0, 1, 0, 1: differences 1, 0, 1/2, -1
    assert Difference.paired(first, second) == Difference.of_images(4, 0.5, 2.25, 3)
    assert Difference.paired(first, second).points == pytest.approx(100 * 0.5 / 4)


@given(st.integers(1, 300), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_p_lies_below_a_twentieth_exactly_where_the_interval_leaves_zero_out(
    images: int, cells: int, others: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed)
    first, second = (
        Shares(drawn.integers(0, most + 1, images) * drawn.integers(0, 2), most) for most in (cells, others)
    )
    found, reverse = Difference.paired(first, second), Difference.paired(second, first)
    assert found.p_value is not None and found.shown == (found.p_value < 0.05)
    assert -100 <= found.low <= found.points <= found.high <= 100
    assert (reverse.points, reverse.low, reverse.high) == pytest.approx((-found.points, -found.high, -found.low))


def test_the_same_cell_twice_says_no_more_than_once() -> None:
    once, twice = shares("1101001110"), shares("1101001110", "1101001110")
    assert twice.score.interval == pytest.approx(once.score.interval)
    other = shares("1000001110")
    assert Difference.paired(twice, other) == Difference.paired(once, other)


def test_cells_in_which_other_images_are_right_say_more_than_one() -> None:
    # every image is right in one of two cells: nothing but the weight of the doubt is left of the spread
    halves = shares("01" * 50, "10" * 50).score
    answers = 100 * (25 + 0.1) / 0.1
    assert halves.interval == pytest.approx(wilson_interval(answers / 2, answers))


def test_where_single_outcomes_are_not_known_a_mean_has_the_interval_of_one_cell() -> None:
    known = shares("1101", "1000").score
    assert known == Score(4, 8, 2, 4 + 1 + 1)
    assert known._replace(squares=None).interval == wilson_interval(2, 4)


@given(st.integers(1, 200), st.integers(2, 6), st.integers(0, 2**32))
def test_the_interval_of_a_mean_is_never_wider_than_that_of_one_cell(images: int, cells: int, seed: int) -> None:
    score = Shares(np.random.default_rng(seed).integers(0, cells + 1, images), cells).score
    (low, high), (least, most) = score.interval, score._replace(squares=None).interval
    assert least - 1e-12 <= low <= score.rate <= high <= most + 1e-12


def latent(
    seed: int, samples: int, images: int, cells: int, ease: float, likeness: float, advantage: float = 0.0
) -> tuple[NDArray[np.int64], float]:
    """Counts of right cells ``(samples, images)`` of a model, and its true accuracy.

    An image has a difficulty that all cells share to a degree, `likeness`; each cell is harder than the one before.
    """
    drawn = np.random.default_rng(seed)
    common = drawn.standard_normal((samples, images, 1))
    own = np.random.default_rng(seed + 1 + round(1000 * advantage)).standard_normal((samples, images, cells))
    limits = ease + advantage + 0.7 * np.linspace(1, -1, cells) * (cells > 1)
    right = likeness**0.5 * common + (1 - likeness) ** 0.5 * own < limits
    return right.sum(2), float(np.mean([NormalDist().cdf(limit) for limit in limits]))


def coverages(samples: int, images: int, cells: int, ease: float, likeness: float) -> tuple[float, float]:
    """How many intervals of a mean, and of the difference of two models, hold the true value."""
    ours, truth = latent(7, samples, images, cells, ease, likeness, 0.1)
    theirs, other = latent(7, samples, images, cells, ease, likeness)
    means = [Shares(counts, cells).score.interval for counts in ours]
    pairs = (Difference.paired(Shares(a, cells), Shares(b, cells)) for a, b in zip(ours, theirs, strict=True))
    gain = 100 * (truth - other)
    held = sum(low <= truth <= high for low, high in means), sum(it.low <= gain <= it.high for it in pairs)
    return held[0] / samples, held[1] / samples


@pytest.mark.parametrize(("cells", "ease"), [(1, 0.0), (5, 0.0), (5, 1.5)])
def test_intervals_hold_the_true_value_as_often_as_they_say(cells: int, ease: float) -> None:
    for coverage in coverages(600, 100, cells, ease, 0.6):
        assert 0.92 < coverage < 0.985  # 600 samples: 0.95 -+ 0.027


@pytest.mark.slow
@pytest.mark.parametrize("likeness", [0.2, 0.9])
@pytest.mark.parametrize("ease", [-2.0, 0.0, 1.5, 2.4])  # accuracies of 2, 50, 93 and 99 %
@pytest.mark.parametrize("cells", [1, 5, 20])
@pytest.mark.parametrize("images", [100, 1000])
def test_coverage_is_90_to_97_percent(images: int, cells: int, ease: float, likeness: float) -> None:
    mean, difference = coverages(3000, images, cells, ease, likeness)
    rare = min(NormalDist().cdf(ease), NormalDist().cdf(-ease)) * images < 5  # a handful of errors: wider than need be
    assert 0.90 < mean < (1.0 if rare else 0.977)
    assert difference > 0.90 and (difference < 0.977 or rare or ease)


def test_holm_multiplies_the_smallest_most() -> None:
    # Holm (1979): 3 x .01, then 2 x .03, then at least as much as before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
