import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.data import DecodedImages, cache, decoded, hold_out, load
from robustcsc.data.cache import PixelCache
from robustcsc.data.decode import as_array, decode
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import DataError

Tree = tuple[Path, dict[str, np.ndarray[Any, np.dtype[np.uint8]]]]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that keeps also few images."""
    monkeypatch.setenv("ROBUSTCSC_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "FEWEST_BYTES", 1)
    monkeypatch.setattr(cache, "SPARE_BYTES", 0)
    return tmp_path / "kept"


@pytest.fixture
def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded since, in their order."""
    found: list[str] = []
    reader = decoded._Reader
    original = reader._decode

    def watched(self: decoded._Reader, content: bytes, path: Path) -> Any:
        found.append("/".join(path.parts[-2:]))
        return original(self, content, path)

    monkeypatch.setattr(reader, "_decode", watched)
    return found


def opened(root: Path) -> DecodedImages:
    images = load("imagefolder", root, readers=0)
    assert isinstance(images, DecodedImages)
    return images


def assert_right(root: Path, pixels: dict[str, Any]) -> None:
    """All images that are read from the folder now have the given pixels."""
    expected = np.stack([pixels[file] for file in sorted(pixels)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(opened(root).in_memory.pixels.numpy(), expected)


def only_file(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


def test_only_images_that_are_used_are_decoded_and_once(tree: Tree, decoded_files: list[str]) -> None:
    images = opened(tree[0])
    some = evenly_spaced(images, 4)
    assert decoded_files == []
    assert some.fingerprint == evenly_spaced(images, 4).fingerprint
    assert decoded_files == ["cat/0.png", "dog/0.png", "dog/3.png", "emu/2.png"] * 2
    decoded_files.clear()
    held = hold_out(images, 0.34, 0)[1]
    next(held.batches(2))
    assert sorted(decoded_files) == sorted(held.files)
    decoded_files.clear()
    part = held.subset(torch.tensor([2, 0])).subset(torch.tensor([1]))
    assert torch.equal(next(part.batches(1)).images, next(held.batches(1)).images)
    assert decoded_files == []


def test_kept_images_are_not_decoded_again(tree: Tree, kept: Path, decoded_files: list[str]) -> None:
    root, pixels = tree
    next(evenly_spaced(opened(root), 4).batches(4))
    assert len(decoded_files) == 4
    assert_right(root, pixels)
    assert len(decoded_files) == 12
    assert len(set(decoded_files)) == 12
    assert_right(root, pixels)
    # Images are known by their content, wherever they lie.
    assert_right(root.rename(root.with_name("other")), pixels)
    assert len(decoded_files) == 12


def test_no_byte_of_the_cache_is_trusted(tree: Tree, kept: Path) -> None:
    root, pixels = tree
    assert_right(root, pixels)
    path = only_file(kept)
    whole = path.read_bytes()
    assert len(whole) == 12 * (32 + 4 + 240)
    for place in range(0, len(whole), 19):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        assert_right(root, pixels)
        for other in set(path.parent.iterdir()) - {path}:
            other.unlink()
    for content in (b"", whole[:100], whole[: 12 * 36], whole[:-1], whole * 2, b"\0" * len(whole), whole[276:]):
        path.write_bytes(content)
        assert_right(root, pixels)
        for other in set(path.parent.iterdir()) - {path}:
            other.unlink()


def test_a_changed_file_is_another_image(tree: Tree, kept: Path) -> None:
    root, pixels = tree
    flat = tuple(np.full((10, 8, 3), value, np.uint8) for value in (10, 11))
    path = root / "test" / "cat" / "1.bmp"
    (root / "test" / "cat" / "1.png").unlink()
    del pixels["cat/1.png"]
    Image.fromarray(flat[0]).save(path)
    pixels["cat/1.bmp"] = flat[0]
    assert_right(root, pixels)
    before = path.stat()
    Image.fromarray(flat[1]).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    pixels["cat/1.bmp"] = flat[1]
    assert_right(root, pixels)


def test_processes_that_decode_the_same_at_once_keep_it_once(kept: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 3, 5, 4), dtype=np.uint8)
    digests = [bytes([value]) * 32 for value in (5, 3, 200, 0, 255, 128)]
    first, second, third = (PixelCache((3, 5, 4), False) for _ in range(3))
    first.keep(digests, pixels, range(6))
    second.keep(digests, pixels, range(6))
    third.keep(digests, pixels, range(2, 4))
    assert len(list(kept.rglob("*.pixels"))) == 2
    (kept / "robustcsc" / "pixels" / "killed.partial").write_bytes(b"x")  # what a killed one left
    found = np.zeros((4, 3, 5, 4), np.uint8)
    asked = [digests[3], b"\7" * 32, digests[5], digests[0]]
    assert PixelCache((3, 5, 4), False).find(asked, found) == [True, False, True, True]
    np.testing.assert_array_equal(found[[0, 2, 3]], pixels[[3, 5, 0]])
    for shape, crop in (((3, 4, 5), False), ((3, 5, 4), True)):
        assert not any(PixelCache(shape, crop).find(asked, np.zeros((4, *shape), np.uint8)))


@pytest.fixture
def little_space() -> Iterator[None]:
    """The system refuses files of more than 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("little_space")
def test_a_full_disk_keeps_nothing_and_fails_nothing(tree: Tree, kept: Path) -> None:
    root, pixels = tree
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        (root / "large").write_bytes(b"0" * 1001)
    assert_right(root, pixels)
    assert kept.is_dir()
    assert not [path for path in kept.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_fails_nothing(tree: Tree, kept: Path) -> None:
    kept.write_text("a file")
    assert_right(*tree)


def test_what_was_used_last_stays(tree: Tree, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((3, 1, 10, 10), np.uint8)
    digests = [bytes([value]) * 32 for value in range(3)]
    monkeypatch.setattr(cache, "MOST_BYTES", 2 * 136)
    for row in range(3):
        PixelCache((1, 10, 10), False).keep(digests, pixels, [row])
        for path in kept.rglob("*.pixels"):  # each command comes a second after the one before
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
        if row == 1:
            again = PixelCache((1, 10, 10), False)
            assert again.find([digests[0]], pixels[:1]) == [True]
            again.keep(digests, pixels, [])
    assert PixelCache((1, 10, 10), False).find(digests, pixels) == [True, False, True]


def test_nothing_is_kept_if_that_is_off(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FEWEST_BYTES", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("ROBUSTCSC_CACHE", "off")
    assert_right(*tree)
    assert not (tmp_path / "caches").exists()
    monkeypatch.delenv("ROBUSTCSC_CACHE")
    assert_right(*tree)
    assert only_file(tmp_path / "caches").is_relative_to(tmp_path / "caches" / "robustcsc" / "pixels")


def jpegs() -> dict[str, bytes]:
    """JPEG files of all kinds, 8x10 pixels, by a name."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 8, 4), dtype=np.uint8)
    colour, turned = Image.fromarray(noise[:, :, :3]), Image.Exif()
    turned[0x0112] = 6
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "420": (colour, {"subsampling": "4:2:0"}),
        "422": (colour, {"subsampling": "4:2:2"}),
        "444": (colour, {"subsampling": "4:4:4"}),
        "rgb": (colour, {"keep_rgb": True}),
        "progressive": (colour, {"progressive": True}),
        "best": (colour, {"quality": 100}),
        "turned": (colour, {"exif": turned}),
        "grey": (colour.convert("L"), {}),
        "cmyk": (Image.fromarray(noise, "CMYK"), {}),
        "restarts": (colour, {"restart_marker_blocks": 1}),
    }
    found = {}
    for name, (image, settings) in files.items():
        file = io.BytesIO()
        image.save(file, "JPEG", **settings)
        found[name] = file.getvalue()
    return found


@pytest.mark.parametrize("name", jpegs())
def test_jpeg_files_have_the_pixels_that_pillow_gives(name: str, tmp_path: Path) -> None:
    (tmp_path / "test" / "a").mkdir(parents=True)
    path = tmp_path / "test" / "a" / "0.jpg"
    path.write_bytes(jpegs()[name])
    expected = as_array(decode(path)).transpose(2, 0, 1)
    images = opened(tmp_path)
    np.testing.assert_array_equal(images.in_memory.pixels[0].numpy(), expected)
    assert images.image_shape == expected.shape == (1 if name == "grey" else 3, 10, 8)


@pytest.mark.parametrize("name", ["420", "progressive", "grey", "cmyk"])
def test_damage_in_a_jpeg_file_is_met_as_pillow_meets_it(name: str, tmp_path: Path) -> None:
    content = jpegs()[name]
    folder = tmp_path / "test" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    variants = [content[:length] for length in range(2, len(content), 7)] + [content[:-1]]
    for place in rng.integers(2, len(content), 150):
        variants.append(content[:place] + bytes([rng.integers(256)]) + content[place + 1 :])
    for number, variant in enumerate(variants):
        (folder / f"{number:03}.jpg").write_bytes(variant)
    expected = {}
    for path in sorted(folder.iterdir()):
        try:
            pixels = as_array(decode(path)).transpose(2, 0, 1)
        except DataError:
            continue
        if pixels.shape[1:] == (10, 8):
            expected[path.name] = np.broadcast_to(pixels, (3, 10, 8)) if len(pixels) == 1 else pixels
        else:
            path.unlink()
    files = sorted(path.name for path in folder.iterdir())
    images = DecodedImages(
        name="damaged",
        split="test",
        classes=("a",),
        root=folder,
        files=tuple(files),
        labels=torch.zeros(len(files), dtype=torch.int64),
        positions=torch.arange(len(files)),
        image_shape=(3, 10, 8),
        crop=False,
    )
    found = dict(zip(images.in_memory.files, images.in_memory.pixels.numpy(), strict=True))
    assert list(found) == sorted(expected)
    assert 0 < len(found) < len(files)
    for file, pixels in expected.items():
        np.testing.assert_array_equal(found[file], pixels)


def test_the_fast_decoder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, content: bytes) -> Image.Image:
        raise AssertionError("Pillow decodes")

    (tmp_path / "test" / "a").mkdir(parents=True)
    (tmp_path / "test" / "a" / "0.jpg").write_bytes(jpegs()["420"])
    images = opened(tmp_path)
    monkeypatch.setattr(decoded, "decode", refused)
    assert len(images.in_memory) == 1


def test_another_decoder_that_rounds_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcsc.data import jpeg

    right = jpeg.jpeg_decoder()
    assert right is not None
    assert jpeg._agrees_with_pillow(right)
    assert not jpeg._agrees_with_pillow(lambda content: right(content) ^ np.uint8(1))
    assert not jpeg._agrees_with_pillow(lambda content: right(content)[:, ::-1])


def test_colours_in_a_grey_folder_are_refused(tmp_path: Path, write_image: Callable[..., Any]) -> None:
    for name in ("1", "2"):
        write_image(tmp_path / "test" / "a" / f"{name}.png", np.zeros((4, 4), np.uint8))
    images = opened(tmp_path)
    write_image(tmp_path / "test" / "a" / "2.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"2\.png has colours, but the images in .* were grey"):
        images.batches(2)
