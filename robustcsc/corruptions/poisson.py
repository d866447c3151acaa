"""Exact Poisson numbers for a whole batch, without a loop of random length.

A Poisson number of rate ``r`` is the sum of two independent ones of rates ``i = floor(r)`` and ``f = r - i < 1``.
The first is looked up: a table holds the distribution function of every integer rate, and a guide table (Chen and
Asau, "On generating random variates from an empirical distribution", AIIE Transactions 6, 1974) holds where the
search starts for each interval of random words. Intervals halve towards either end, so that 1 to 4 steps are enough
everywhere, also in the tails. The second is found by inversion in at most 10 steps.

As in `draws`, only integer operations and ``+ - *`` of float32 touch the numbers: an image's counts are bitwise the
same in any batch.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from robustcsc.corruptions.draws import random_words, row_blocks, word_counters, word_keys

_HALF = 1 << 30  # table words have 31 bits, from -2^30 to 2^30 - 1
_ROUNDING = 2.0**-24  # above the relative error of an integer turned into float32
_INTERVALS_PER_OCTAVE = 16
_INTERVALS = 31 * _INTERVALS_PER_OCTAVE + 1  # on either side of the median word
_FIRST_BITS = 126 * _INTERVALS_PER_OCTAVE  # exponent and leading mantissa bits of the float 0.5
_FRACTION_STEPS = 10  # a Poisson number of rate 1 is above 10 with probability 1e-8
_EXPONENTIAL_TERMS = (  # (exp(-f) - 1) / f for 0 <= f <= 1, ascending powers: error of exp(-f) 1.6e-8, none at f = 0
    -0.9999989708,
    0.4999796039,
    -0.1665315603,
    0.0412518103,
    -0.0076778623,
    0.0008564367,
)


class _Tables(NamedTuple):
    """Distribution functions of the integer rates 0 .. rows-1.

    Attributes:
        thresholds: (rows * width,) int32; entry ``i * width + j`` is the last word of a count up to ``i - reach + j``
            at rate i, that is ``2^31 P(count <= i - reach + j) - 2^30 - 1``.
        guide: (rows * 2 * _INTERVALS,) int32, the smallest j of the words of each interval.
        reach: Largest distance of a count from its rate; ``width = 2 * reach + 1``.
        steps: Number of search steps after which every word has arrived.
    """

    thresholds: Tensor
    guide: Tensor
    reach: int
    steps: int


def poisson(rates: Tensor, seeds: Tensor, *, largest: float) -> Tensor:
    """Returns one Poisson number per rate; an image's numbers depend on its rates and its seed only.

    Probabilities are exact but for an absolute error below 2e-7 (random words of 31 and 24 bits); rate 0 gives 0.

    Args:
        rates: (N, ...) float, expected counts, none of them NaN; they are clipped to [0, largest].
        seeds: (N,) int64, one per image.
        largest: Largest rate there may be, at most 2000. The tables take 3 MB for 500 and 15 MB for 2000; were
            it read from the rates, a GPU would be waited for.

    Returns:
        float32 of the shape of `rates` with integer values.
    """
    if not rates.numel():
        return torch.empty_like(rates, dtype=torch.float32)
    flat = rates.detach().reshape(len(seeds), -1).to(torch.float32)
    counts = torch.empty_like(flat)
    tables = _tables(1 << math.ceil(max(largest, 15.0)).bit_length(), flat.device)
    counters = word_counters(flat.shape[1], flat.device)
    (low, high), (low_f, high_f) = (word_keys(seeds, stream) for stream in (0, 1))
    for rows in row_blocks(len(seeds), flat.shape[1], flat.device):
        fraction = flat[rows].clamp(0.0, largest)
        whole = fraction.floor()
        words = random_words(low[rows, None], high[rows, None], counters)
        _count_whole(whole.to(torch.int32), words, tables, counts[rows])
        words = random_words(low_f[rows, None], high_f[rows, None], counters)
        _add_fraction(fraction.sub_(whole), words, counts[rows])
    return counts.view(rates.shape)


def _count_whole(rates: Tensor, words: Tensor, tables: _Tables, out: Tensor) -> None:
    """Writes the counts of integer rates to `out`; overwrites the words. All three (n, m), int32 and float32."""
    words.bitwise_right_shift_(1)
    entry = _interval(words).add_(rates * (2 * _INTERVALS))
    position = tables.guide.index_select(0, entry.view(-1)).view_as(words).add_(rates * (2 * tables.reach + 1))
    for _ in range(tables.steps):
        ahead = tables.thresholds.index_select(0, position.view(-1)).view_as(words).sub_(words)
        position.sub_(ahead.bitwise_right_shift_(31))  # -1 where the word lies behind the last word of the count
    out.copy_(position.sub_(rates * (2 * tables.reach)).sub_(tables.reach))


def _interval(words: Tensor) -> Tensor:
    """Number of the interval of each 31-bit word: on either side 16 per halving of the distance from the end."""
    side = words >> 31
    distance = (words ^ side).bitwise_xor_(_HALF - 1)
    octave = distance.to(torch.float32).add_(0.5).view(torch.int32).bitwise_right_shift_(19)
    return octave.sub_(_FIRST_BITS).bitwise_xor_(side).add_(_INTERVALS)


def _add_fraction(rates: Tensor, words: Tensor, out: Tensor) -> None:
    """Adds Poisson numbers of rates in [0, 1) to `out`; overwrites the words. All three (n, m), float32 and int32.

    Inversion: the number of partial sums ``exp(-f) (1 + f + f^2/2 + ...)`` that do not exceed a uniform number.
    """
    remainder = torch.empty_like(rates).copy_(words.bitwise_right_shift_(8)).mul_(2.0**-24).add_(0.5)
    term = rates * _EXPONENTIAL_TERMS[-1]
    for coefficient in _EXPONENTIAL_TERMS[-2::-1]:
        term.add_(coefficient).mul_(rates)
    term.add_(1.0)
    reached = torch.empty_like(rates)
    for step in range(1, _FRACTION_STEPS + 1):
        remainder.sub_(term)
        out.add_(torch.floor(remainder, out=reached))  # -1 once the remainder is negative, else 0
        term.mul_(rates).mul_(1.0 / step)
    out.add_(float(_FRACTION_STEPS))


@lru_cache(maxsize=8)
def _tables(rows: int, device: torch.device) -> _Tables:
    """Tables for the integer rates below `rows`; a row's entries do not depend on the number of rows."""
    if device.type != "cpu":
        host = _tables(rows, torch.device("cpu"))
        return host._replace(thresholds=host.thresholds.to(device), guide=host.guide.to(device))
    reach = int(9.0 * math.sqrt(rows)) + 24
    bounds = _distribution(rows, reach).mul_(2.0**31).round_().sub_(_HALF).to(torch.int64)
    edges = ((torch.arange(_INTERVALS + 1) + _FIRST_BITS) << 19).to(torch.int32).view(torch.float32).double()
    near = (edges[:-1] * (1.0 - _ROUNDING) - 0.5).ceil().to(torch.int64)
    far = (edges[1:] - 0.5).ceil().to(torch.int64) - 1
    first = torch.cat(((near - _HALF).flip(0), _HALF - 1 - far)).clamp_(-_HALF, _HALF - 1)
    last = torch.cat(((far - _HALF).flip(0), _HALF - 1 - near)).clamp_(-_HALF, _HALF - 1)
    guide, end = (
        torch.searchsorted(bounds, words.repeat(rows, 1), right=True, out_int32=True) for words in (first, last)
    )
    thresholds = bounds.sub_(1).to(torch.int32).view(-1)
    return _Tables(thresholds, guide.view(-1), reach, int((end - guide).max()))


