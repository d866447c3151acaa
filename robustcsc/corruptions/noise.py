"""The four noise corruptions, drawn per value (pixel and channel).

Every corruption takes images (N, C, H, W), float with pixels in [0, 1], and seeds (N,), int64 from `image_seeds` on the
device of the images; it returns (N, C, H, W), clipped to [0, 1]. Impulse noise also takes and returns bytes. There are
two steps, so that recorded draws can be replayed: random numbers from `draws` or `poisson`, then a function of the
images and those numbers.

Source of the definitions: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019.
"""

import torch
from torch import Tensor

from robustcsc.corruptions.draws import bernoulli, by_blocks, normal
from robustcsc.corruptions.poisson import poisson


def gaussian_noise(images: Tensor, seeds: Tensor, *, std: float) -> Tensor:
    """Returns ``x + std z`` with standard normal z; `std`, at least 0, is in units of the pixel range."""
    return by_blocks(lambda block, keys: add_noise(block, normal(keys, block.shape[1:]), std=std), images, seeds)


def add_noise(images: Tensor, draws: Tensor, *, std: float) -> Tensor:
    """Returns ``x + std z`` clipped to [0, 1], for draws z of the images' shape."""
    return (draws.to(images.dtype) * std).add_(images).clamp_(0.0, 1.0)


def speckle_noise(images: Tensor, seeds: Tensor, *, std: float) -> Tensor:
    """Returns ``x + std x z`` with standard normal z; `std`, at least 0, is relative to the value of the pixel."""
    return by_blocks(lambda block, keys: scale_noise(block, normal(keys, block.shape[1:]), std=std), images, seeds)


def scale_noise(images: Tensor, draws: Tensor, *, std: float) -> Tensor:
    """Returns ``x + std x z`` clipped to [0, 1], for draws z of the images' shape."""
    return (draws.to(images.dtype) * std).mul_(images).add_(images).clamp_(0.0, 1.0)


def shot_noise(images: Tensor, seeds: Tensor, *, photons: float) -> Tensor:
    """Returns ``k / photons`` with Poisson numbers k of rate ``photons x``; black stays black.

    `photons` is the expected count of a white pixel, in (0, 2000].
    """

    def work(block: Tensor, keys: Tensor) -> Tensor:
        return expose(poisson(block * photons, keys, largest=photons).to(images.dtype), photons=photons)

    return by_blocks(work, images, seeds)


def expose(counts: Tensor, *, photons: float) -> Tensor:
    """Returns ``counts / photons`` clipped to [0, 1]."""
    return (counts / photons).clamp_(0.0, 1.0)


def impulse_noise(images: Tensor, seeds: Tensor, *, share: float) -> Tensor:
    """Replaces each value (not pixel) independently with probability `share`, by 1 or 0 with a second, fair coin.

    `share` is in [0, 1], kept exactly up to 2^-24.
    """
    shape = images.shape[1:]
    return by_blocks(
        lambda block, keys: replace_values(block, bernoulli(keys, shape, share), bernoulli(keys, shape, 0.5, 1)),
        images,
        seeds,
    )


def replace_values(images: Tensor, chosen: Tensor, salt: Tensor) -> Tensor:
    """Returns the images, clipped to [0, 1], with `chosen` values set to `salt`; both are of the images' shape, 0 or 1.

    A selection by a mask takes far longer on a CPU. Sums of products with 0 and 1 are exact; in bytes, where the
    brightest value is 255, so are differences modulo 256.
    """
    if images.dtype == torch.uint8:
        return (-salt).sub_(images).mul_(chosen).add_(images)
    chosen, salt = chosen.to(images.dtype), salt.to(images.dtype)
    return (1 - chosen).mul_(images).add_(salt * chosen).clamp_(0, 1)
