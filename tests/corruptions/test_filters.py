"""The filters against scipy, NumPy and literal loops, and the same for an image in any company."""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from robustcsc.corruptions import filters, windows

SHAPES = [(2, 3, 21, 34), (1, 1, 32, 32), (2, 1, 1, 7)]


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def angles(count: int, low: float = -180.0, high: float = 180.0) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, dtype=torch.float64, generator=generator) * (high - low) + low


def even_table(height: int, width: int) -> Tensor:
    kernel = torch.rand(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    kernel[0, 0] = 0.0
    kernel = kernel + kernel.flip(1)
    return kernel / kernel.sum()


def test_weighted_rows_adds_up_the_rows_named() -> None:
    table = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    indices, weights = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[1.0, 0.5], [1.0, 2.0]])
    assert windows.weighted_rows(table, indices, weights).tolist() == [[3.0, 30.0], [6.0, 60.0]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.2, 0.25, 1.0, 2.4, 6.0])
def test_smooth_is_scipys_gaussian_filter(shape: tuple[int, ...], sigma: float) -> None:
    images = random_images(*shape)
    sigmas = (0.0, 0.0, sigma, sigma)
    expected = scipy.ndimage.gaussian_filter(images.numpy(), sigmas, mode="nearest", truncate=4.0)
    assert np.abs(windows.smooth(images, sigma).numpy() - expected).max() < 1e-14
    assert np.abs(windows.smooth(images.float(), sigma).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (2, 1, 33, 47), (1, 2, 130, 61), (1, 1, 16, 224)])
@pytest.mark.parametrize("sigma", [0.16, 0.17, 1.28, 6.4, 19.52, 170.8])
def test_smooth_with_mirrors_is_scipys_however_often(shape: tuple[int, ...], sigma: float) -> None:
    images = random_images(*shape)
    sigmas = (0.0, 0.0, sigma, sigma)
    expected = scipy.ndimage.gaussian_filter(images.numpy(), sigmas, mode="reflect", truncate=3.0)
    smoothed = windows.smooth(images, sigma, reach=3.0, mirrored=True)
    assert np.abs(smoothed.numpy() - expected).max() < 1e-14
    assert np.abs(windows.smooth(images.float(), sigma, reach=3.0, mirrored=True).numpy() - expected).max() < 1e-6


def test_a_gaussian_of_a_single_tap_returns_the_images() -> None:
    images = random_images(2, 3, 8, 8)
    assert windows.smooth(images, 0.1).equal(images) and windows.smooth(images, 0.0).equal(images)
    assert windows.gaussian_taps(1e-300, 2).tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [(3, 3), (5, 1), (1, 9), (13, 15)])
def test_correlate_is_scipys(size: tuple[int, int]) -> None:
    images, table = random_images(2, 3, 14, 19), even_table(*size)
    expected = scipy.ndimage.correlate(images.numpy(), table.numpy()[None, None], mode="mirror")
    kernel = windows.even_kernel(table)
    assert np.abs(windows.correlate(images, kernel).numpy() - expected).max() < 1e-14
    assert np.abs(windows.correlate(images.float(), kernel).numpy() - expected).max() < 1e-6


def moved(image: np.ndarray, angle: float, radius: int, sigma: float) -> np.ndarray:
    """The motion blur of a (C, H, W) image, tap by tap and in the words of its definition."""
    height, width = image.shape[1:]
    total = np.zeros_like(image)
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    for tap, weight in enumerate(weights / weights.sum()):
        column = math.ceil(tap * math.cos(math.radians(angle)) - 0.5)
        row = math.ceil(tap * math.sin(math.radians(angle)) - 0.5)
        rows, columns = np.arange(height) + row, np.arange(width) + column
        total += weight * image[:, rows.clip(0, height - 1)][:, :, columns.clip(0, width - 1)]
    return np.floor(total * 65535 + 0.5) / 65535


