"""Random crops, flips and Gaussian noise, drawn for a whole batch at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.data.images import sent


def crop_and_flip(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Returns the images zero-padded, cropped at random and, with probability 1/2, mirrored, each on its own.

    Args:
        images: ``(N, C, H, W)``.
        padding: Pixels added on every side before cropping; 0 crops nothing.
        flip: Whether images are mirrored at random.
        generator: CPU generator of the draws, which then do not depend on the device of the images.
    """
    count, _, height, width = images.shape
    offsets = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5) & flip
    rows = torch.arange(height) + offsets[0]
    columns = torch.arange(width).expand(count, -1)
    columns = torch.where(mirrored, width - 1 - columns, columns) + offsets[1]
    padded = F.pad(images, (padding,) * 4)
    batch = torch.arange(count, device=images.device)
    rows, columns = sent(rows, images.device), sent(columns, images.device)
    gathered = padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return gathered.permute(0, 3, 1, 2)  # channels_last strides, which convolutions prefer


def add_gaussian_noise(images: Tensor, max_std: float, generator: torch.Generator) -> Tensor:
    """Returns the images with Gaussian noise added to half of them, clipped to [0, 1].

    Every noisy image has its own standard deviation, uniform in ``[0, max_std]`` (pixel units of [0, 1]).

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        max_std: Largest standard deviation.
        generator: CPU generator of the draws.
    """
    count = len(images)
    noisy = torch.randperm(count, generator=generator) < count // 2
    std = torch.where(noisy, torch.rand(count, generator=generator) * max_std, 0.0).view(-1, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator) * std
    return (images + sent(noise, images.device)).clamp_(0, 1)
