"""The reference outputs of the original corruption functions, for the tests that compare with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference"


class Reference:
    """Files of the reference data; every method skips the test when they are not at hand."""

    def path(self, name: str) -> Path:
        if not (FOLDER / name).exists():
            pytest.skip(f"the reference outputs of the corruptions are not at {FOLDER}")
        return FOLDER / name

    def arrays(self, family: str, kind: str) -> dict[str, np.ndarray]:
        """Arrays of ``<family>_<kind>.npz`` by name; kinds are "images", "deterministic" and "replay"."""
        with np.load(self.path(f"corruptions/{family}_{kind}.npz")) as content:
            return {key: content[key] for key in content.files}

    def images(self, family: str, key: str = "images") -> Tensor:
        """(N, 3, H, W) float32 in [0, 1], the clean images of a family."""
        return self.tensor(self.arrays(family, "images")[key])

    def tensor(self, images: np.ndarray) -> Tensor:
        """(..., H, W, C) 0..255 as (..., C, H, W) float32 in [0, 1]."""
        return torch.from_numpy(np.moveaxis(images, -1, -3).astype(np.float32) / 255)

    def difference(self, images: Tensor, expected: np.ndarray, rows: np.ndarray | None = None) -> tuple[float, float]:
        """Largest and mean absolute difference in grey levels, the images (N, C, H, W) truncated to 8 bits first.

        `expected` is (N, H, W, C), or (N, len(rows), W, C) where only some rows of the reference were kept.
        """
        levels = np.moveaxis(np.floor(images.numpy() * np.float32(255)), 1, -1)
        kept = levels if rows is None else levels[:, rows]
        error = np.abs(kept - expected.astype(np.float32))
        return float(error.max()), float(error.mean())


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()
