"""Denoising beside scikit-image called by hand, and what is said without it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.denoise import denoised, denoiser_versions
from robustcsc.errors import PolicyError
from robustcsc.measurements import adaptations
from robustcsc.measurements.adaptations import Denoise, Denoiser

_THERE = importlib.util.find_spec("skimage") is not None
restoration: Any = importlib.import_module("skimage.restoration") if _THERE else None
installed = pytest.mark.skipif(not _THERE, reason="scikit-image is not installed")


@pytest.fixture
def images() -> Tensor:
    """Two noisy images and one of one colour."""
    noise = 0.1 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noisy = (torch.linspace(0.2, 0.8, 16).expand(2, 3, 16, 16) + noise).clamp(0, 1)
    return torch.cat([noisy, torch.full((1, 3, 16, 16), 0.5)])


def by_hand(image: Any, method: Denoiser) -> Any:
    """An image (H, W, C), as scikit-image has it, without its noise."""
    sigmas = restoration.estimate_sigma(image, channel_axis=-1)
    sigma = sum(sigmas) / 3
    match method:
        case "wavelet":
            return restoration.denoise_wavelet(image, sigma=sigmas, channel_axis=-1, rescale_sigma=True)
        case "tv":
            return restoration.denoise_tv_chambolle(image, weight=sigma, channel_axis=-1)
        case "nlm":
            size = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
            return restoration.denoise_nl_means(image, h=0.8 * sigma, sigma=sigma, channel_axis=-1, **size)


@installed
@pytest.mark.parametrize("method", ["wavelet", "tv", "nlm"])
def test_images_are_those_of_scikit_image(images: Tensor, method: Denoiser) -> None:
    found = denoised(images, Denoise(method=method))
    for ours, image in zip(found[:2], images[:2], strict=True):
        theirs = torch.from_numpy(by_hand(image.double().permute(1, 2, 0).numpy(), method)).permute(2, 0, 1)
        torch.testing.assert_close(ours, theirs.clamp(0, 1).float(), atol=1e-6, rtol=0)
    assert (found[:2] - images[:2]).abs().mean() > 0.01
    assert torch.equal(found[2], images[2])


@installed
@pytest.mark.parametrize("method", ["wavelet", "tv", "nlm"])
def test_a_channel_without_details_stays_a_number(images: Tensor, method: Denoiser) -> None:
    images[0, 1] = 0
    assert denoised(images, Denoise(method=method)).isfinite().all()


@installed
def test_gradients_pass_as_through_the_identity(images: Tensor) -> None:
    seen = images.clone().requires_grad_()
    found = denoised(seen, Denoise(method="wavelet"))
    assert torch.equal(found, denoised(images, Denoise(method="wavelet")))
    weights = torch.rand_like(images)
    assert torch.equal(torch.autograd.grad((weights * found).sum(), seen)[0], weights)


@installed
def test_versions_are_those_that_are_installed() -> None:
    assert set(denoiser_versions()) == {"scikit-image", "PyWavelets"}


def test_a_missing_package_is_named_with_its_extra(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptations, "find_spec", lambda name: None)
    with pytest.raises(PolicyError, match=r"--test-time denoise needs .*: pip install 'robustcsc\[denoise\]'\."):
        denoised(images, Denoise(method="tv"))
