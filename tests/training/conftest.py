"""A few digits and the settings of a training of some tenths of a second."""

from __future__ import annotations

import pytest
import torch

from robustcsc.data import MemoryImages, load
from robustcsc.models.catalog import ModelSpec, default_spec
from robustcsc.training.log import quiet_fabric
from robustcsc.training.recipes import Recipe


@pytest.fixture(autouse=True)
def no_remarks() -> None:
    quiet_fabric()


@pytest.fixture(scope="session")
def digits() -> MemoryImages:
    """100 digits of the training split."""
    images = load("digits", split="train")
    assert isinstance(images, MemoryImages)
    return images.subset(torch.arange(100))


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 8})


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        epochs=3,
        batch_size=32,
        learning_rate=0.1,
        schedule="cosine",
        crop_padding=1,
        flip=False,
        source="ours: for tests",
    )
