import importlib
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustcsc.data.decode import (
    UnreadableImageError,
    _random_part,
    as_array,
    decode,
    evaluation_view,
    read_header,
    training_view,
)

v2 = importlib.import_module("torchvision.transforms.v2")
RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_cut_anywhere_is_unreadable(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    PHOTO.save(path)
    content = path.read_bytes()
    assert decode(path).size == (30, 40)
    # A PNG ends with two checksums (8 bytes) and an empty chunk (12): without those its pixels are still complete.
    last = len(content) - (1 if suffix == ".jpg" else 24)
    for length in [*range(0, last, 61), last]:
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableImageError, match=f"photo{suffix} is not a readable image"):
            decode(path)


def test_text_and_missing_files_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not an image")
    for name in ("note.png", "nowhere.png"):
        for read in (decode, read_header):
            with pytest.raises(UnreadableImageError, match=name):
                read(tmp_path / name)


def test_the_header_tells_channels_height_and_width(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "colour.jpg")
    PHOTO.convert("L").save(tmp_path / "grey.jpg")
    assert read_header(tmp_path / "colour.jpg") == (3, 40, 30)
    assert read_header(tmp_path / "grey.jpg") == (1, 40, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"])
def test_the_header_of_a_png_file_tells_what_decoding_gives(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new(mode, (7, 5)).save(path)
    height, width, channels = as_array(decode(path)).shape
    assert read_header(path) == (channels, height, width) == (1 if mode in ("1", "L", "LA", "I;16") else 3, 5, 7)
    path.write_bytes(path.read_bytes()[:25])
    with pytest.raises(UnreadableImageError):
        read_header(path)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)  # 257 k of 65535 is k of 255
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert as_array(decode(tmp_path / "deep.png")).tolist() == [[[0], [1], [128], [255]]]


def test_transparency_and_palettes_become_rgb(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 1), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (2, 1), (10, 20, 30)).quantize(4).save(tmp_path / "palette.png")
    for name in ("clear.png", "palette.png"):
        assert as_array(decode(tmp_path / name)).tolist() == [[[10, 20, 30]] * 2]


@pytest.mark.parametrize("width, height", [(50, 41), (41, 50), (300, 70), (24, 24), (16, 90)])
def test_the_evaluation_view_is_torchvisions_resize_and_centre_crop(width: int, height: int) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))
    expected = v2.Compose([v2.Resize(37), v2.CenterCrop(32)])(image)  # 32 * 256 / 224 = 36.57
    np.testing.assert_array_equal(np.asarray(evaluation_view(image, 32)), np.asarray(expected))


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    image = Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(evaluation_view(image, 32)), np.asarray(image))


def test_random_parts_lie_inside_with_the_stated_areas_and_ratios() -> None:
    rng = np.random.default_rng(1)
    parts = np.array([_random_part(400, 300, rng) for _ in range(2000)])
    left, top, width, height = parts.T
    assert left.min() >= 0 and top.min() >= 0
    assert (left + width).max() <= 400 and (top + height).max() <= 300
    share, ratio = width * height / (400 * 300), width / height
    assert 0.075 < share.min() < 0.12 and 0.93 < share.max() <= 1.0
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    assert abs(np.log(ratio[share < 0.4]).mean()) < 0.03  # small parts always fit: log-uniform, so symmetric


def test_very_long_images_give_their_centre() -> None:
    assert _random_part(1000, 9, np.random.default_rng(0)) == (494, 0, 12, 9)  # 9 * 4 / 3 = 12, (1000 - 12) / 2
    assert _random_part(9, 1000, np.random.default_rng(0)) == (0, 494, 9, 12)


def test_half_of_the_training_views_are_mirrored() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1)))
    rng = np.random.default_rng(2)
    views = [np.asarray(training_view(ramp, 16, 12, rng)).astype(int) for _ in range(400)]
    rising = [bool(view[0, -1] > view[0, 0]) for view in views]
    assert all(view.shape == (16, 12) for view in views)
    assert abs(sum(rising) - 200) < 4 * math.sqrt(400 / 4)  # four standard deviations
