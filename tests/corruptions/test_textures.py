"""The photographs of frost: which files, which pixels, and crops as plain slices of them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions.textures import Textures, crop, load_textures
from robustcsc.errors import DataError
from robustcsc.measurements.severity_tables import textures_digest

CPU = torch.device("cpu")
NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
SMALL_SIZES = ((120, 180), (63, 112), (63, 112), (70, 105), (99, 132))  # of the originals times 0.2


def picture(textures: Textures, index: int) -> torch.Tensor:
    """(3, H, W), a whole photograph."""
    height, width = textures.sizes[index]
    return crop(textures, torch.tensor([index]), torch.zeros(1, 2, dtype=torch.int64), height, width)[0]


def decoded(path: Path) -> torch.Tensor:
    """(3, H, W), a file as Pillow reads it, any fourth channel cut off."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)[:, :, :3]).permute(2, 0, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five transparent PNG files (whatever their suffix) of different sizes."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        pixels = generator.integers(0, 256, (11 + number, 17 - number, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name, format="PNG")
    return tmp_path


def test_pixels_are_those_of_the_files_without_transparency(folder: Path) -> None:
    textures = load_textures(folder, 1.0, CPU)
    assert textures.sizes == ((11, 17), (12, 16), (13, 15), (14, 14), (15, 13))
    for index, name in enumerate(NAMES):
        assert torch.equal(picture(textures, index), decoded(folder / name))


def test_crops_are_slices(folder: Path) -> None:
    textures = load_textures(folder, 1.0, CPU)
    index = torch.tensor([4, 0, 2, 2, 3])
    corners = torch.tensor([[0, 0], [5, 9], [3, 8], [6, 0], [7, 6]])
    crops = crop(textures, index, corners, 6, 7)
    for one, number, (row, column) in zip(crops, index.tolist(), corners.tolist(), strict=True):
        assert torch.equal(one, decoded(folder / NAMES[number])[:, row : row + 6, column : column + 7])


def test_a_fifth_of_the_size_keeps_every_fifth_pixel(reference: Any) -> None:
    originals = reference.path("frost/frost1.png").parent
    textures = load_textures(originals, 0.2, CPU)
    assert textures.sizes == SMALL_SIZES
    for index, name in enumerate(NAMES):
        assert torch.equal(picture(textures, index), decoded(originals / name)[:, 2::5, 2::5])


def test_half_the_size_lies_between_the_pixels_of_a_ramp(folder: Path) -> None:
    ramp = np.broadcast_to(12 * np.arange(20, dtype=np.uint8)[None, :, None], (10, 20, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(folder / "frost1.png")
    halved = picture(load_textures(folder, 0.5, CPU), 0)
    assert halved.shape == (3, 5, 10)
    assert torch.equal(halved, (24 * torch.arange(10, dtype=torch.uint8) + 6).expand(3, 5, 10))


def test_packaged_photographs_stand_for_the_originals(reference: Any) -> None:
    originals = load_textures(reference.path("frost/frost1.png").parent, 1.0, CPU)
    packaged = load_textures(None, 1.0, CPU)
    differences = [
        float((picture(packaged, index).float() - picture(originals, index).float()).abs().mean()) for index in range(5)
    ]
    assert differences == pytest.approx([4.43, 2.82, 2.82, 0.0, 0.0], abs=0.1)


def test_packaged_photographs_are_there_in_the_originals_sizes() -> None:
    packaged = load_textures(None, 0.2, CPU)
    assert packaged.sizes == SMALL_SIZES
    assert torch.equal(picture(packaged, 1), picture(packaged, 2))
    means = [float(picture(packaged, index).float().mean()) for index in (0, 1, 3, 4)]
    assert means == pytest.approx([131, 207, 152, 123], abs=3)  # of the originals' mean colours


def test_files_are_decoded_once(folder: Path) -> None:
    first = load_textures(folder, 1.0, CPU)
    (folder / "frost1.png").unlink()
    assert load_textures(folder, 1.0, CPU) is first


def test_the_digest_is_that_of_the_five_files_in_order(folder: Path) -> None:
    content = b"".join((folder / name).read_bytes() for name in NAMES)
    assert textures_digest(folder) == hashlib.sha256(content).hexdigest()[:8]
    (folder / "frost6.jpg").write_bytes(b"never used")
    assert textures_digest(folder) == hashlib.sha256(content).hexdigest()[:8]
    (folder / "frost5.jpg").write_bytes((folder / "frost5.jpg").read_bytes() + b"x")
    assert textures_digest(folder) != hashlib.sha256(content).hexdigest()[:8]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "frost4.jpg").unlink()
    for read in (textures_digest, lambda place: load_textures(place, 1.0, CPU)):
        with pytest.raises(DataError, match=r"frost4\.jpg cannot be read \(No such file or directory\); give --frost"):
            read(folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_image_is_named(folder: Path, content: bytes) -> None:
    (folder / "frost2.png").write_bytes(content)
    with pytest.raises(DataError, match=r"frost2\.png is not a readable image; replace it"):
        load_textures(folder, 1.0, CPU)