def _distribution(rows: int, reach: int) -> Tensor:
    """P(count <= i - reach + j) for rates i = 0 .. rows-1 and j = 0 .. 2 reach, float64 (rows, 2 reach + 1).

    Probabilities are built outwards from the mode by their ratios ``P(k) / P(k-1) = i / k`` and divided by their
    sum; terms farther out change no bit of it.
    """
    rate = torch.arange(rows, dtype=torch.float64)
    weight = torch.zeros((rows, 2 * reach + 1), dtype=torch.float64)
    weight[:, reach] = 1.0
    for distance in range(1, reach + 1):
        weight[:, reach + distance] = weight[:, reach + distance - 1] * rate / (rate + distance)
        below = (rate - distance + 1.0).clamp_(min=0.0) / rate.clamp(min=1.0)
        weight[:, reach - distance] = weight[:, reach - distance + 1] * below
    above = weight[:, reach:].cumsum(1)  # from the mode upwards
    beneath = weight[:, :reach].flip(1).cumsum(1)  # from below the mode downwards
    lower = beneath[:, -1:] - torch.cat((torch.zeros_like(rate)[:, None], beneath[:, :-1]), dim=1)
    total = beneath[:, -1:] + above[:, -1:]
    return torch.cat((lower.flip(1), beneath[:, -1:] + above), dim=1).div_(total)
