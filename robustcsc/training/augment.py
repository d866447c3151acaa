"""Random crops, flips and Gaussian noise, drawn for a whole batch at once, whichever processes its images are in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.data.images import sent


@dataclass(frozen=True)
class Share:
    """Which images of a batch one of several processes has: number `rank` and every `processes`-th after it.

    Attributes:
        count: Images of the whole batch.
        rank: Number of the process, from 0.
        processes: Number of processes.
    """

    count: int
    rank: int = 0
    processes: int = 1

    def of(self, drawn: Tensor) -> Tensor:
        """Returns this process's rows of what was drawn for all `count` images.

        Examples:
            >>> Share(8, rank=1, processes=3).of(torch.arange(8)).tolist()
            [1, 4, 7]
        """
        return drawn[self.rank :: self.processes]


def crop_and_flip(
    images: Tensor, padding: int, flip: bool, generator: torch.Generator, share: Share | None = None
) -> Tensor:
    """Returns the images zero-padded, cropped at random and, with probability 1/2, mirrored, each on its own.

    Args:
        images: ``(N, C, H, W)``.
        padding: Pixels added on every side before cropping; 0 crops nothing.
        flip: Whether images are mirrored at random.
        generator: CPU generator of the draws, which then do not depend on the device of the images.
        share: The batch that `images` are a part of, if they are not all of it.
    """
    count, _, height, width = images.shape
    share = share or Share(count)
    offsets = torch.randint(2 * padding + 1, (2, share.count, 1), generator=generator)
    mirrored = share.of(torch.rand(share.count, 1, generator=generator) < 0.5) & flip
    rows = torch.arange(height) + share.of(offsets[0])
    columns = torch.arange(width).expand(count, -1)
    columns = torch.where(mirrored, width - 1 - columns, columns) + share.of(offsets[1])
    padded = F.pad(images, (padding,) * 4)
    batch = torch.arange(count, device=images.device)
    rows, columns = sent(rows, images.device), sent(columns, images.device)
    gathered = padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return gathered.permute(0, 3, 1, 2)  # channels_last strides, which convolutions prefer


def add_gaussian_noise(
    images: Tensor, max_std: float, generator: torch.Generator, share: Share | None = None
) -> Tensor:
    """Returns the images with Gaussian noise added to half of the batch, clipped to [0, 1].

    Every noisy image has its own standard deviation, uniform in ``[0, max_std]`` (pixel units of [0, 1]).

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        max_std: Largest standard deviation.
        generator: CPU generator of the draws.
        share: The batch that `images` are a part of, if they are not all of it.
    """
    share = share or Share(len(images))
    noisy = torch.randperm(share.count, generator=generator) < share.count // 2
    std = torch.where(noisy, torch.rand(share.count, generator=generator) * max_std, 0.0).view(-1, 1, 1, 1)
    noise = torch.randn((share.count, *images.shape[1:]), generator=generator) * std
    # Unreadable files leave a share with fewer images than were drawn for.
    return (images + sent(share.of(noise)[: len(images)], images.device)).clamp_(0, 1)
