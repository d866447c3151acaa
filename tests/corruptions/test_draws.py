"""The generator: uniform, independent, and a function of the seed alone."""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats

from robustcsc.corruptions.draws import bernoulli, image_seeds, normal, random_words, uniform, word_counters, word_keys

IMAGES = torch.arange(256)


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def words_of(seeds: torch.Tensor, count: int, stream: int = 0) -> torch.Tensor:
    low, high = word_keys(seeds, stream)
    return random_words(low[:, None], high[:, None], word_counters(count, seeds.device))


def test_uniform_numbers_are_multiples_of_2_to_the_minus_24_in_the_half_open_unit_interval() -> None:
    values = uniform(IMAGES, (4096,))
    assert values.dtype == torch.float32
    assert 0.0 <= float(values.min()) < 2e-5 and 1.0 - 2e-5 < float(values.max()) < 1.0
    steps = values.double() * 2**24
    assert torch.equal(steps, steps.round())
    assert len(torch.unique(steps.to(torch.int64) % 256)) == 256  # the last bits vary too


@pytest.mark.parametrize("seeds", [IMAGES, image_seeds(0, "gaussian_noise", 1, IMAGES)], ids=["raw", "mixed"])
def test_words_fill_every_byte_value_equally_often(seeds: torch.Tensor) -> None:
    words = words_of(seeds, 3072).numpy().view(np.uint32)
    for shift in (0, 8, 16, 24):
        counts = np.bincount(((words >> shift) & 0xFF).ravel(), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_pairs_of_neighbouring_draws_fill_the_square_evenly() -> None:
    values = (uniform(IMAGES, (3072,)) * 32).to(torch.int64)
    other_stream = (uniform(IMAGES, (3072,), stream=1) * 32).to(torch.int64)
    pairs = {
        "counter": (values[:, :-1], values[:, 1:]),
        "seed": (values[:-1], values[1:]),
        "row of an image": (values[:, :-32], values[:, 32:]),
        "stream": (values, other_stream),
    }
    for name, (first, second) in pairs.items():
        counts = np.bincount((first * 32 + second).ravel().numpy(), minlength=1024)
        assert stats.chisquare(counts).pvalue > 1e-4, name


def test_draws_of_neighbouring_seeds_and_streams_are_uncorrelated() -> None:
    draws = torch.cat([normal(IMAGES, (2048,), stream) for stream in (0, 1)]).double()
    correlation = torch.corrcoef(draws) * math.sqrt(2048)  # each about standard normal off the diagonal
    off = correlation[~torch.eye(512, dtype=torch.bool)]
    assert float(off.abs().max()) < 5.8  # largest of 130,816 pairs: expected 4.4
    assert float(off.std()) == pytest.approx(1.0, abs=0.02)


def test_one_flipped_seed_or_counter_bit_flips_every_word_bit_half_the_time() -> None:
    seeds = image_seeds(3, "avalanche", 1, torch.arange(4096))
    reference = words_of(seeds, 2)
    bits = 1 << np.arange(32, dtype=np.uint32)
    for bit in range(64):
        flipped = words_of(seeds ^ torch.tensor(1 << bit if bit < 63 else -(1 << 63)), 2)
        difference = (reference ^ flipped).numpy().view(np.uint32)[..., None] & bits
        share = (difference != 0).mean(axis=(0, 1))
        assert np.abs(share - 0.5).max() < 6 * 0.5 / math.sqrt(8192), bit
    low, high = word_keys(seeds, 0)
    for bit in range(12):  # counters of an image
        one, two = (
            random_words(low, high, word_counters(5000, seeds.device)[index]) for index in (819, 819 ^ (1 << bit))
        )
        share = (((one ^ two).numpy().view(np.uint32)[:, None] & bits) != 0).mean(axis=0)
        assert np.abs(share - 0.5).max() < 6 * 0.5 / math.sqrt(4096), bit


@pytest.mark.parametrize("share", [0.0, 1e-8, 0.03, 0.27, 0.5, 1.0])
def test_bernoulli_numbers_are_uniform_ones_below_the_share(share: float) -> None:
    draws = bernoulli(IMAGES, (3, 7, 11), share, 1)
    assert torch.equal(draws, (uniform(IMAGES, (3, 7, 11), 1) < share).to(torch.uint8))
    assert share in (0.0, 1e-8) or abs(float(draws.double().mean()) - share) < 0.01


def test_no_two_images_share_a_stretch_of_words() -> None:
    words = words_of(image_seeds(0, "gaussian_noise", 1, torch.arange(2000)), 1024).to(torch.int64)
    pairs = (words[:, :-1] << 32) ^ (words[:, 1:] & 0xFFFFFFFF)
    assert len(torch.unique(pairs)) == pairs.numel()


def test_normal_numbers_follow_the_normal_distribution_into_the_tails() -> None:
    values = normal(torch.arange(1000), (4001,)).double().ravel()
    n = values.numel()
    assert abs(float(values.mean())) < 5 / math.sqrt(n)
    assert abs(float(values.var()) - 1.0) < 5 * math.sqrt(2 / n)
    assert abs(float((values**3).mean())) < 5 * math.sqrt(15 / n)
    assert abs(float((values**4).mean()) - 3.0) < 5 * math.sqrt(96 / n)
    edges = np.concatenate(([-np.inf], np.linspace(-4.5, 4.5, 181), [np.inf]))
    observed = np.histogram(values.numpy(), edges)[0]
    assert stats.chisquare(observed, np.diff(stats.norm.cdf(edges)) * n).pvalue > 1e-4
    assert 4.6 < float(values.max()) < 6.0 and 4.6 < -float(values.min()) < 6.0


def test_cosine_and_sine_of_a_pair_are_those_of_one_angle() -> None:
    values = normal(torch.arange(200), (2, 2000)).double()
    angle = torch.atan2(values[:, 1], values[:, 0]) / (2 * math.pi) + 0.5
    radius_squared = (values**2).sum(1)
    assert stats.kstest(angle.ravel().numpy(), "uniform").pvalue > 1e-4
    assert stats.kstest(radius_squared.ravel().numpy() / 2, "expon").pvalue > 1e-4
    assert abs(float(torch.corrcoef(torch.stack((angle.ravel(), radius_squared.ravel())))[0, 1])) < 5 / math.sqrt(4e5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1,), (1, 7, 11), (3, 17, 31), (5, 13)])
