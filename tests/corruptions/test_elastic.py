"""Elastic transform: the original's pixels for known draws, its parts against SciPy, and an own map for every image."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from robustcsc.corruptions import image_seeds, load_spec
from robustcsc.corruptions.elastic import displace, elastic_transform, warp_affine
from robustcsc.corruptions.filters import truncate_
from robustcsc.corruptions.windows import smooth
from robustcsc.errors import DataError

SPECS = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}
MEAN_SHIFT = {
    "cifar": (0.0, 0.04, 0.19, 0.35, 0.46),
    "imagenet": (1.2, 4.1, 0.66, 0.93, 1.6),
}  # of the original, pixels
STRONG = {"alpha": 40.0, "sigma": 3.0, "affine": 4.0}
every_cell = pytest.mark.parametrize(("family", "severity"), [(name, number) for name in SPECS for number in range(5)])


def seeds(count: int) -> Tensor:
    return image_seeds(0, "elastic_transform", 3, torch.arange(count))


def random(*shape: int, low: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(math.prod(shape))
    return torch.rand(shape, generator=generator) * (1 - low) + low


def level(family: str, severity: int) -> dict[str, float]:
    return dict(load_spec(SPECS[family]).corruptions["elastic_transform"].levels[severity])


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@every_cell
def test_it_is_the_originals_for_its_draws(reference: Any, family: str, severity: int) -> None:
    arrays, parameters = reference.arrays(family, "replay"), level(family, severity)
    affine_draws, across, down = (
        torch.from_numpy(arrays[f"draw_{name}"].astype(np.float32)) for name in ("affine_u", "elastic_ux", "elastic_uy")
    )
    images = warp_affine(reference.images(family)[: len(down)], affine_draws, affine=parameters.pop("affine"))
    images = displace(images, across, down, **parameters).clamp(0, 1)
    largest, mean = reference.difference(images, arrays["elastic_transform"][severity], arrays.get("rows"))
    assert largest <= 6 and mean <= 0.3


@pytest.mark.parametrize("alpha", [0.4, 7.0, 200.0])
def test_displace_is_scipys_interpolation_however_far_outside(alpha: float) -> None:
    images, draws = random(2, 3, 33, 47), random(2, 2, 33, 47, low=-1.0)
    displaced = displace(images, draws[:, 0], draws[:, 1], alpha=alpha, sigma=0.0).numpy()
    places = np.mgrid[:33, :47] + alpha * draws.flip(1).double().numpy()
    for image in range(2):
        for channel in range(3):
            plane = images[image, channel].double().numpy()
            expected = scipy.ndimage.map_coordinates(plane, places[image], order=1, mode="reflect")
            assert np.abs(displaced[image, channel] - expected).max() < 1e-4


@pytest.mark.parametrize("affine", [0.5, 9.0, 25.0])
@pytest.mark.parametrize("sides", [(32, 32), (33, 47)])
def test_warp_affine_moves_the_control_points_and_mirrors_at_the_last_pixel(
    affine: float, sides: tuple[int, int]
) -> None:
    images, draws = random(4, 3, *sides), random(4, 3, 2, low=-1.0)
    warped = warp_affine(images, draws, affine=affine).numpy()
    centre, third = np.array([sides[1] // 2, sides[0] // 2]), min(sides) // 3
    points = centre + third * np.array([[1, 1], [1, -1], [-1, -1]])
    rows, columns = np.mgrid[: sides[0], : sides[1]]
    here = np.stack((columns, rows, np.ones_like(rows))).reshape(3, -1).astype(float)
    for image, plane in enumerate(images.double().numpy()[:, 1]):
        moved = np.column_stack((points + affine * draws[image].double().numpy(), np.ones(3)))
        sources = np.linalg.solve(moved, points).T @ here
        expected = scipy.ndimage.map_coordinates(plane, sources[::-1].reshape(2, *sides), order=1, mode="mirror")
        assert np.abs(warped[image, 1] - expected).max() < 2e-4


def test_moving_all_points_alike_moves_the_image() -> None:
    images = random(2, 1, 9, 12)
    draws = torch.tensor([3.0, -2.0]).expand(2, 3, 2)
    moved = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 2), (3, 0)), mode="reflect")[:, :, 2:, :12]
    assert np.abs(warp_affine(images, draws, affine=1.0).numpy() - moved).max() < 1e-6


def test_without_strength_nothing_changes() -> None:
    images = random(3, 1, 7, 5)
    assert torch.equal(elastic_transform(images, seeds(3), alpha=0.0, sigma=0.0, affine=0.0), images)
    assert (displace(images, *random(2, 3, 7, 5), alpha=0.0, sigma=2.0) - images).abs().max() < 1e-6


def test_constant_areas_keep_their_level() -> None:
    levels = torch.arange(256.0).div(255.0).view(-1, 1, 1, 1).expand(-1, -1, 12, 12)
    assert torch.equal(truncate_(elastic_transform(levels, seeds(256), **STRONG)), levels)


def test_points_that_fall_on_a_line_still_give_an_image() -> None:
    draws = torch.tensor([[0.0, -2.0], [0.0, 0.0], [0.0, 0.0]])[None]  # times 5 pixels: the first meets the second
    warped = warp_affine(random(1, 3, 15, 15), draws, affine=5.0)
    assert warped.isfinite().all()


def test_strengths_of_imagenet_c_are_multiples_of_244_and_not_of_its_224_pixels() -> None:
    shares = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    for severity, each in enumerate(shares):
        found = level("imagenet", severity)
        assert (found["alpha"], found["sigma"], found["affine"]) == pytest.approx([244 * it for it in each], rel=1e-12)


@every_cell
def test_displacements_are_as_large_as_in_the_original(family: str, severity: int) -> None:
    parameters = level(family, severity)
    count, side, tolerance = (64, 32, 0.1) if family == "cifar" else (4, 224, 0.1)
    if family == "imagenet" and severity < 2:  # fields so smooth hold few independent numbers
        count, tolerance = 40, 0.25
    field = smooth(random(count, 1, side, side, low=-1.0), parameters["sigma"], reach=3.0, mirrored=True)
    shifts = field * parameters["alpha"]
    assert float(shifts.abs().mean()) == pytest.approx(MEAN_SHIFT[family][severity], rel=tolerance, abs=0.01)


def test_pixels_move_by_smoothed_uniform_draws() -> None:
    """Far from the border the shift is normal with variance alpha^2 / 3 times the sum of squared weights."""
    side, alpha, sigma = 32, 3.0, 1.5
    ramps = (torch.arange(side) / (side - 1)).expand(1, 1, side, side)
    images = torch.cat((ramps, ramps.transpose(2, 3)), 1).expand(200, -1, -1, -1)
    moved = elastic_transform(images, seeds(200), alpha=alpha, sigma=sigma, affine=0.0) - images
    shifts = (moved * (side - 1))[:, :, 7:-7, 7:-7].transpose(0, 1).flatten(1).double()
    expected = alpha**2 / 3 / (4 * math.pi * sigma**2)
    assert shifts.var(1).tolist() == pytest.approx([expected, expected], rel=0.05)
    assert shifts.mean(1).abs().max() < 0.02
    assert abs(float(torch.corrcoef(shifts)[0, 1])) < 0.05


def test_control_points_move_by_uniform_draws_of_their_own() -> None:
    """Where the three weigh alike the image moves by the mean of three uniform draws, of variance 1/9."""
    side, count, affine = 36, 2000, 0.5
    ramps = (torch.arange(side) / (side - 1)).expand(1, 1, side, side)
    images = torch.cat((ramps, ramps.transpose(2, 3)), 1).expand(count, -1, -1, -1)
    moved = elastic_transform(images, seeds(count), alpha=0.0, sigma=0.0, affine=affine) - images
    shifts = (moved[:, :, 18 - 12 // 3, 18 + 12 // 3] * (side - 1) / affine).double()
    assert shifts.var(0).tolist() == pytest.approx([1 / 9, 1 / 9], rel=0.15)
    assert shifts.mean(0).abs().max() < 5 * math.sqrt(1 / 9 / count)
    assert abs(float(torch.corrcoef(shifts.t())[0, 1])) < 0.1


@pytest.mark.parametrize(("count", "height", "width"), [(256, 32, 32), (256, 33, 47), (5, 224, 224)])
def test_an_image_alone_is_the_image_in_a_batch(count: int, height: int, width: int) -> None:
    images = random(count, 3, height, width)
    batch = elastic_transform(images, seeds(count), **STRONG)
    for i in (0, 1, count // 2, count - 1):
        assert torch.equal(elastic_transform(images[i : i + 1], seeds(count)[i : i + 1], **STRONG)[0], batch[i])


def test_one_thread_and_two_give_the_same(threads: Callable[[int], None]) -> None:
    images = random(30, 3, 33, 47)  # enough for torch to share the work out
    threads(1)
    alone = elastic_transform(images, seeds(30), **STRONG)
    threads(2)
    assert torch.equal(elastic_transform(images, seeds(30), **STRONG), alone)


def test_copies_of_an_image_are_moved_differently() -> None:
    image = random(1, 3, 32, 32).expand(8, -1, -1, -1)
    for strength in (STRONG, STRONG | {"alpha": 0.0}, STRONG | {"affine": 0.0}):
        moved = elastic_transform(image, seeds(8), **strength).flatten(1)
        assert torch.cdist(moved, moved).add(torch.eye(8) * 100).min() > 1


def test_channels_move_together_and_may_be_any_number() -> None:
    grey = random(4, 1, 20, 20)
    moved = elastic_transform(grey, seeds(4), **STRONG)
    five = elastic_transform(grey.expand(-1, 5, -1, -1), seeds(4), **STRONG)
    assert torch.equal(five, moved.expand(-1, 5, -1, -1))


def test_float64_and_strided_images_and_empty_batches() -> None:
    images = random(3, 3, 16, 16)
    moved = elastic_transform(images, seeds(3), **STRONG)
    double = elastic_transform(images.double(), seeds(3), **STRONG)
    assert double.dtype == torch.float64 and torch.equal(double, moved.double())
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(elastic_transform(strided, seeds(3), **STRONG), moved)
    assert elastic_transform(images[:0], seeds(0), **STRONG).shape == (0, 3, 16, 16)


def test_images_too_small_for_the_control_points_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^Corruption elastic_transform needs images of at least 3 x 3 pixels, not 2 x 9\.$"
    ):
        elastic_transform(random(1, 3, 2, 9), seeds(1), **STRONG)
    assert elastic_transform(random(1, 3, 3, 3), seeds(1), **STRONG).shape == (1, 3, 3, 3)
