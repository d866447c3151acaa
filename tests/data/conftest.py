from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def write_image() -> Callable[[Path, Pixels], Pixels]:
    """Writes (H, W) or (H, W, 3) pixels, lossless for a .png, and returns them."""

    def write(path: Path, pixels: Pixels) -> Pixels:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return pixels

    return write


@pytest.fixture
def cut_short() -> Callable[[Path], None]:
    """Removes the second half of a file."""

    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return cut


@pytest.fixture
def tree(tmp_path: Path, write_image: Callable[[Path, Pixels], Pixels]) -> tuple[Path, dict[str, Pixels]]:
    """A test split of 3 + 4 + 5 random 10x8 colour images; returns its root and the pixels in sorted file order."""
    rng = np.random.default_rng(0)
    root = tmp_path / "tree"
    pixels = {
        f"{name}/{number}.png": write_image(
            root / "test" / name / f"{number}.png", rng.integers(0, 256, (10, 8, 3), dtype=np.uint8)
        )
        for name, count in (("cat", 3), ("dog", 4), ("emu", 5))
        for number in range(count)
    }
    return root, pixels
