"""Random draws that depend on an image's own seed and on nothing else.

A counter-based generator: word ``j`` of an image is a hash of (seed, stream, j), so all images are drawn at once
on their device and image ``i`` gets the same numbers alone, in any batch, in any order, with any number of threads.

The numbers are bitwise equal because they are built only from integer operations and from ``+ - * sqrt`` of
float32, which IEEE 754 rounds in one way. Library ``log``, ``cos`` and ``exp`` are avoided: their vector code and
the scalar code for the last few elements may differ in the last bit, and which elements come last depends on the
size of the batch and the number of threads. Logarithm and sine are therefore evaluated here as polynomials.

The hash is the 32-bit finaliser "lowbias32" (C. Wellons, "Prospecting for hash functions", 2018: two rounds of
xor-shift and multiplication), with half of the 64-bit key added before and half inside, so that no two seeds share a
sequence. Keys are mixed with the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

_GOLDEN_32 = 0x9E3779B9  # odd integers next to 2^32 and 2^64 over the golden ratio
_GOLDEN_64 = 0x9E3779B97F4A7C15
_CPU_BLOCK = 1 << 20  # elements per thread and step: few calls of operations whose scratch memory stays in the cache
_LOG_TERMS = (  # -2 ln(1.5 + t) for |t| <= 0.5, ascending powers: minimax, error 4e-7
    -0.8109306097,
    -1.3333314657,
    0.4444907904,
    -0.1976097822,
    0.0978579819,
    -0.0517244302,
    0.0348283872,
    -0.0209682006,
)
_SINE_TERMS = (1.5707910061, -0.6458928585, 0.0794343427, -0.0043330952)  # sin(pi t / 2), odd powers: error 6e-7


def _signed(value: int, bits: int) -> int:
    """The two's complement integer of `bits` bits that equals `value` modulo ``2**bits``."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


def _mix64(keys: Tensor) -> Tensor:
    """SplitMix64's finaliser, a one-to-one map of int64 in which every input bit reaches every output bit."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ ((keys >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor, 64)
    return keys ^ ((keys >> 31) & ((1 << 33) - 1))


def image_seeds(seed: int, corruption: str, severity: int, indices: Tensor) -> Tensor:
    """Returns one seed per image, a function of its four arguments only.

    Args:
        seed: Seed of the run, any integer.
        corruption: Name of the corruption.
        severity: Severity 0..5.
        indices: (N,) int64, position of each image in its data set.

    Returns:
        (N,) int64 on the device of `indices`; different indices always get different seeds.
    """
    digest = hashlib.sha256(f"{seed}/{corruption}/{severity}".encode()).digest()
    offset = int.from_bytes(digest[:8], "little", signed=True)
    return _mix64(indices.to(torch.int64) * _signed(_GOLDEN_64, 64) + offset)


def word_keys(seeds: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """The two halves of each image's 64-bit key for one stream, two (N,) int32; different streams are independent."""
    keys = _mix64(seeds ^ _signed((stream + 1) * _GOLDEN_64, 64))
    return keys.to(torch.int32), (keys >> 32).to(torch.int32)


@lru_cache(maxsize=8)
def word_counters(count: int, device: torch.device) -> Tensor:
    """(count,) int32, counter ``j`` spread over all 32 bits; shared, so read only."""
    counters = torch.arange(count, dtype=torch.int64, device=device)
    return counters.mul_(_GOLDEN_32).to(torch.int32)


def random_words(low: Tensor, high: Tensor, counters: Tensor) -> Tensor:
    """Uniform 32-bit words, the hash of counters under keys: int32, every value equally likely.

    Both halves of the key are int32 of one shape, which broadcasts with the counters of `word_counters`.
    """
    words, scratch = _words_but_last_shift(low, high, counters)
    return _xor_shift_(words, 15, scratch)


def _words_but_last_shift(low: Tensor, high: Tensor, counters: Tensor) -> tuple[Tensor, Tensor]:
    """The words of `random_words`, of which only the upper 15 bits are right yet, and scratch memory of their form."""
    words = counters + low
    scratch = torch.empty_like(words)
    _xor_shift_(words, 16, scratch)
    torch.add(high, words, alpha=_signed(0x21F0AAAD, 32), out=words)
    _xor_shift_(words, 15, scratch)
    return words.mul_(_signed(0x735A2D97, 32)), scratch


def _xor_shift_(words: Tensor, shift: int, scratch: Tensor) -> Tensor:
    """Replaces each word w by ``w ^ (w >> shift)``, the shift filling with zeros."""
    torch.bitwise_right_shift(words, shift, out=scratch)
    return words.bitwise_xor_(scratch.bitwise_and_((1 << (32 - shift)) - 1))


