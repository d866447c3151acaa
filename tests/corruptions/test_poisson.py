"""Poisson numbers against the closed form of their distribution."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from robustcsc.corruptions.draws import image_seeds
from robustcsc.corruptions.poisson import _count_whole, _tables, poisson

SEEDS = image_seeds(0, "poisson", 1, torch.arange(100))


def p_value(counts: np.ndarray, rate: float) -> float:
    """Chi-square of the counts against the probabilities of `rate`, cells of fewer than 10 expected counts pooled."""
    n = counts.size
    inner = np.arange(stats.poisson.ppf(20 / n, rate) + 1, stats.poisson.isf(20 / n, rate))
    edges = np.concatenate(([-np.inf], inner, [np.inf])) if len(inner) else np.array([-np.inf, 0, np.inf])
    expected = np.diff(stats.poisson.cdf(edges, rate)) * n
    observed = np.diff(np.concatenate(([0], np.searchsorted(np.sort(counts), edges[1:], side="right"))))
    keep = expected > 0
    return float(stats.chisquare(observed[keep], expected[keep] * n / expected[keep].sum()).pvalue)


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.999, 1.0, 2.5, 9.9, 10.1, 60.0, 60.5, 257.25, 500.0, 1999.5])
def test_frequencies_follow_the_poisson_probabilities(rate: float) -> None:
    counts = poisson(torch.full((100, 4000), rate), SEEDS, largest=rate).numpy().ravel()
    assert np.array_equal(counts, np.round(counts)) and counts.min() >= 0
    assert p_value(counts, float(np.float32(rate))) > 1e-4


def test_the_tails_are_present() -> None:
    rates = torch.full((100, 40_000), 30.0)
    counts = poisson(rates, SEEDS, largest=30.0).numpy().ravel()
    for tail, frequency in (
        (stats.poisson.sf(57, 30.0), (counts > 57).mean()),
        (stats.poisson.cdf(8, 30.0), (counts <= 8).mean()),
    ):
        assert 1e-6 < tail < 2e-5
        assert abs(frequency - tail) < 5 * math.sqrt(tail / counts.size)


@pytest.mark.parametrize("rows", [16, 64, 512])
def test_every_word_finds_the_count_of_the_distribution_function(rows: int) -> None:
    tables = _tables(rows, torch.device("cpu"))
    width = 2 * tables.reach + 1
    thresholds = tables.thresholds.view(rows, width).double().add(1.0).add(2.0**30).div(2.0**31)
    counts = np.arange(rows)[:, None] - tables.reach + np.arange(width)
    exact = stats.poisson.cdf(counts, np.maximum(np.arange(rows), 1e-300)[:, None])
    assert np.abs(thresholds.numpy() - exact).max() < 2.0**-31


def test_a_row_of_the_table_is_the_same_in_a_larger_table() -> None:
    small, large = (_tables(rows, torch.device("cpu")) for rows in (64, 1024))
    first = small.thresholds.view(64, -1)
    second = large.thresholds.view(1024, -1)[:64]
    shift = large.reach - small.reach
    assert torch.equal(first, second[:, shift : second.shape[1] - shift])


def test_the_search_ends_at_the_right_count_at_and_around_every_threshold() -> None:
    rows = 512
    tables = _tables(rows, torch.device("cpu"))
    thresholds = tables.thresholds.view(rows, -1)
    for rate in (0, 1, 7, 100, 511):
        last = thresholds[rate].to(torch.int64)
        words = torch.cat((last - 1, last, last + 1, torch.tensor([-(2**30), -1, 0, 2**30 - 1])))
        words = torch.unique(words.clamp(-(2**30), 2**30 - 1))
        expected = (last < words[:, None]).sum(1) + rate - tables.reach
        found = torch.empty(1, len(words))
        _count_whole(
            torch.full((1, len(words)), rate, dtype=torch.int32), (words * 2).to(torch.int32)[None], tables, found
        )
        assert torch.equal(found[0].to(torch.int64), expected)


def test_zero_and_negative_rates_give_zero() -> None:
    rates = torch.zeros(100, 40_000)
    rates[:, ::2] = -3.0
    assert float(poisson(rates, SEEDS, largest=1.0).abs().max()) == 0.0


def test_counts_of_mixed_rates_have_the_mean_and_variance_of_their_own_rate() -> None:
    rates = torch.linspace(0.0, 700.0, 200).repeat_interleave(50).repeat(100, 1)
    deviation = (
        (poisson(rates, SEEDS, largest=700.0) - rates).view(100, 200, 50).transpose(0, 1).reshape(200, -1).double()
    )
    rate = torch.linspace(0.0, 700.0, 200).double()
    assert float((deviation.mean(1)[1:] / (rate[1:] / 5000).sqrt()).abs().max()) < 4.5
    spread = ((rate[1:] + 2 * rate[1:] ** 2) / 5000).sqrt()
    assert float(((deviation.pow(2).mean(1)[1:] - rate[1:]) / spread).abs().max()) < 4.5


def test_neighbouring_values_and_images_are_independent() -> None:
    standard = (poisson(torch.full((100, 4000), 5.3), SEEDS, largest=5.3).double() - 5.3) / math.sqrt(5.3)
    n = standard.numel()
    assert abs(float((standard[:, 1:] * standard[:, :-1]).mean())) < 5 / math.sqrt(n)
    assert abs(float((standard[1:] * standard[:-1]).mean())) < 5 / math.sqrt(n)


def test_an_image_counts_the_same_alone_and_beside_images_of_other_rates() -> None:
    generator = torch.Generator().manual_seed(0)
    rates = torch.rand(100, 3, 17, 13, generator=generator) * torch.logspace(-1, 3.2, 100).view(-1, 1, 1, 1)
    whole = poisson(rates, SEEDS, largest=2000.0)
    assert torch.equal(poisson(rates.flip(0), SEEDS.flip(0), largest=2000.0).flip(0), whole)
    for image in (0, 31, 77, 99):
        one = slice(image, image + 1)
        for largest in (float(rates[image].max()), 2000.0):
            assert torch.equal(poisson(rates[one], SEEDS[one], largest=largest)[0], whole[image])


@pytest.mark.parametrize("largest", [7.0, 15.0, 63.99999999, 64.0, 511.5, 2000.0])
def test_the_largest_rate_has_a_row_in_the_tables_and_stands_for_larger_ones(largest: float) -> None:
    counts = poisson(torch.full((100, 50), largest), SEEDS, largest=largest)
    assert torch.equal(poisson(torch.full((100, 50), math.inf), SEEDS, largest=largest), counts)
    assert float(counts.mean()) == pytest.approx(largest, abs=5 * math.sqrt(largest / 5000))
