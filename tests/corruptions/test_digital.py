"""Brightness, contrast, saturate, pixelate and JPEG against the original functions, colorsys and Pillow."""

import colorsys
import io
import threading
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustcsc.corruptions import apply_kernel, image_seeds, load_spec
from robustcsc.corruptions.filters import truncate_
from robustcsc.corruptions.jpeg import through_jpeg
from robustcsc.errors import DataError, SpecError

SPECS = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}
#: Largest and mean difference in grey levels, from the reference data's own list; 0 where nothing may differ.
TOLERANCES = {
    "brightness": (1, 0.10),
    "contrast": (1, 0.05),
    "saturate": (1, 0.20),
    "pixelate": (0, 0.0),
    "jpeg_compression": (0, 0.0),
}
STRENGTHS: dict[str, dict[str, float]] = {
    "brightness": {"shift": 0.2},
    "contrast": {"factor": 0.4},
    "saturate": {"gain": 2.0, "shift": 0.1},
    "pixelate": {"scale": 0.6},
    "jpeg_compression": {"quality": 50},
}
SEEDS = image_seeds(0, "digital", 1, torch.arange(256))


def random_images(count: int, channels: int, height: int, width: int) -> Tensor:
    """Images of all 256 levels."""
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(256, (count, channels, height, width), generator=generator) / 255


def run(name: str, images: Tensor, **strength: float) -> Tensor:
    return apply_kernel(images, name, strength or STRENGTHS[name], SEEDS[: len(images)])


@pytest.mark.parametrize("family", SPECS)
@pytest.mark.parametrize("name", TOLERANCES)
def test_pixels_are_those_of_the_original(reference: Any, family: str, name: str) -> None:
    images = reference.images(family)
    expected = reference.arrays(family, "deterministic")
    largest, mean = TOLERANCES[name]
    for severity, level in enumerate(load_spec(SPECS[family]).corruptions[name].levels):
        got = reference.difference(run(name, images, **level), expected[name][severity], expected.get("rows"))
        assert got[0] <= largest and got[1] <= mean, (severity + 1, got)


def test_jpeg_of_images_that_never_were_jpeg_is_the_original(reference: Any) -> None:
    images = reference.images("cifar", "photos")
    expected = reference.arrays("cifar", "deterministic")["photos_jpeg_compression"]
    for severity, level in enumerate(load_spec("cifar10_c").corruptions["jpeg_compression"].levels):
        assert reference.difference(run("jpeg_compression", images, **level), expected[severity]) == (0.0, 0.0)


def through_hsv(images: Tensor, change: Callable[[float, float, float], tuple[float, float, float]]) -> Tensor:
    """The images with their hue, saturation and value changed pixel by pixel by the standard library."""
    pixels = images.double().permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in pixels]
    height, width = images.shape[2:]
    return torch.tensor(changed, dtype=torch.float64).view(-1, height, width, 3).permute(0, 3, 1, 2)


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@pytest.fixture(scope="module")
def colours() -> Tensor:
    """Random colours, then rows of greys, pure hues, black and white."""
    images = random_images(2, 3, 24, 24)
    images[0, :, 0] = torch.linspace(0, 1, 24)
    images[0, :, 1] = torch.eye(3).repeat(1, 8)
    images[0, :, 2] = (torch.arange(24) % 2).float()
    return images


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.05, 0.3, 1.0])
def test_brightness_shifts_v_of_hsv(colours: Tensor, shift: float) -> None:
    expected = through_hsv(colours, lambda h, s, v: (h, s, clip(v + shift)))
    torch.testing.assert_close(run("brightness", colours, shift=shift).double(), expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize(("gain", "shift"), [(0.0, 0.0), (0.3, 0.0), (1.0, 0.0), (2.5, 0.2), (20.0, 0.2), (1.0, -0.4)])
def test_saturate_scales_s_of_hsv(colours: Tensor, gain: float, shift: float) -> None:
    expected = through_hsv(colours, lambda h, s, v: (h, clip(gain * s + shift), v))
    torch.testing.assert_close(run("saturate", colours, gain=gain, shift=shift).double(), expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize("spec", SPECS.values())
def test_grey_turns_reddish_at_severity_5_of_saturate(spec: str) -> None:
    level = load_spec(spec).corruptions["saturate"].levels[4]
    grey = torch.full((1, 3, 1, 1), 250 / 255)
    assert (truncate_(run("saturate", grey, **level)) * 255).round().flatten().tolist() == [250, 200, 200]


def test_one_channel_gets_brighter_by_the_shift() -> None:
    images = torch.tensor([0.0, 0.25, 0.875, 1.0]).view(1, 1, 2, 2)
    assert run("brightness", images, shift=0.25).flatten().tolist() == [0.25, 0.5, 1.0, 1.0]
    assert run("brightness", images, shift=-0.25).flatten().tolist() == [0.0, 0.0, 0.625, 0.75]


def test_contrast_keeps_the_mean_of_each_channel_and_scales_the_deviation() -> None:
    images = random_images(4, 3, 31, 17).mul_(0.5).add_(0.25) * torch.tensor([1.0, 0.8, 0.9]).view(3, 1, 1)
    changed = run("contrast", images, factor=0.3).double()
    exact = images.double()
    mean = exact.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(changed, mean + 0.3 * (exact - mean), rtol=0, atol=2e-7)


def test_identity_strengths_change_nothing() -> None:
    images = random_images(4, 3, 33, 20)
    assert torch.equal(run("contrast", images, factor=1.0), images)
    assert torch.equal(run("pixelate", images, scale=1.0), images)
    for name, strength in (("brightness", {"shift": 0.0}), ("saturate", {"gain": 1.0, "shift": 0.0})):
        torch.testing.assert_close(run(name, images, **strength), images, rtol=0, atol=2e-7)
    assert torch.equal(run("contrast", images, factor=0.0).std(dim=(2, 3)), torch.zeros(4, 3))


def eight_bits(image: Tensor) -> np.ndarray[Any, Any]:
    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return levels[:, :, 0] if levels.shape[2] == 1 else levels


def compare(corrupted: Tensor, images: Tensor, trip: Callable[[Image.Image], Image.Image]) -> None:
    """Asserts that every corrupted image is the image after a trip through Pillow, to the bit."""
    for got, image in zip(corrupted, images, strict=True):
        assert np.array_equal(eight_bits(got), np.asarray(trip(Image.fromarray(eight_bits(image)))))
    assert torch.equal(corrupted, (corrupted * 255).round() / 255)


@pytest.mark.parametrize("scale", [0.07, 0.1, 0.25, 0.37, 0.5, 0.66, 0.75, 0.95, 1.0])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 45, 64), (3, 60, 15), (2, 100, 100), (3, 160, 70)])
def test_pixelate_is_the_box_filter_of_pillow(shape: tuple[int, int, int], scale: float) -> None:
    images = random_images(3, *shape)
    height, width = shape[1:]
    # Rows first, always: for tall images newer releases of Pillow would begin with the columns.
    sizes = [(int(width * scale), height), (int(width * scale), int(height * scale)), (width, height)]

    def trip(image: Image.Image) -> Image.Image:
        return reduce(lambda smaller, size: smaller.resize(size, Image.Resampling.BOX), sizes, image)

    changed = run("pixelate", images, scale=scale)
    for plane in range(shape[0]):
        compare(changed[:, plane : plane + 1], images[:, plane : plane + 1], trip)


