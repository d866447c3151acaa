import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robustcsc.measurements.statistics import Gain, Pair, Score, SeedScores, holm, wilson_interval


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
def test_the_interval_of_a_gain_is_newcombes_published_one(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    gain = Gain.between(Score(*first), Score(*second))
    assert (gain.low / 100, gain.high / 100) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("only_first", "only_second"), [(10, 2), (2, 10), (59, 121), (0, 7), (3, 3), (2900, 3000)])
def test_mcnemar_is_twice_the_smaller_tail_of_a_fair_coin(only_first: int, only_second: int) -> None:
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    tail = Fraction(sum(math.comb(discordant, heads) for heads in range(fewer + 1)), 2**discordant)
    p_value = Pair(only_first, only_second, 10000).p_value
    assert p_value == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)


def test_nobody_differs_from_himself() -> None:
    assert Pair(0, 0, 50).p_value == 1.0
    assert Pair(0, 0, 50).points == 0.0


def test_the_interval_of_a_pair_is_that_of_agresti_and_min() -> None:
    # b = 16, c = 69 of n = 1144 (their example): (69.5 - 16.5) / 1146 = .0462, se = sqrt(86 - 53^2/1146) / 1146
    low, high = Pair(69, 16, 1144).interval
    reach = 1.959964 * (86 - 53**2 / 1146) ** 0.5 / 1146
    assert low == pytest.approx(100 * (53 / 1146 - reach), abs=1e-4)
    assert high == pytest.approx(100 * (53 / 1146 + reach), abs=1e-4)


def test_outcomes_of_single_images_make_a_pair() -> None:
    assert Pair.of_bits(0b00111, 0b01001, 5) == Pair(only_first=2, only_second=1, total=5)


def test_holm_multiplies_the_smallest_most() -> None:
    # Holm (1979): 3 x .01, then 2 x .03, then at least as much as before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
