"""The blurs against the original functions, pixel by pixel, and against literal loops."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from robustcsc.corruptions import KERNELS, image_seeds, load_spec
from robustcsc.corruptions.blur import defocus_blur, disc_kernel, gaussian_blur, glass_blur, shatter, smear, zoom_blur
from robustcsc.errors import DataError

TABLES = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}
DETERMINISTIC = ("gaussian_blur", "defocus_blur", "zoom_blur")
RANDOM = ("glass_blur", "motion_blur")
SEEDS = image_seeds(0, "blur", 1, torch.arange(256))


def random_images(*shape: int) -> Tensor:
    """Images of all 256 levels."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(sum(shape))) / 255


def levels(family: str, name: str) -> Any:
    return load_spec(TABLES[family]).corruptions[name].levels


@pytest.mark.parametrize("family", TABLES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_pixels_are_those_of_the_original(reference: Any, family: str, name: str) -> None:
    images, expected = reference.images(family), reference.arrays(family, "deterministic")
    for severity, level in enumerate(levels(family, name)):
        blurred = KERNELS[name](images, SEEDS[: len(images)], **level)
        largest, mean = reference.difference(blurred, expected[name][severity], expected.get("rows"))
        assert largest <= 1 and mean <= 0.05, (severity + 1, largest, mean)


@pytest.mark.parametrize("family", TABLES)
def test_recorded_angles_give_the_original_motion_blur(reference: Any, family: str) -> None:
    replay = reference.arrays(family, "replay")
    draws = torch.from_numpy(replay["draw_angle_u"].astype(np.float64))
    images = reference.images(family)[: len(draws)]
    for severity, level in enumerate(levels(family, "motion_blur")):
        blurred = smear(images, draws, **level)
        largest, mean = reference.difference(blurred, replay["motion_blur"][severity], replay.get("rows"))
        assert largest <= 1 and mean <= 0.01, (severity + 1, largest, mean)


@pytest.mark.parametrize("family", TABLES)
def test_recorded_offsets_give_the_original_glass_blur(reference: Any, family: str) -> None:
    replay, compared = reference.arrays(family, "replay"), 0
    for severity, level in enumerate(levels(family, "glass_blur")):
        if f"draw_glass_offsets_{severity + 1}" in replay:  # else those of the severity before serve this one as well
            offsets = torch.from_numpy(replay[f"draw_glass_offsets_{severity + 1}"])
        images = reference.images(family)[: len(offsets)]
        assert offsets.shape[1] == level["passes"]
        blurred = shatter(images, offsets, sigma=level["sigma"], distance=level["distance"])
        largest, mean = reference.difference(blurred, replay["glass_blur"][severity], replay.get("rows"))
        assert largest <= 1 and mean <= 0.05, (severity + 1, largest, mean)
        compared += 1
    assert compared == 5


def shuffled(image: np.ndarray, offsets: np.ndarray, distance: int) -> np.ndarray:
    """The shuffle of one (C, H, W) image, pixel after pixel."""
    image = image.copy()
    height, width = image.shape[1:]
    for moves in offsets:
        visits = iter(moves.tolist())
        for row in range(height - distance, distance, -1):
            for column in range(width - distance, distance, -1):
                right, down = next(visits)
                image[:, row, column] = image[:, row + down, column + right]
    return image


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_shatter_without_blur_is_the_loop_over_pixels(distance: int) -> None:
    images = random_images(6, 3, 17, 14)
    visited = (17 - 2 * distance) * (14 - 2 * distance)
    generator = torch.Generator().manual_seed(distance)
    offsets = torch.randint(-distance, distance, (6, 3, visited, 2), generator=generator)
    got = shatter(images, offsets, sigma=0.05, distance=distance)
    for image in range(6):
        assert np.array_equal(got[image].numpy(), shuffled(images[image].numpy(), offsets[image].numpy(), distance))


def test_a_shatter_that_leads_onwards_at_every_step_is_followed_to_its_end() -> None:
    images = random_images(1, 1, 40, 40)
    offsets = torch.ones(1, 1, 36 * 36, 2, dtype=torch.int64)
    got = shatter(images, offsets, sigma=0.0, distance=2)
    assert torch.equal(got[0, 0, 3, 3], images[0, 0, 39, 39])  # through the 36 pixels between, all read before
    assert np.array_equal(got[0].numpy(), shuffled(images[0].numpy(), offsets[0].numpy(), 2))


@pytest.mark.parametrize("distance", [1, 3])
def test_glass_blur_draws_every_offset_equally_often_and_never_the_largest(distance: int) -> None:
    side = 4 * distance + 1
    ramp = torch.arange(side * side, dtype=torch.float64).view(1, 1, side, side) / 255
    images = ramp.expand(256, -1, -1, -1)
    moved = glass_blur(images, SEEDS, sigma=0.0, distance=distance, passes=1)
    last = side - distance  # the pixel visited first reads the image as it was
    source = (moved[:, 0, last, last] * 255).round().to(torch.int64)
    for steps in (source % side - last, source // side - last):
        counts = torch.bincount(steps + distance, minlength=2 * distance + 1)
        assert counts[2 * distance] == 0
        expected = 256 / (2 * distance)
        assert float((counts[:-1] - expected).abs().max()) < 4.5 * math.sqrt(expected)


def test_glass_blur_leaves_its_frame_and_copies_pixels_as_a_whole() -> None:
    images = random_images(8, 3, 20, 24)
    for distance in (1, 3):
        glass = glass_blur(images, SEEDS[:8], sigma=0.0, distance=distance, passes=2)
        inside = torch.zeros(20, 24, dtype=torch.bool)
        inside[distance + 1 : 21 - distance, distance + 1 : 25 - distance] = True
        assert torch.equal(glass[..., ~inside], images[..., ~inside])
        assert not torch.equal(glass[..., inside], images[..., inside])
        colours = {tuple(pixel) for pixel in images[0].flatten(1).T.tolist()}
        assert {tuple(pixel) for pixel in glass[0].flatten(1).T.tolist()} < colours  # some are lost, none is new


def original_disc(radius: float, alias_sigma: float) -> np.ndarray:
    half, size = (8, 3) if radius <= 8 else (int(radius), 5)
    offsets = np.arange(-half, half + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-(size // 2), size // 2 + 1) ** 2) / (2 * alias_sigma**2))
    soft: np.ndarray = disc / disc.sum()
    for axis in (0, 1):
        soft = scipy.ndimage.correlate1d(soft, taps / taps.sum(), axis, mode="mirror")
    return soft


@pytest.mark.parametrize(
    ("radius", "alias_sigma", "side"),
    [(0.3, 0.4, 3), (0.5, 0.6, 3), (1.0, 0.2, 5), (1.5, 0.1, 3), (3.0, 0.1, 7), (6.0, 0.5, 15), (8.0, 0.5, 17)],
)
def test_the_disc_is_the_smoothed_one_without_its_empty_rings(radius: float, alias_sigma: float, side: int) -> None:
    kernel, expected = disc_kernel(radius, alias_sigma), original_disc(radius, alias_sigma)
    assert kernel.shape == (side, side)
    margin = (len(expected) - side) // 2
    padded = np.pad(kernel.numpy(), margin)
    assert np.abs(padded - expected).max() <= 1e-10


def test_large_discs_brighten_and_small_ones_do_not() -> None:
    assert float(disc_kernel(8.0, 0.5).sum()) == pytest.approx(1.012975, abs=5e-7)
    assert float(disc_kernel(10.0, 0.5).sum()) == pytest.approx(1.010786, abs=5e-7)
    assert np.abs(disc_kernel(10.0, 0.5).numpy() - original_disc(10.0, 0.5)).max() <= 1e-10
    for radius, alias_sigma in ((0.3, 0.4), (1.5, 0.1), (3.0, 0.1), (6.0, 0.5)):
        assert float(disc_kernel(radius, alias_sigma).sum()) == pytest.approx(1.0, abs=1e-9)


def test_defocus_blur_is_the_correlation_with_its_disc() -> None:
    images = random_images(2, 3, 23, 30).double()
    expected = scipy.ndimage.correlate(images.numpy(), original_disc(6.0, 0.5)[None, None], mode="mirror")
    got = defocus_blur(images, SEEDS[:2], radius=6.0, alias_sigma=0.5)
    assert np.abs(got.numpy() - expected).max() < 1e-8


@pytest.mark.parametrize("family", TABLES)
def test_constant_images_stay_so(family: str) -> None:
    images = torch.tensor([0.0, 63.0, 128.0, 255.0]).div(255).view(4, 1, 1, 1).expand(-1, 3, 40, 37)
    for name in (*DETERMINISTIC, *RANDOM):
        for level in levels(family, name):
            gain = 1.0
            if name == "defocus_blur" and level["radius"] >= 8:
                gain = 1.012975 if level["radius"] == 8 else 1.010786
            blurred = KERNELS[name](images, SEEDS[:4], **level)
            assert float((blurred - (images * gain).clamp(max=1.0)).abs().max()) < 1e-6, (name, level)


def test_zoom_blur_counts_the_image_twice_and_keeps_it_dominant_in_the_middle() -> None:
    images = torch.zeros(1, 1, 33, 33)
    images[..., 16, 16] = 1.0
    blurred = zoom_blur(images, SEEDS[:1], last=1.0, step=0.01)
    assert torch.equal(blurred, images)  # the image and its zoom by 1
    images = random_images(1, 1, 224, 224).double()
    once, twice = (zoom_blur(images, SEEDS[:1], last=last, step=0.1) for last in (1.1, 1.2))
    larger = (4 * twice - 3 * once)[0, 0]  # the last zoom alone
    crop = scipy.ndimage.zoom(images[0, 0, 18:205, 18:205].numpy(), 1.2, order=1)
    assert np.abs(larger.numpy() - crop[:224, :224]).max() < 1e-12


def test_gaussian_blur_is_symmetric_and_ignores_the_seeds() -> None:
    images = random_images(2, 3, 15, 18)
    blurred = gaussian_blur(images, SEEDS[:2], sigma=1.5)
    assert torch.allclose(gaussian_blur(images.flip(2, 3), SEEDS[2:4], sigma=1.5), blurred.flip(2, 3), atol=1e-6)
    unblurred = gaussian_blur(images, SEEDS[:2], sigma=0.0)
    assert torch.equal(unblurred, images) and unblurred is not images


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("name", [*DETERMINISTIC, *RANDOM])
@pytest.mark.parametrize(
    ("family", "shape"), [("cifar", (100, 3, 32, 32)), ("imagenet", (2, 3, 224, 224)), ("cifar", (40, 1, 27, 43))]
)
def test_an_image_is_the_same_to_the_bit_alone_and_in_a_batch(name: str, family: str, shape: tuple[int, ...]) -> None:
    images, seeds, level = random_images(*shape), SEEDS[: shape[0]], levels(family, name)[4]
    torch.set_num_threads(1)
    whole = KERNELS[name](images, seeds, **level)
    for image in (0, 1, shape[0] - 1):
        alone = KERNELS[name](images[image : image + 1], seeds[image : image + 1], **level)
        assert torch.equal(alone[0], whole[image])
    torch.set_num_threads(2)
    assert torch.equal(KERNELS[name](images.flip(0), seeds.flip(0), **level).flip(0), whole)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("family", TABLES)
def test_copies_of_one_image_are_blurred_differently(name: str, family: str) -> None:
    images = random_images(1, 3, 32, 32).expand(64, -1, -1, -1)
    blurred = KERNELS[name](images, SEEDS[:64], **levels(family, name)[0])
    different = len(torch.unique(blurred.flatten(1), dim=0))
    assert different == 64 if name == "glass_blur" else different >= 16  # nearby angles share their whole offsets


def test_motion_blur_turns_up_to_45_degrees_either_way() -> None:
    images = torch.zeros(256, 1, 41, 41)
    images[..., 20, 20] = 1.0
    blurred = KERNELS["motion_blur"](images, SEEDS, radius=10.0, sigma=1e6)[:, 0]
    rows, columns = (blurred > 0).nonzero()[:, 1:].unbind(1)
    assert int(columns.max()) == 20 and int(columns.min()) == 0
    assert int((rows - 20).abs().max()) == 14  # 20 sin 45 degrees
    downwards = (blurred[:, 21:].sum((1, 2)) > 0.05).double().mean()
    assert float(downwards) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("name", [*DETERMINISTIC, *RANDOM])
def test_kernels_keep_type_and_range_and_change_nothing(name: str) -> None:
    level = levels("cifar", name)[3]
    images = random_images(4, 3, 14, 19)
    before, seeds = images.clone(), SEEDS[:4].clone()
    single, double = (KERNELS[name](x, seeds, **level) for x in (images, images.double()))
    assert torch.equal(images, before) and torch.equal(seeds, SEEDS[:4])
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    tolerance = {"glass_blur": 1 / 255, "motion_blur": 1.1 / 65535}.get(name, 0.0) + 1e-6
    assert float((single - double).abs().max()) <= tolerance
    beyond = KERNELS[name](images * 2 - 0.5, seeds, **level)
    assert float(beyond.min()) >= 0.0 and float(beyond.max()) <= 1.0
    assert KERNELS[name](images[:0], seeds[:0], **level).shape == images[:0].shape


def test_images_smaller_than_a_kernel_are_refused_with_the_sizes() -> None:
    with pytest.raises(DataError, match=r"defocus_blur .* 21 x 21 .* at least 11 pixels a side, not 32 x 10: "):
        defocus_blur(torch.rand(2, 3, 32, 10), SEEDS[:2], radius=10.0, alias_sigma=0.5)
    assert defocus_blur(torch.rand(2, 3, 11, 11), SEEDS[:2], radius=10.0, alias_sigma=0.5).shape == (2, 3, 11, 11)
    with pytest.raises(DataError, match=r"glass_blur .* distance of 4 needs .* 9 pixels a side, not 8 x 32: "):
        glass_blur(torch.rand(2, 3, 8, 32), SEEDS[:2], sigma=1.0, distance=4, passes=1)
    assert glass_blur(torch.rand(2, 3, 9, 9), SEEDS[:2], sigma=1.0, distance=4, passes=1).shape == (2, 3, 9, 9)