@pytest.mark.parametrize("shape", [(40, 3, 21, 34), (12, 1, 5, 6)])
@pytest.mark.parametrize(("radius", "sigma"), [(6, 2.0), (10, 30.0), (0, 1.0)])
def test_motion_follows_each_images_own_ray(shape: tuple[int, ...], radius: int, sigma: float) -> None:
    images, degrees = random_images(*shape), angles(shape[0])
    double = filters.motion(images, degrees, radius=float(radius), sigma=sigma)
    single = filters.motion(images.float(), degrees, radius=float(radius), sigma=sigma)
    for image in range(shape[0]):
        expected = moved(images[image].numpy(), float(degrees[image]), radius, sigma)
        assert np.abs(double[image].numpy() - expected).max() < 1e-12
        assert np.abs(single[image].numpy() - expected).max() < 1.1 / 65535


@pytest.mark.parametrize("shape", [(40, 3, 21, 34), (12, 1, 5, 6)])
def test_rays_gathered_by_angles_that_the_host_does_not_know_are_the_same(shape: tuple[int, ...]) -> None:
    images, degrees = random_images(*shape), angles(shape[0])
    weights = [math.exp(-tap * tap / 8.0) for tap in range(13)]
    ratios = [after / before for before, after in itertools.pairwise(weights)]
    sums = filters.gathered_ray_sums(images, degrees, ratios)
    rounded = (sums / math.fsum(weights) * 65535).add(0.5).floor() / 65535
    assert torch.equal(rounded, filters.motion(images, degrees, radius=6, sigma=2.0))


def test_motion_is_one_sided_and_rounds_to_16_bits() -> None:
    images = torch.zeros(4, 1, 9, 9)
    images[:, :, 4, 4] = 1.0
    degrees = torch.tensor([0.0, 90.0, 180.0, -90.0])
    right, down, left, up = filters.motion(images, degrees, radius=1, sigma=1e6)[:, 0]
    third = round(65535 / 3) / 65535
    for got, rows, columns in (
        (right, [4, 4, 4], [4, 3, 2]),  # pixels whose ray runs to the right see the dot from its left
        (down, [4, 3, 2], [4, 4, 4]),
        (left, [4, 4, 4], [4, 5, 6]),
        (up, [4, 5, 6], [4, 4, 4]),
    ):
        expected = torch.zeros(9, 9)
        expected[rows, columns] = third
        assert torch.allclose(got, expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_motion_keeps_the_256_levels_of_constant_images(dtype: torch.dtype) -> None:
    levels = torch.arange(256).to(dtype).div(255).view(256, 1, 1, 1).expand(-1, 1, 4, 4)
    for radius, sigma in ((6, 1.0), (20, 15.0), (3, 0.0)):
        blurred = filters.motion(levels, angles(256), radius=radius, sigma=sigma)
        assert torch.equal(filters.truncate_(blurred), levels)


def test_truncate_cuts_and_keeps_the_256_levels() -> None:
    for dtype in (torch.float32, torch.float64):
        levels = torch.arange(256).to(dtype) / 255
        assert torch.equal(filters.truncate_(levels.clone()), levels)
        assert torch.equal(filters.truncate_(levels[:-1] + 0.9 / 255), levels[:-1])


def test_values_below_a_bound_are_cleared_and_those_at_it_stay() -> None:
    bound = float(torch.tensor(0.8))
    values = torch.tensor([bound, np.nextafter(np.float32(0.8), np.float32(0)), -3.0, 2.0, 0.0])
    assert filters.clear_below_(values, 0.8).tolist() == [bound, 0.0, 0.0, 2.0, 0.0]


def zoomed(line: np.ndarray, factor: float) -> np.ndarray:
    """Crop, corner-aligned linear enlargement and crop of the last axis."""
    side = line.shape[-1]
    crop = math.ceil(side / factor)
    start = (side - crop) // 2
    enlarged = round(crop * factor)
    positions = np.arange(enlarged) * (crop - 1) / max(enlarged - 1, 1)
    trim = (enlarged - side) // 2
    lines = line[..., start : start + crop].reshape(-1, crop)
    result = np.stack([np.interp(positions, np.arange(crop), each)[trim : trim + side] for each in lines])
    return result.reshape(*line.shape[:-1], side)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 64, 65)])
