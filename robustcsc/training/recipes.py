"""The papers' training settings, as data."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Schedule = Literal["cosine", "steps", "onecycle"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train a model by SGD with cross-entropy.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: Initial (cosine, steps) or largest (onecycle) learning rate.
        schedule: ``"cosine"`` to 0; ``"steps"``, times `drop` at `milestones`; ``"onecycle"``, linear up for the first
            quarter, linear down to 0.
        milestones: Epochs at which the learning rate drops (steps only).
        drop: Factor of the learning rate at a milestone (steps only).
        momentum: Nesterov momentum.
        weight_decay: Weight of the squared norm of all parameters.
        crop_padding: Random crops after zero padding by this many pixels (0: none).
        flip: Whether half of the images are mirrored.
        source: Where the settings are from.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    source: str
    milestones: tuple[int, ...] = ()
    drop: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop_padding: int = 4
    flip: bool = True

    def rate_at(self, epoch: float) -> float:
        """Returns the learning rate at a (fractional) epoch in ``[0, epochs]``."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + cos(pi * epoch / self.epochs)) / 2
        if self.schedule == "steps":
            return self.learning_rate * self.drop ** sum(epoch >= milestone for milestone in self.milestones)
        peak = self.epochs / 4
        rising = epoch / peak
        falling = (self.epochs - epoch) / (self.epochs - peak)
        return self.learning_rate * max(0.0, min(rising, falling))


RECIPES: dict[str, Recipe] = {
    "sdnet-cifar": Recipe(
        epochs=220,
        batch_size=128,
        learning_rate=0.1,
        schedule="cosine",
        source="SDNet (Dai et al., NeurIPS 2022), section 4, CIFAR-10 and CIFAR-100",
    ),
    "sdnet-imagenet": Recipe(
        epochs=100,
        batch_size=512,
        learning_rate=0.1,
        schedule="steps",
        milestones=(30, 60, 90),
        crop_padding=0,
        source="SDNet (Dai et al., NeurIPS 2022), section 4, ImageNet (weight decay not given: as on CIFAR)",
    ),
    # "200-th" is the end of training. Weight decay and momentum are on W~, h and b too, as on all parameters: the paper
    # makes no exception. The settings are those of Wide Residual Networks, whose momentum is Nesterov's.
    "detrame-cifar": Recipe(
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        milestones=(60, 120, 160),
        drop=0.2,
        source="DeTraMe-Net (Tang et al., arXiv:2002.07898), section 5.2, CIFAR-10 and CIFAR-100",
    ),
    "detrame-svhn": Recipe(
        epochs=160,
        batch_size=128,
        learning_rate=0.01,
        schedule="steps",
        milestones=(80, 120),
        crop_padding=0,
        flip=False,
        source="DeTraMe-Net (Tang et al., arXiv:2002.07898), section 5.2, SVHN",
    ),
    "cpu": Recipe(
        epochs=16,
        batch_size=128,
        learning_rate=0.2,
        schedule="onecycle",
        source="ours: a short one-cycle recipe for two CPU cores",
    ),
    "digits": Recipe(
        epochs=20,
        batch_size=64,
        learning_rate=0.2,
        schedule="onecycle",
        crop_padding=1,
        flip=False,
        source="ours: some seconds on one CPU core",
    ),
}
