"""A small network with two CSC layers, and fits made by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.layers.csc import CSCConv2d, fit_image_size
from robustcsc.layers.normalize import Normalize
from robustcsc.measurements.fits import LambdaFit, Line


class Counted(nn.Module):
    """The identity; counts its calls, and raises if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.broken = False

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        if self.broken:
            raise RuntimeError("broken layer")
        return features


@pytest.fixture
def sdnet() -> Any:
    """Named layers, two of them CSC layers (lambda 0.1 and 0.3): 8x8 grey images to three classes, in float64."""
    return deepcopy(_sdnet())


@cache
def _sdnet() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model: Any = nn.Sequential(
            OrderedDict(
                normalize=Normalize((0.5,), (0.125,)),
                first=CSCConv2d(1, 4, 3, padding=1, lam=0.1),
                norm=nn.BatchNorm2d(4),
                between=Counted(),
                second=CSCConv2d(4, 6, 3, stride=2, padding=1, lam=0.3),
                behind=Counted(),
                flat=nn.Flatten(),
                head=nn.Linear(96, 3),
            )
        )
        nn.init.constant_(model.norm.weight, 4.0)  # features well above the thresholds
    fit_image_size(model, (1, 8, 8))
    model.between.calls = model.behind.calls = 0
    return model.double().eval()


@pytest.fixture
def images() -> Tensor:
    """Five noisy 8x8 images of different contrast, float64."""
    generator = torch.Generator().manual_seed(5)
    contrast = torch.tensor([0.4, 0.5, 0.6, 0.8, 1.0], dtype=torch.float64).view(5, 1, 1, 1)
    noise = torch.rand(5, 1, 8, 8, generator=generator, dtype=torch.float64)
    return 0.5 + contrast * (noise - 0.5)


def _fit(**changes: Any) -> LambdaFit:
    line = Line(slope=0.01, intercept=0.1, r2=1.0)
    fields: dict[str, Any] = {
        "model": "tiny",
        "weights": "5d" * 32,
        "dataset": "digits",
        "noise": "gaussian",
        "seed": 0,
        "heldout": "feed",
        "trained_on_heldout": False,
        "lam0": 0.1,
        "grid": (0.1, 0.5, 1.5),
        "levels": (),
        "lines": {"squared": line, "norm": line, "relative": line},
        "dataset_definition": "squared",
        "image_definition": "squared",
        "image_line": line,
        "image_candidates": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return LambdaFit(**(fields | changes))


@pytest.fixture(scope="session")
def make_fit() -> Callable[..., LambdaFit]:
    return _fit
