"""Noise is removed from images before a model sees them, with scikit-image, which the extra ``denoise`` installs.

Sources: the references of `skimage.restoration`: Chang, Yu & Vetterli, "Adaptive wavelet thresholding for image
denoising and compression", IEEE TIP 2000 (wavelet); Chambolle, "An algorithm for total variation minimization and
applications", JMIV 2004 (tv); Buades, Coll & Morel, "A non-local algorithm for image denoising", CVPR 2005 (nlm).

The deviation of the noise is estimated from each image (Donoho & Johnstone, "Ideal spatial adaptation by wavelet
shrinkage", Biometrika 1994), so that clean images lose little. Total variation is weighted by it, and non-local means
decay with 0.8 times it, as in the gallery of scikit-image.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcsc.measurements.adaptations import Denoise, Denoiser, check_denoisers


def denoiser_versions() -> dict[str, str]:
    """Returns the versions that can change what is removed, by package."""
    return {name: version(name) for name in ("scikit-image", "PyWavelets")}


def denoised(images: Tensor, how: Denoise) -> Tensor:
    """Returns images ``(N, C, H, W)`` in [0, 1] without the noise that each seems to have.

    Gradients pass as if nothing had been done (BPDA with the identity, Athalye, Carlini & Wagner, ICML 2018).

    Raises:
        PolicyError: scikit-image is not installed.
    """
    check_denoisers()
    pixels = images.detach().double().cpu().numpy()
    clean = torch.from_numpy(np.stack([_denoised(image, how.method) for image in pixels]))
    found = clean.clamp_(0, 1).to(images)
    return found + (images - images.detach()) if images.requires_grad else found


def _denoised(image: Any, method: Denoiser) -> Any:
    """Returns one image ``(C, H, W)``."""
    from skimage import restoration

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a channel without details, whose noise is not a number
        sigmas = np.nan_to_num(restoration.estimate_sigma(image, channel_axis=0))
    sigma = float(np.mean(sigmas))
    if not sigma:
        return image
    if method == "wavelet":
        return np.stack([_shrunk(channel, its) if its else channel for channel, its in zip(image, sigmas, strict=True)])
    if method == "tv":
        return restoration.denoise_tv_chambolle(image, weight=sigma, channel_axis=0)
    return restoration.denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True, channel_axis=0
    )


def _shrunk(channel: Any, sigma: float) -> Any:
    from skimage.restoration import denoise_wavelet

    return denoise_wavelet(channel, sigma=sigma, rescale_sigma=True)
