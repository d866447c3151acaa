"""The contact sheet: which pixels lie where."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import Spec, corrupt, load_spec
from robustcsc.corruptions.preview import TILE, contact_sheet, read_square
from robustcsc.errors import DataError


@pytest.fixture
def spec() -> Spec:
    """The CIFAR table without all but two of its corruptions, for images of 32 pixels."""
    whole = load_spec("cifar10_c")
    kept = {name: whole.corruptions[name] for name in ("impulse_noise", "gaussian_noise")}
    return Spec("two", 32, "", "0" * 8, kept)


def noise(size: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def tiles(sheet: Image.Image, side: int, rows: int) -> npt.NDArray[np.uint8]:
    """(rows, 6, side, side, 3), counted from the lower right corner, where no text is; 4 pixels lie between tiles."""
    pixels = np.asarray(sheet)
    cut = [
        [pixels[-y * (side + 4) :][:side, -x * (side + 4) :][:, :side] for x in range(6, 0, -1)]
        for y in range(rows, 0, -1)
    ]
    return np.array(cut)


@pytest.mark.parametrize(("size", "scale"), [(32, 3), (100, 1), (5, 20)])
def test_rows_are_corruptions_and_columns_clean_and_severities(spec: Spec, size: int, scale: int) -> None:
    image = noise(size)
    assert size * scale >= TILE
    shown = tiles(contact_sheet(image, spec, seed=7), size * scale, rows=2)
    clean = np.asarray(image)
    batch = torch.from_numpy(clean.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    for row, name in enumerate(("impulse_noise", "gaussian_noise")):
        expected = [clean]
        for severity in range(1, 6):
            result = corrupt(batch, spec, name, severity, seed=7, indices=torch.tensor([0]))
            expected.append(np.floor(result[0].numpy() * np.float32(255)).astype(np.uint8).transpose(1, 2, 0))
        for column, pixels in enumerate(expected):
            enlarged = np.kron(pixels, np.ones((scale, scale, 1), dtype=np.uint8))
            np.testing.assert_array_equal(shown[row, column], enlarged)


def test_every_row_and_column_is_named(spec: Spec) -> None:
    sheet = np.asarray(contact_sheet(noise(32), spec).convert("L"))
    left, top = sheet.shape[1] - 6 * 100, sheet.shape[0] - 2 * 100
    assert all((sheet[top + row * 100 :][:96, :left] < 128).any() for row in range(2))
    assert all((sheet[:top, left + column * 100 :][:, :96] < 128).any() for column in range(6))
    assert (sheet[:top, :left] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(90, 30), (30, 90), (30, 30)])
def test_images_of_any_size_become_their_centre(width: int, height: int, tmp_path: Path) -> None:
    pixels = np.zeros((height, width), dtype=np.uint8)
    top, left = (height - 30) // 2, (width - 30) // 2
    pixels[top : top + 30, left : left + 30] = 200
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    square = read_square(tmp_path / "grey.png", 10)
    assert (square.mode, square.size) == ("RGB", (10, 10))
    assert (np.asarray(square) == 200).all()


def test_images_of_the_right_size_are_not_touched(tmp_path: Path) -> None:
    image = noise(32)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_square(tmp_path / "a.png", 32)), np.asarray(image))


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_what_is_no_image_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png is not a readable image"):
        read_square(tmp_path / "a.png", 32)
