"""`corrupt` and `apply_kernel`: seeding, severities, pixels as published and refusals."""

import io
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, JpegImagePlugin

from robustcsc.corruptions import SEVERITIES, apply_kernel, corrupt, image_seeds, load_spec
from robustcsc.corruptions.filters import truncate_
from robustcsc.errors import DataError, SpecError, UnknownNameError
from robustcsc.measurements.perturbations import Pixels

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
CIFAR = load_spec("cifar10_c")
IMAGENET = load_spec("imagenet_c")
ALL = tuple(CIFAR.corruptions)
INDICES = torch.arange(256)
IMAGES = torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LEVELS = (IMAGES[:64] * 255).round().to(torch.uint8)
LEVELS[0], LEVELS[1] = 0, 255
#: The severities between the others repeat them.
EACH = [pytest.param(it, marks=[pytest.mark.slow] if it in (2, 4) else []) for it in SEVERITIES]


@pytest.mark.parametrize("severity", EACH)
@pytest.mark.parametrize("name", ALL)
def test_an_image_is_the_same_alone_reversed_and_in_a_batch_of_256(name: str, severity: int) -> None:
    whole = corrupt(IMAGES, CIFAR, name, severity, seed=0, indices=INDICES)
    reverse = corrupt(IMAGES.flip(0), CIFAR, name, severity, seed=0, indices=INDICES.flip(0))
    assert torch.equal(reverse.flip(0), whole)
    for image in (0, 128, 255):
        one = corrupt(IMAGES[image : image + 1], CIFAR, name, severity, seed=0, indices=INDICES[image : image + 1])
        assert torch.equal(one[0], whole[image])
    some = torch.tensor([3, 200, 17])
    assert torch.equal(corrupt(IMAGES[some], CIFAR, name, severity, seed=0, indices=some), whole[some])


@pytest.mark.parametrize("severity", EACH)
@pytest.mark.parametrize("name", ALL)
def test_a_large_image_is_the_same_alone_and_in_a_batch(name: str, severity: int) -> None:
    images = F.interpolate(IMAGES[:3], (112, 131), mode="bilinear")
    whole = corrupt(images, IMAGENET, name, severity, seed=0, indices=INDICES[:3])
    last = corrupt(images[2:], IMAGENET, name, severity, seed=0, indices=INDICES[2:3])
    assert torch.equal(last[0], whole[2])


@pytest.mark.parametrize("name", ALL)
def test_results_stay_in_range_whatever_the_level(name: str) -> None:
    extremes = torch.stack((torch.zeros(3, 32, 32), torch.ones(3, 32, 32), (IMAGES[0] > 0.5).float(), IMAGES[1]))
    for severity in SEVERITIES:
        corrupted = corrupt(extremes, CIFAR, name, severity, seed=0, indices=INDICES[:4])
        assert float(corrupted.min()) >= 0.0 and float(corrupted.max()) <= 1.0
        assert corrupted.dtype == torch.float32 and corrupted.shape == extremes.shape


@pytest.mark.parametrize("name", sorted({"glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform"}))
def test_copies_of_one_image_get_draws_of_their_own(name: str) -> None:
    copies = IMAGES[:1].expand(8, -1, -1, -1).contiguous()
    corrupted = corrupt(copies, CIFAR, name, 4, seed=0, indices=INDICES[:8])
    assert len({image.numpy().tobytes() for image in corrupted}) >= 4  # two angles may round to the same pixels
    assert torch.equal(corrupted, corrupt(copies, CIFAR, name, 4, seed=0, indices=INDICES[:8]))


@pytest.mark.parametrize("name", ALL)
def test_severity_0_is_the_identity(name: str) -> None:
    assert torch.equal(corrupt(IMAGES[:2], CIFAR, name, 0, seed=0, indices=INDICES[:2]), IMAGES[:2])


@pytest.mark.parametrize("name", NOISES)
def test_only_the_same_seed_corruption_severity_and_index_repeat(name: str) -> None:
    images = IMAGES[:1].repeat(4, 1, 1, 1)
    indices = torch.arange(4)
    reference = corrupt(images, CIFAR, name, 3, seed=0, indices=indices)
    assert torch.equal(reference, corrupt(images, CIFAR, name, 3, seed=0, indices=indices))
    assert not torch.equal(reference[0], reference[1])
    assert not torch.equal(reference, corrupt(images, CIFAR, name, 3, seed=1, indices=indices))
    assert not torch.equal(reference, corrupt(images, CIFAR, name, 3, seed=0, indices=indices + 4))


def test_severities_and_corruptions_do_not_share_their_draws() -> None:
    grey = torch.full((64, 3, 32, 32), 0.5)
    indices = torch.arange(64)
    noises = [
        (corrupt(grey, CIFAR, name, severity, seed=0, indices=indices) - 0.5).ravel()
        for name, severity in (("gaussian_noise", 1), ("gaussian_noise", 2), ("speckle_noise", 1), ("shot_noise", 1))
    ]
    correlation = torch.corrcoef(torch.stack(noises)) - torch.eye(4)
    assert float(correlation.abs().max()) < 5 / noises[0].numel() ** 0.5


