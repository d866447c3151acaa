from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.training.augment import add_gaussian_noise, crop_and_flip


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (1, False), (2, True)])
def test_every_output_is_one_of_the_possible_crops_and_all_of_them_come_up(padding: int, flip: bool) -> None:
    images = random_images(600, 2, 5, 7)
    outputs = crop_and_flip(images, padding, flip, seeded(1))
    padded = F.pad(images, (padding,) * 4)
    counts: dict[tuple[bool, int, int], int] = {}
    for image, output in zip(padded, outputs, strict=True):
        matches = []
        for top in range(2 * padding + 1):
            for left in range(2 * padding + 1):
                crop = image[:, top : top + 5, left : left + 7]
                matches += [(False, top, left)] if torch.equal(crop, output) else []
                matches += [(True, top, left)] if torch.equal(crop.flip(2), output) else []
        (place,) = matches
        counts[place] = counts.get(place, 0) + 1
    places = (2 * padding + 1) ** 2
    assert len(counts) == places * (2 if flip else 1)
    assert flip == any(mirrored for mirrored, _, _ in counts)
    if flip:  # binomial(600, 1/2): within 5 standard deviations
        assert abs(sum(count for (mirrored, _, _), count in counts.items() if mirrored) - 300) < 62


def test_without_padding_and_flip_nothing_changes() -> None:
    images = random_images(6, 3, 4, 5)
    assert torch.equal(crop_and_flip(images, 0, False, seeded(1)), images)


def test_crops_and_noise_come_from_the_generator_alone() -> None:
    images = random_images(20, 1, 8, 8)
    before = torch.random.get_rng_state()
    crops = [crop_and_flip(images, 2, True, seeded(seed)) for seed in (1, 1, 2)]
    noisy = [add_gaussian_noise(images, 0.2, seeded(seed)) for seed in (1, 1, 2)]
    for first, again, other in (crops, noisy):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_exactly_half_of_the_images_get_noise(count: int) -> None:
    images = random_images(count, 1, 8, 8)
    noisy = add_gaussian_noise(images, 0.2, seeded(3))
    assert sum(not torch.equal(a, b) for a, b in zip(images, noisy, strict=True)) == count // 2
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_the_noise_of_an_image_has_a_strength_between_zero_and_the_largest() -> None:
    images = torch.full((400, 1, 32, 32), 0.5)
    noise = add_gaussian_noise(images, 0.1, seeded(4)) - 0.5
    stds = noise.flatten(1).std(1)
    stds = stds[stds > 0]
    assert len(stds) == 200
    assert stds.max() < 0.1 * 1.1  # 1024 values: 2.2 % error of a standard deviation
    # Uniform in [0, 0.1]: mean 0.05 and standard deviation 0.0289 over 200 images
    assert stds.mean().item() == pytest.approx(0.05, abs=5 * 0.0289 / 200**0.5)
    assert stds.std().item() == pytest.approx(0.0289, rel=0.2)
    assert noise.mean().abs() < 5 * 0.06 / 400 / 1024**0.5 * 400**0.5