@pytest.mark.parametrize("factor", [1.0, 1.01, 1.06, 1.25, 1.75, 2.25, 4.5, 10.0])
def test_zoom_is_a_literal_enlargement_along_each_axis(shape: tuple[int, ...], factor: float) -> None:
    images = random_images(*shape)
    expected = zoomed(zoomed(images.numpy(), factor).swapaxes(2, 3), factor).swapaxes(2, 3)
    assert np.abs(filters.zoom(images, factor).numpy() - expected).max() < 1e-12
    assert np.abs(filters.zoom(images.float(), factor).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("factor", [1.1, 1.25, 2.5])
def test_zoom_is_scipys(factor: float) -> None:
    images = random_images(1, 1, 50, 50)
    crop = math.ceil(50 / factor)
    start = (50 - crop) // 2
    middle = images[0, 0].numpy()[start : start + crop, start : start + crop]
    enlarged = scipy.ndimage.zoom(middle, factor, order=1)
    trim = (len(enlarged) - 50) // 2
    expected = enlarged[trim : trim + 50, trim : trim + 50]
    assert np.abs(filters.zoom(images, factor)[0, 0].numpy() - expected).max() < 1e-12


def test_small_zooms_of_32_pixels_follow_the_whole_numbers() -> None:
    images = random_images(2, 3, 32, 32)
    assert torch.equal(filters.zoom(images, 1.01), images)  # 32 pixels to 32
    assert torch.equal(filters.zoom(images, 1.02), filters.zoom(images, 1.03))  # 32 pixels to 33, the last dropped
    assert torch.equal(filters.zoom(images, 1.03)[..., 0, 0], images[..., 0, 0])


def test_zoom_by_several_factors_is_the_mean_of_the_zooms() -> None:
    images = random_images(2, 3, 32, 20)
    factors = (1.0, 1.0, 1.01, 1.1, 1.3)
    expected = torch.stack([filters.zoom(images, factor) for factor in factors]).mean(0)
    assert torch.allclose(filters.zoom(images, *factors), expected, atol=1e-14)
    assert torch.allclose(filters.zoom(torch.full((1, 1, 9, 9), 0.7), *factors), torch.tensor(0.7), atol=1e-6)


FILTERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smooth": lambda images, _: windows.smooth(images, 1.3),
    "smooth with mirrors": lambda images, _: windows.smooth(images, 1.3, reach=3.0, mirrored=True),
    "correlate": lambda images, _: windows.correlate(images, windows.even_kernel(even_table(7, 7))),
    "motion": lambda images, degrees: filters.motion(images, degrees, radius=6, sigma=2.0),
    "zoom": lambda images, _: filters.zoom(images, 1.0, 1.1, 1.25),
}


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(64, 3, 32, 32), (30, 1, 29, 33), (7, 3, 61, 64)])
def test_an_image_is_the_same_to_the_bit_alone_and_in_a_batch(
    name: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    images, degrees, apply = random_images(*shape).to(dtype), angles(shape[0], -45.0, 45.0), FILTERS[name]
    torch.set_num_threads(1)
    whole = apply(images, degrees)
    for image in {0, 1, shape[0] // 2, shape[0] - 1}:
        assert torch.equal(apply(images[image : image + 1], degrees[image : image + 1])[0], whole[image])
    assert torch.equal(apply(images[2:5], degrees[2:5]), whole[2:5])
    torch.set_num_threads(2)
    assert torch.equal(apply(images.flip(0), degrees.flip(0)).flip(0), whole)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_take_empty_batches_and_other_memory_orders_and_change_nothing(name: str) -> None:
    apply = FILTERS[name]
    assert apply(torch.empty(0, 3, 16, 16), torch.empty(0)).shape == (0, 3, 16, 16)
    images, degrees = random_images(5, 3, 16, 18), angles(5)
    before = images.clone()
    expected = apply(images, degrees)
    assert torch.equal(images, before)
    assert torch.equal(apply(images.to(memory_format=torch.channels_last), degrees), expected)
    assert torch.equal(apply(images.repeat_interleave(2, 3)[..., ::2], degrees), expected)
