"""Features of single images against their definitions in NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from scipy.stats import kurtosis

from robustcsc.adaptive.features import FEATURES, THRESHOLDS, features

MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6


@pytest.fixture(scope="module")
def images() -> NDArray[np.float64]:
    return np.random.default_rng(0).random((3, 3, 8, 10)) ** 2


def by_hand(image: NDArray[np.float64]) -> dict[str, float]:
    rest = np.stack([convolve2d(channel, MASK, "valid") for channel in image])
    half = image.reshape(3, 4, 2, 5, 2).mean((2, 4))
    local = np.stack([convolve2d(channel, np.full((3, 3), 1 / 9), "valid") for channel in image])
    a, shared = abs(rest), rest.mean(0)
    near = np.clip(1 - image * 255 / 4, 0, None) + np.clip(1 - (1 - image) * 255 / 4, 0, None)
    found = {f"below_{t:g}": np.log(np.clip(1 - a / t, 0, None).mean() + 1e-4) for t in THRESHOLDS}
    return found | {
        "level": np.log(a.mean()),
        "rms": np.log(np.sqrt((a**2).mean())),
        "kurtosis": np.log((rest**4).mean() / (rest**2).mean() ** 2 + 1),
        "shared": np.log(np.sqrt((shared**2).mean())),
        "unshared": np.log((rest - shared).std()),
        "coarse": np.log(np.mean([abs(convolve2d(channel, MASK, "valid")).mean() for channel in half])),
        "brightness": np.corrcoef(a.ravel(), local.ravel())[0, 1],
        "saturated": near.mean(),
        "log_saturated": np.log(near.mean() + 1e-3),
        "mean": image.mean(),
        "deviation": image.std(),
    }


def test_features_are_what_their_definitions_say(images: NDArray[np.float64]) -> None:
    for found, image in zip(features(torch.tensor(images)), images, strict=True):
        expected = by_hand(image)
        assert dict(zip(FEATURES, found.tolist(), strict=True)) == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_white_noise_keeps_its_deviation_and_kurtosis() -> None:
    noise = 0.5 + 0.05 * torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    found = dict(zip(FEATURES, features(noise)[0].tolist(), strict=True))
    assert np.exp(found["rms"]) == pytest.approx(0.05, rel=0.03)
    assert np.exp(found["kurtosis"]) - 1 == pytest.approx(
        kurtosis(np.random.default_rng(0).normal(size=9999)) + 3, rel=0.05
    )


def test_an_image_has_the_same_features_alone_and_in_any_layout(images: NDArray[np.float64]) -> None:
    batch = torch.tensor(images).float()
    found = features(batch)
    assert torch.equal(features(batch[1:2]), found[1:2])
    assert torch.equal(features(batch.contiguous(memory_format=torch.channels_last)), found)


def test_gradients_are_those_of_finite_differences_and_finite_on_flat_images(images: NDArray[np.float64]) -> None:
    small = torch.tensor(images[:1, :, :6, :6], requires_grad=True)
    assert torch.autograd.gradcheck(features, small, atol=1e-4, fast_mode=True)
    flat = torch.full((1, 1, 6, 6), 0.5, requires_grad=True)
    features(flat).sum().backward()  # type: ignore[no-untyped-call]
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
