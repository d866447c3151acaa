import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robustcsc.measurements.statistics import Gain, Pair, Score, SeedScores, holm, wilson_interval


def test_accuracy_is_the_share() -> None:
    assert [Score(correct, 5).accuracy for correct in (3, 0, 5)] == [0.6, 0.0, 1.0]


def test_a_score_without_images_has_no_accuracy() -> None:
    assert math.isnan(Score(0, 0).accuracy)
    assert all(map(math.isnan, Score(0, 0).interval))


def test_pooled_cells_of_the_same_images_get_the_interval_of_one_cell() -> None:
    assert Score(24, 30, cells=3).interval == wilson_interval(8, 10)
    assert Score(8, 10).interval == wilson_interval(8, 10)


def test_the_mean_of_scores_keeps_images_and_cells() -> None:
    assert Score.mean_of([Score(20, 30, 3), Score(23, 30, 3), Score(24, 30, 3)]) == Score(22, 30, 3)  # 67 / 3


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