def row_blocks(rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices of images to work on together: few enough for the cache on a CPU, all of them elsewhere."""
    step = rows
    if device.type == "cpu":
        step = max(1, _CPU_BLOCK * torch.get_num_threads() // max(1, width))
    for start in range(0, rows, max(1, step)):
        yield slice(start, min(start + step, rows))


def by_blocks(work: Callable[..., Tensor], images: Tensor, *others: Tensor) -> Tensor:
    """Applies `work` to a few images at a time, each with its rows of the other tensors; they stay in the cache."""
    results = torch.empty_like(images, memory_format=torch.contiguous_format)
    if images.numel():
        for rows in row_blocks(len(images), images[0].numel(), images.device):
            results[rows] = work(images[rows], *(other[rows] for other in others))
    return results


def uniform(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Returns uniform numbers, multiples of 2^-24 in [0, 1).

    Args:
        seeds: (N,) int64, one per image.
        shape: Shape of one image's draws.
        stream: Number of the stream; different streams are independent.

    Returns:
        (N, *shape) float32 on the device of `seeds`.
    """
    width = math.prod(shape)
    low, high = word_keys(seeds, stream)
    counters = word_counters(width, seeds.device)
    values = torch.empty((len(seeds), width), dtype=torch.float32, device=seeds.device)
    for rows in row_blocks(len(seeds), width, seeds.device):
        words = random_words(low[rows, None], high[rows, None], counters)
        values[rows].copy_(words.bitwise_right_shift_(8)).mul_(2.0**-24).add_(0.5)
    return values.view(len(seeds), *shape)


def bernoulli(seeds: Tensor, shape: Sequence[int], share: float, stream: int = 0) -> Tensor:
    """Returns uint8 numbers, 1 where the number of `uniform` for the same arguments is below `share`, and else 0."""
    width = math.prod(shape)
    low, high = word_keys(seeds, stream)
    counters = word_counters(width, seeds.device)
    bound = math.ceil((float(torch.tensor(share)) - 0.5) * 2**24)
    values = torch.empty((len(seeds), width), dtype=torch.uint8, device=seeds.device)
    for rows in row_blocks(len(seeds), width, seeds.device):
        words, scratch = _words_but_last_shift(low[rows, None], high[rows, None], counters)
        if bound:  # and else the sign decides, one of the upper bits
            words = _xor_shift_(words, 15, scratch).bitwise_right_shift_(8).sub_(bound)
        values[rows].copy_(words.bitwise_right_shift_(31)).bitwise_and_(1)
    return values.view(len(seeds), *shape)


def normal(seeds: Tensor, shape: Sequence[int], stream: int = 0) -> Tensor:
    """Returns standard normal numbers, float32 of the shape that `uniform` returns for the same arguments.

    They are ``sqrt(-2 ln u) cos(a)`` and ``sqrt(-2 ln u) sin(a)`` for uniform u and angle a. The radius comes from 31
    bits (largest value 6.66, beyond which lies a share of 3e-11) and the angle from 32. The two polynomials move a
    value by less than 6e-6 where the radius is above 0.1, and by at most 1e-4 near 0.

    Source: G. Box and M. Muller, "A note on the generation of random normal deviates", 1958.
    """
    width = math.prod(shape)
    half = (width + 1) // 2
    low, high = (key[:, None, None] for key in word_keys(seeds, stream))
    counters = word_counters(2 * half, seeds.device).view(2, half)
    values = torch.empty((len(seeds), 2, half), dtype=torch.float32, device=seeds.device)
    for rows in row_blocks(len(seeds), 2 * half, seeds.device):
        words = random_words(low[rows], high[rows], counters)
        block = _cosine_and_sine(words[:, 1], values[rows])
        block.mul_(_radius(words[:, 0]).unsqueeze(1))
    return values.view(len(seeds), 2 * half)[:, :width].reshape(len(seeds), *shape)


def _radius(words: Tensor) -> Tensor:
    """``sqrt(-2 ln u)`` for u = (31 bits of the word + 1/2) / 2^31; overwrites the words.

    The logarithm is that of the exponent plus that of the mantissa of the float u 2^31.
    """
    numbers = words.bitwise_and(0x7FFFFFFF).to(torch.float32).add_(0.5)
    bits = numbers.view(torch.int32)
    squares = (bits >> 23).to(torch.float32).sub_(127 + 31).mul_(-2 * math.log(2))
    mantissa = bits.bitwise_and_(0x007FFFFF).bitwise_or_(0x3F800000).view(torch.float32).sub_(1.5)
    logarithm = mantissa * _LOG_TERMS[-1]
    for term in _LOG_TERMS[-2:0:-1]:
        logarithm.add_(term).mul_(mantissa)
    return squares.add_(logarithm.add_(_LOG_TERMS[0])).clamp_(min=0.0).sqrt_()


def _cosine_and_sine(words: Tensor, out: Tensor) -> Tensor:
    """Cosine and sine of the angle ``2 pi word / 2^32``, written to out[:, 0] and out[:, 1]; overwrites the words.

    With d the distance of the angle from 0 in half turns, ``cos = sin(pi/2 (1 - 2 d))``; the sine is the cosine of
    the angle a quarter turn back, which is one wrapping subtraction.
    """
    out[:, 0].copy_(words)
    out[:, 1].copy_(words.sub_(1 << 30))
    out.abs_().mul_(-(2.0**-30)).add_(1.0)
    squares = out * out
    sine = squares * _SINE_TERMS[-1]
    for term in _SINE_TERMS[-2:0:-1]:
        sine.add_(term).mul_(squares)
    return out.mul_(sine.add_(_SINE_TERMS[0]))
