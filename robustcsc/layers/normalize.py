"""Normalisation of pixels inside the model: everything outside a model has pixels in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Images of a smaller norm are not scaled to unit norm, because their contrast is rounding error.
SMALLEST_NORM = 1e-4


class Normalize(nn.Module):
    """Maps pixels in [0, 1] to ``(x - mean) / std`` per channel.

    Args:
        mean: Mean per channel, in pixel units of [0, 1].
        std: Standard deviation per channel, positive.

    Raises:
        ValueError: If the lengths differ or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or any(s <= 0 for s in std):
            raise ValueError(f"mean and std need one entry per channel, std above 0: got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the normalised images, ``(N, C, H, W)``."""
        return (images - self.mean) / self.std


class UnitNorm(nn.Module):
    """Maps every image to zero mean and unit l2 norm, over all its channels and pixels.

    A constant image becomes (almost) zero.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Returns the normalised images, of the shape of `images` ``(N, ...)``."""
        flat = images.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        norms = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
        normalised: Tensor = centred / norms.clamp_min(SMALLEST_NORM)
        return normalised.view_as(images)
