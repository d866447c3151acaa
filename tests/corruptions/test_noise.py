"""The four noises against their closed forms, on images far enough from black and white not to be clipped."""

import math

import pytest
import torch

from robustcsc.corruptions import KERNELS, image_seeds
from robustcsc.corruptions.noise import add_noise, expose, replace_values, scale_noise

SEEDS = image_seeds(0, "noise", 1, torch.arange(64))
SHAPE = (64, 3, 32, 32)
COUNT = math.prod(SHAPE)
STRENGTHS = {
    "gaussian_noise": {"std": 0.06},
    "shot_noise": {"photons": 60.0},
    "impulse_noise": {"share": 0.05},
    "speckle_noise": {"std": 0.2},
}


def check_moments(noise: torch.Tensor, variance: float) -> None:
    noise = noise.double()
    assert abs(float(noise.mean())) < 5 * math.sqrt(variance / COUNT)
    assert float(noise.var()) == pytest.approx(variance, rel=6 * math.sqrt(2 / COUNT))


@pytest.mark.parametrize("std", [0.0, 0.02, 0.1])
def test_gaussian_noise_has_its_standard_deviation_at_every_grey(std: float) -> None:
    for grey in (0.45, 0.5, 0.55):
        images = torch.full(SHAPE, grey)
        check_moments(KERNELS["gaussian_noise"](images, SEEDS, std=std) - images, std**2 + 1e-30)


@pytest.mark.parametrize("std", [0.06, 0.15])
def test_speckle_noise_is_proportional_to_the_pixel(std: float) -> None:
    for grey in (0.0, 0.25, 0.5):
        images = torch.full(SHAPE, grey)
        check_moments(KERNELS["speckle_noise"](images, SEEDS, std=std) - images, (std * grey) ** 2 + 1e-30)


@pytest.mark.parametrize("photons", [500.0, 60.0])
def test_shot_noise_has_the_variance_of_counted_photons(photons: float) -> None:
    for grey in (0.25, 0.5):
        images = torch.full(SHAPE, grey)
        corrupted = KERNELS["shot_noise"](images, SEEDS, photons=photons)
        check_moments(corrupted - images, grey / photons)
        counts = corrupted.double() * photons
        assert float((counts - counts.round()).abs().max()) < 1e-4


def test_shot_noise_leaves_black_black_and_clips_white() -> None:
    assert float(KERNELS["shot_noise"](torch.zeros(SHAPE), SEEDS, photons=3.0).max()) == 0.0
    white = KERNELS["shot_noise"](torch.ones(SHAPE), SEEDS, photons=60.0)
    assert float(white.max()) == 1.0
    assert float((white == 1.0).double().mean()) == pytest.approx(0.517, abs=0.01)  # P(Poisson(60) >= 60)


@pytest.mark.parametrize("share", [0.01, 0.27])
def test_impulse_noise_replaces_its_share_of_values_half_by_white(share: float) -> None:
    images = torch.full(SHAPE, 0.5)
    corrupted = KERNELS["impulse_noise"](images, SEEDS, share=share)
    tolerance = 5 * math.sqrt(share / COUNT)
    for value, expected in ((0.5, 1 - share), (0.0, share / 2), (1.0, share / 2)):
        assert float((corrupted == value).double().mean()) == pytest.approx(expected, abs=tolerance)
    hit = (corrupted != 0.5).double()  # values are hit one by one, not pixels as a whole
    assert float((hit[:, 0] * hit[:, 1]).mean()) == pytest.approx(share**2, abs=5 * share / math.sqrt(COUNT / 3))


def test_impulse_noise_of_share_0_and_1_replaces_nothing_and_everything() -> None:
    images = torch.full(SHAPE, 0.5)
    assert torch.equal(KERNELS["impulse_noise"](images, SEEDS, share=0.0), images)
    assert float((KERNELS["impulse_noise"](images, SEEDS, share=1.0) == 0.5).sum()) == 0.0


def test_channels_get_different_noise() -> None:
    images = torch.full(SHAPE, 0.5)
    for name, strength in STRENGTHS.items():
        noise = (KERNELS[name](images, SEEDS, **strength) - images).double()
        correlation = torch.corrcoef(noise.transpose(0, 1).reshape(3, -1))
        assert float((correlation - torch.eye(3)).abs().max()) < 5 / math.sqrt(COUNT / 3), name


def test_known_draws_give_hand_computed_pixels() -> None:
    images = torch.tensor([0.5, 0.25, 0.9, 0.1]).view(1, 1, 2, 2)
    z = torch.tensor([1.0, -2.0, 1.0, -3.0]).view(1, 1, 2, 2)
    assert add_noise(images, z, std=0.2).ravel().tolist() == pytest.approx([0.7, 0.0, 1.0, 0.0])
    assert scale_noise(images, z, std=0.2).ravel().tolist() == pytest.approx([0.6, 0.15, 1.0, 0.04])
    assert expose(torch.tensor([0.0, 3.0, 12.0, 15.0]), photons=12.0).tolist() == [0.0, 0.25, 1.0, 1.0]
    chosen, salt = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    replaced = replace_values(images, chosen.view_as(images), salt.view_as(images))
    assert replaced.ravel().tolist() == pytest.approx([1.0, 0.0, 0.9, 0.1])


@pytest.mark.parametrize("name", STRENGTHS)
def test_kernels_leave_their_arguments_alone_and_keep_the_type(name: str) -> None:
    images = torch.rand(4, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    before, seeds = images.clone(), SEEDS[:4].clone()
    single = KERNELS[name](images, seeds, **STRENGTHS[name])
    double = KERNELS[name](images.double(), seeds, **STRENGTHS[name])
    assert torch.equal(images, before) and torch.equal(seeds, SEEDS[:4])
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    assert float((single - double).abs().max()) < 1e-6


@pytest.mark.parametrize("name", STRENGTHS)
def test_results_stay_in_the_pixel_range_for_inputs_beyond_it(name: str) -> None:
    images = torch.linspace(-0.5, 1.5, 4 * 3 * 64).view(4, 3, 8, 8)
    corrupted = KERNELS[name](images, SEEDS[:4], **STRENGTHS[name])
    assert float(corrupted.min()) >= 0.0 and float(corrupted.max()) <= 1.0


def test_the_gradient_passes_through_additive_noise_where_nothing_is_clipped() -> None:
    images = torch.full((2, 3, 8, 8), 0.5, requires_grad=True)
    total = KERNELS["gaussian_noise"](images, SEEDS[:2], std=0.01).sum()
    assert torch.equal(torch.autograd.grad(total, images)[0], torch.ones_like(images))
    assert not KERNELS["shot_noise"](images, SEEDS[:2], photons=60.0).requires_grad