@pytest.mark.parametrize("spec", [CIFAR, IMAGENET], ids=lambda spec: spec.name)
@pytest.mark.parametrize("name", NOISES)
def test_distortion_grows_with_severity_from_none_at_severity_0(spec: Any, name: str) -> None:
    distortion = [
        float((corrupt(IMAGES, spec, name, severity, seed=0, indices=INDICES) - IMAGES).pow(2).mean())
        for severity in range(6)
    ]
    assert distortion[0] == 0.0
    assert all(low < high for low, high in pairwise(distortion))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncation_keeps_all_256_levels_and_moves_the_rest_down(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=dtype) / 255
    assert torch.equal(truncate_(levels.clone()), levels)
    between = torch.tensor([0.9 / 255, 1.5 / 255, 254.99 / 255, 1.0], dtype=dtype)
    assert (truncate_(between) * 255).round().tolist() == [0.0, 1.0, 254.0, 255.0]


def test_results_as_published_in_8_bits_are_the_truncated_ones() -> None:
    plain = corrupt(IMAGES, CIFAR, "gaussian_noise", 2, seed=0, indices=INDICES)
    cut = corrupt(IMAGES, CIFAR, "gaussian_noise", 2, seed=0, indices=INDICES, as_published=True)
    loss = (plain - cut).double() * 255
    assert float(loss.min()) > -1e-4 and float(loss.max()) < 1.0001
    assert float(loss[(plain > 0) & (plain < 1)].mean()) == pytest.approx(0.5, abs=0.01)
    eight_bit = (cut * 255).round()
    assert torch.equal(cut, eight_bit.to(torch.uint8).float() / 255)
    floats = replace(CIFAR, pixels=Pixels.FLOAT)
    assert torch.equal(corrupt(IMAGES, floats, "gaussian_noise", 2, seed=0, indices=INDICES, as_published=True), plain)


@pytest.mark.parametrize(("shape", "channels"), [((96, 112), 3), ((37, 50), 3), ((96, 112), 1)])
def test_imagenet_c_as_published_is_what_pillow_reads_from_its_jpeg_files(
    shape: tuple[int, int], channels: int
) -> None:
    levels = F.interpolate(LEVELS[:3], shape)[:, :channels]
    indices = INDICES[:3]
    changed = corrupt(levels, IMAGENET, "gaussian_noise", 1, seed=0, indices=indices)
    got = corrupt(levels, IMAGENET, "gaussian_noise", 1, seed=0, indices=indices, as_published=True)
    for image, stored in zip(changed, got, strict=True):
        pixels, file = image.permute(1, 2, 0).numpy(), io.BytesIO()
        Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(file, "JPEG", quality=85)
        with Image.open(file) as opened:
            assert channels == 1 or JpegImagePlugin.get_sampling(opened) == 2  # 4:2:0
            assert np.array_equal(np.atleast_3d(np.asarray(opened)), stored.permute(1, 2, 0).numpy())
    floats = corrupt(levels / 255, IMAGENET, "gaussian_noise", 1, seed=0, indices=indices, as_published=True)
    assert torch.equal(floats, got / 255)
    two = levels[:, :1].expand(-1, 2, -1, -1)
    with pytest.raises(DataError, match="JPEG files need images of 1 or 3 channels, not 2"):
        corrupt(two, IMAGENET, "contrast", 1, seed=0, indices=indices, as_published=True)


@pytest.mark.parametrize("severity", EACH)
@pytest.mark.parametrize("name", ALL)
def test_bytes_become_the_truncated_results_of_the_same_images_as_floats(name: str, severity: int) -> None:
    for spec, levels in ((CIFAR, LEVELS), (IMAGENET, F.interpolate(LEVELS[:7], (112, 131)))):
        indices = INDICES[: len(levels)]
        floats = truncate_(corrupt(levels / 255, spec, name, severity, seed=0, indices=indices))
        before = levels.clone()
        got = corrupt(levels, spec, name, severity, seed=0, indices=indices)
        assert got.dtype == torch.uint8 and torch.equal(got / 255, floats) and torch.equal(levels, before)
        as_in_a_file = levels.contiguous(memory_format=torch.channels_last)
        assert torch.equal(corrupt(as_in_a_file, spec, name, severity, seed=0, indices=indices), got)
        one = corrupt(levels[5:6], spec, name, severity, seed=0, indices=indices[5:6])
        assert torch.equal(one[0], got[5]) and one.is_contiguous()