@pytest.mark.parametrize("quality", [1, 25, 50, 80, 100])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 37, 50), (3, 17, 1), (1, 1, 9), (3, 8, 64)])
def test_jpeg_is_that_of_pillow(shape: tuple[int, int, int], quality: int) -> None:
    def trip(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    images = random_images(3, *shape)
    images[1] = images[1, :, :1, :1]
    compare(run("jpeg_compression", images, quality=quality), images, trip)


def test_large_images_get_the_same_jpeg_from_the_library_and_from_arithmetic() -> None:
    images = random_images(3, 3, 130, 121)
    images[1] = torch.linspace(0, 1, 121).mul(255).round().div(255)
    threads = threading.active_count()
    expected = through_jpeg((images * 255).round(), 50)
    assert torch.equal((run("jpeg_compression", images, quality=50) * 255).round(), expected)
    assert threading.active_count() == threads


def test_jpeg_is_exact_under_autocast() -> None:
    images = random_images(2, 3, 32, 32)
    expected = run("jpeg_compression", images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run("jpeg_compression", images), expected)


@pytest.mark.parametrize("name", ["pixelate", "jpeg_compression"])
def test_eight_bit_kernels_round_their_input(name: str) -> None:
    images = random_images(2, 3, 16, 16)
    nudged = (images + 0.4 / 255 * (0.5 - images).sign()).clamp(0, 1)
    assert torch.equal(run(name, nudged), run(name, images))


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in STRENGTHS for shape in ((3, 32, 32), (3, 27, 23))]
    + [(name, (1, 256, 256)) for name in STRENGTHS if name != "saturate"],
)
def test_an_image_is_the_same_alone_and_in_a_batch(name: str, shape: tuple[int, int, int]) -> None:
    count = 100 if shape == (3, 32, 32) else 6
    images = random_images(count, *shape)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = run(name, images)
        assert torch.equal(run(name, images[1:2].clone())[0], whole[1])
        torch.set_num_threads(1)
        assert torch.equal(run(name, images), whole)
        for i in (0, count // 2, count - 1):
            assert torch.equal(run(name, images[i : i + 1].clone())[0], whole[i])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", STRENGTHS)
def test_type_layout_input_and_empty_batches_are_kept(name: str) -> None:
    images = random_images(5, 3, 20, 20)
    copy = images.clone()
    single, double = run(name, images), run(name, images.double())
    assert torch.equal(images, copy)
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=3e-7)
    assert float(double.min()) >= 0.0 and float(double.max()) <= 1.0
    assert torch.equal(run(name, images.contiguous(memory_format=torch.channels_last)), single)
    assert run(name, images[:0]).shape == (0, 3, 20, 20)


@pytest.mark.parametrize(
    ("name", "shape", "strength", "words"),
    [
        ("saturate", (1, 8, 8), {}, "saturate needs colour images of 3 channels, not 1"),
        ("saturate", (4, 8, 8), {}, "saturate needs colour images of 3 channels, not 4"),
        ("jpeg_compression", (2, 8, 8), {}, "jpeg_compression needs images of 1 or 3 channels, not 2"),
        ("pixelate", (3, 4, 8), {"scale": 0.2}, "pixelate at scale 0.2 leaves no pixel of images of 4x8 pixels"),
    ],
)
def test_impossible_images_are_refused(
    name: str, shape: tuple[int, int, int], strength: dict[str, float], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        run(name, torch.zeros(2, *shape), **strength)


@pytest.mark.parametrize(("name", "field", "value"), [("jpeg_compression", "quality", 50.5), ("pixelate", "scale", 0)])
def test_impossible_strengths_are_refused(name: str, field: str, value: float) -> None:
    with pytest.raises(SpecError, match=field):
        run(name, torch.zeros(1, 3, 8, 8), **{field: value})