def test_an_image_draws_the_same_bits_alone_and_in_any_batch(shape: tuple[int, ...], one_thread: None) -> None:
    seeds = image_seeds(7, "batch", 2, IMAGES)
    for draw in (uniform, normal):
        whole = draw(seeds, shape)
        assert torch.equal(draw(seeds.flip(0), shape).flip(0), whole)
        assert torch.equal(draw(seeds[200:213], shape), whole[200:213])
        for image in (0, 100, 255):
            assert torch.equal(draw(seeds[image : image + 1], shape)[0], whole[image])
        torch.set_num_threads(3)
        assert torch.equal(draw(seeds, shape), whole)


def test_seeds_differ_in_every_argument_and_repeat_otherwise() -> None:
    reference = image_seeds(0, "shot_noise", 1, IMAGES)
    assert torch.equal(reference, image_seeds(0, "shot_noise", 1, IMAGES))
    assert torch.equal(reference[50:60], image_seeds(0, "shot_noise", 1, torch.arange(50, 60)))
    others = [
        image_seeds(seed, name, severity, IMAGES)
        for seed, name, severity in ((1, "shot_noise", 1), (0, "gaussian_noise", 1), (0, "shot_noise", 2))
    ]
    assert len(torch.unique(torch.cat((reference, *others)))) == 4 * 256


def test_seeds_of_a_million_images_are_distinct() -> None:
    assert len(torch.unique(image_seeds(-5, "x", 5, torch.arange(1_000_000)))) == 1_000_000


def test_seeds_are_the_same_in_every_process() -> None:
    # SHA-256 of "0/gaussian_noise/1", then SplitMix64's finaliser in Python integers.
    mask = (1 << 64) - 1
    offset = int.from_bytes(hashlib.sha256(b"0/gaussian_noise/1").digest()[:8], "little")
    value = (9 * 0x9E3779B97F4A7C15 + offset) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    value ^= value >> 31
    assert int(image_seeds(0, "gaussian_noise", 1, torch.tensor([9]))) & mask == value