def test_bytes_stay_bytes_under_a_kernel_at_any_strength_and_at_severity_0() -> None:
    indices = INDICES[: len(LEVELS)]
    seeds = image_seeds(4, "shot_noise", 2, indices)
    expected = truncate_(apply_kernel(LEVELS / 255, "shot_noise", {"photons": 77.0}, seeds))
    assert torch.equal(apply_kernel(LEVELS, "shot_noise", {"photons": 77.0}, seeds) / 255, expected)
    assert torch.equal(corrupt(LEVELS, CIFAR, "shot_noise", 0, seed=0, indices=indices), LEVELS)


@pytest.mark.parametrize("name", ALL)
def test_truncation_leaves_the_images_themselves_alone(name: str) -> None:
    images = F.interpolate(IMAGES[:2], (112, 131), mode="bilinear")
    before, table = images.clone(), IMAGENET if name == "frost" else CIFAR  # CIFAR's photographs are smaller
    for severity in SEVERITIES:
        corrupt(images, table, name, severity, seed=0, indices=INDICES[:2], as_published=True)
        assert torch.equal(images, before)


def test_apply_kernel_is_the_kernel_of_the_table_at_its_level() -> None:
    seeds = image_seeds(4, "shot_noise", 2, INDICES)
    expected = corrupt(IMAGES, CIFAR, "shot_noise", 2, seed=4, indices=INDICES)
    assert torch.equal(apply_kernel(IMAGES, "shot_noise", {"photons": 250.0}, seeds), expected)


@pytest.mark.parametrize("severity", [-1, 6, 2.0, True, "3", None])
def test_other_severities_are_refused(severity: Any) -> None:
    with pytest.raises(SpecError, match="Severity must be an integer from 0"):
        corrupt(IMAGES, CIFAR, "gaussian_noise", severity, seed=0, indices=INDICES)


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"):
        corrupt(IMAGES, CIFAR, "gausian_noise", 1, seed=0, indices=INDICES)
    with pytest.raises(UnknownNameError, match="Unknown corruption kernel 'shot'"):
        apply_kernel(IMAGES, "shot", {}, INDICES)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ((IMAGES * 255).to(torch.int16), "must be uint8, or float32 or float64 .* not torch.int16"),
        (IMAGES.half(), "must be uint8, or float32 or float64"),
        (LEVELS[0], r"shape \(N, C, H, W\), not \(3, 32, 32\)"),
        (IMAGES[0], r"shape \(N, C, H, W\), not \(3, 32, 32\)"),
        (IMAGES * 255, "pixels in .* divide 8-bit values by 255"),
        (IMAGES - 0.5, r"pixels in \[0, 1\], not -0.5"),
        (IMAGES + torch.nan, "finite"),
        (IMAGES.masked_fill(IMAGES > 0.99, torch.inf), "finite"),
    ],
)
def test_images_of_another_form_are_refused(images: torch.Tensor, sentence: str) -> None:
    for severity in (0, 1):
        with pytest.raises(DataError, match=sentence):
            corrupt(images, CIFAR, "gaussian_noise", severity, seed=0, indices=INDICES)
    with pytest.raises(DataError, match=sentence):
        apply_kernel(images, "gaussian_noise", {"std": 0.1}, INDICES)


def test_indices_and_seeds_must_be_one_integer_per_image() -> None:
    for wrong in (INDICES[:5], INDICES.float(), INDICES[:, None]):
        with pytest.raises(DataError, match="Indices must be int64 of shape"):
            corrupt(IMAGES, CIFAR, "gaussian_noise", 1, seed=0, indices=wrong)
        with pytest.raises(DataError, match="Seeds must be int64 of shape"):
            apply_kernel(IMAGES, "gaussian_noise", {"std": 0.1}, wrong)


@pytest.mark.parametrize("parameters", [{}, {"std": -0.1}, {"std": 0.1, "mean": 0.0}, {"std": torch.nan}])
def test_parameters_that_are_not_the_kernels_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=r"Parameters of gaussian_noise: field '(std|mean)'"):
        apply_kernel(IMAGES, "gaussian_noise", parameters, INDICES)


def test_an_empty_batch_stays_empty() -> None:
    for name in ALL:
        assert corrupt(IMAGES[:0], CIFAR, name, 1, seed=0, indices=INDICES[:0]).shape == (0, 3, 32, 32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ALL)
def test_a_gpu_gives_each_image_one_result_close_to_that_of_the_cpu(name: str) -> None:
    images, indices = IMAGES.cuda(), INDICES.cuda()
    whole = corrupt(images, CIFAR, name, 5, seed=0, indices=indices, as_published=True)
    one = corrupt(images[77:78], CIFAR, name, 5, seed=0, indices=indices[77:78], as_published=True)
    assert torch.equal(one[0], whole[77])
    expected = corrupt(IMAGES, CIFAR, name, 5, seed=0, indices=INDICES, as_published=True)
    # A rounding error can move a pixel's draw or a glass pixel's place: rarely, so the mean stays below 0.1 of a level.
    assert float((whole.cpu() - expected).abs().double().mean()) < 0.1 / 255
