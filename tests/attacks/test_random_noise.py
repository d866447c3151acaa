import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcsc.attacks.random_noise import CONTROLS, relative_noise
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import Norm, ThreatModel


def random_images(count: int, shape: tuple[int, int, int] = (3, 8, 8)) -> Tensor:
    brightness = torch.linspace(0.05, 1, count).view(-1, 1, 1, 1)
    return brightness * torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rho", [0.01, 0.2])
def test_the_energy_of_the_noise_is_rho_times_that_of_each_image(rho: float) -> None:
    images = random_images(4)
    count = 2000  # copies with a noise of their own
    ratios = torch.zeros(4)
    for at, image in enumerate(images):
        noise = relative_noise(image.expand(count, -1, -1, -1), rho, seed=0, indices=torch.arange(count))
        ratios[at] = noise.double().square().sum((1, 2, 3)).mean() / image.double().square().sum()
        assert abs(noise.mean().item()) < 5 * noise.std().item() / math.sqrt(noise.numel())
    # The energy is rho times a mean of count * 192 squares of standard normal numbers.
    torch.testing.assert_close(ratios, torch.full((4,), rho), rtol=5 * math.sqrt(2 / (count * 192)), atol=0)


def test_noise_is_gaussian() -> None:
    noise = relative_noise(torch.ones(100, 3, 16, 16), 0.25, seed=3, indices=torch.arange(100)).double().flatten()
    for sigmas, share in ((0.5, 0.6170751), (1, 0.3173105), (2, 0.0455003)):  # beyond so many deviations of 0.5
        measured = (noise.abs() > 0.5 * sigmas).double().mean().item()
        assert measured == pytest.approx(share, abs=5 * math.sqrt(share / noise.numel()))


def test_an_image_has_its_noise_in_any_batch() -> None:
    images, indices = random_images(9), torch.arange(9) * 7
    together = relative_noise(images, 0.1, seed=1, indices=indices)
    for row in (0, 4, 8):
        assert torch.equal(
            relative_noise(images[row : row + 1], 0.1, seed=1, indices=indices[row : row + 1])[0], together[row]
        )
    assert not torch.equal(relative_noise(images, 0.1, seed=2, indices=indices), together)


def test_at_another_energy_it_is_the_same_noise_longer() -> None:
    images, indices = random_images(3), torch.arange(3)
    short, long = (relative_noise(images, rho, seed=0, indices=indices) for rho in (0.01, 0.04))
    torch.testing.assert_close(2 * short, long)
    assert relative_noise(images, 0.0, seed=0, indices=indices).abs().max() == 0


def test_black_images_stay_black_and_none_stay_none() -> None:
    assert relative_noise(torch.zeros(2, 1, 3, 3), 0.5, seed=0, indices=torch.arange(2)).abs().max() == 0
    assert relative_noise(torch.zeros(0, 1, 3, 3), 0.5, seed=0, indices=torch.arange(0)).shape == (0, 1, 3, 3)


@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_energies_that_make_no_sense_are_refused(rho: float) -> None:
    with pytest.raises(AttackError, match="rho must be a finite number of at least 0"):
        relative_noise(random_images(1), rho, seed=0, indices=torch.arange(1))


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(sorted(CONTROLS)),
    norm=st.sampled_from(["linf", "l2"]),
    size=st.floats(1e-6, 1),
    seed=st.integers(0, 1000),
)
def test_controls_lie_on_the_surface_of_the_ball(
    name: Literal["random-sign", "gaussian"], norm: Norm, size: float, seed: int
) -> None:
    found = CONTROLS[name]((3, 6, 5), ThreatModel(norm, size), seed).double()
    length = found.abs().max() if norm == "linf" else found.norm()
    assert size * (1 - 1e-6) <= length.item() <= size
    assert torch.equal(CONTROLS[name]((3, 6, 5), ThreatModel(norm, size), seed).double(), found)
    assert not torch.equal(CONTROLS[name]((3, 6, 5), ThreatModel(norm, size), seed + 1).double(), found)


def test_random_signs_are_the_corners_of_the_ball() -> None:
    found = CONTROLS["random-sign"]((3, 32, 32), ThreatModel("linf", 0.25), 0)
    assert set(found.flatten().tolist()) == {-0.25, 0.25}
    assert abs((found > 0).float().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(found.numel())
