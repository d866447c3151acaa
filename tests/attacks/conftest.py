"""Small models whose worst images are known by a formula, and images for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustcsc.measurements.attacks import AttackStep, Value

#: Settings that keep every attack short.
SHORT: dict[str, dict[str, Value]] = {
    "pgd": {"steps": 10},
    "apgd": {"steps": 10},
    "apgd-t": {"steps": 10, "targets": 2},
    "square": {"queries": 30},
    "fab": {"steps": 10},
    "cw": {"steps": 20, "searches": 3},
    "deepfool": {"steps": 5},
}


class TwoClasses(nn.Module):
    """Logits ``(w.x - b, 0)``, and far below them two more classes for the attacks that need four."""

    def __init__(self, weight: Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(weight), offset

    def margin(self, images: Tensor) -> Tensor:
        return (images.double() * self.weight.detach().double()).sum(dim=(1, 2, 3)) - self.offset

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.weight).sum(dim=(1, 2, 3)) - self.offset
        zero = torch.zeros_like(margin)
        return torch.stack([margin, zero, zero - 100, zero - 101], dim=1)


@pytest.fixture
def linear() -> TwoClasses:
    """Its weights; the images of `inside` have margins of both signs."""
    weight = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(1))
    return TwoClasses(weight, float(0.5 * weight.sum()))


@pytest.fixture
def inside() -> Tensor:
    """Eight images that stay within [0, 1] however they are changed by 0.3."""
    return 0.35 + 0.3 * torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> nn.Sequential:
    """Convolution, normalisation and dropout, for four classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 4)
        )


@pytest.fixture
def chosen() -> Callable[[str], AttackStep]:
    """Any attack, with settings that keep it short."""
    return lambda name: AttackStep.of(name, restarts=1, **SHORT.get(name, {}))
