"""Image folders: 32x32 JPEG files in ten classes, 50,000 for training, written here."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from row import Row, in_turn
from torchvision.io import decode_jpeg

from robustcsc.data import DecodedImages, ImageSet, hold_out, load
from robustcsc.data.splits import evenly_spaced

PART = "data"
FILES, CLASSES, SOME, FEW = 50_000, 10, 5_000, 200
LIBRARY = f"torchvision {torchvision.__version__.partition('+')[0]}"

warnings.simplefilter("ignore")  # torchvision's remark that the bytes cannot be written to


def rows() -> list[Row]:
    """Measures a folder in one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "images"
        write(root)
        os.environ["ROBUSTCSC_CACHE"] = "off"
        cold = [limited(root), whole(root)]
        os.environ["ROBUSTCSC_CACHE"] = str(Path(place) / "cache")
        return [*cold, kept(root, Path(place) / "pixels.npy"), fit(root)]


def write(root: Path) -> None:
    """Writes smoothed noise, whose files are about as large as those of photographs."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / "train" / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(FILES // CLASSES):
            image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            image.filter(ImageFilter.BoxBlur(1)).save(folder / f"{number:04}.jpg", quality=75)


def opened(root: Path) -> ImageSet:
    """Returns the images of the folder, to be decoded in one thread."""
    return load("imagefolder", root, "train", image_size=32, readers=1)


def pixels_of(images: ImageSet) -> NDArray[np.uint8]:
    """Returns the pixels of images that are decoded when they are used."""
    assert isinstance(images, DecodedImages)
    return images.in_memory.pixels.numpy()


def by_torchvision(files: list[str]) -> NDArray[np.uint8]:
    """Returns the pixels of files, decoded by torchvision alone."""
    found = np.empty((len(files), 3, 32, 32), np.uint8)
    for row, file in enumerate(files):
        with open(file, "rb") as opened:
            found[row] = decode_jpeg(torch.frombuffer(opened.read(), dtype=torch.uint8)).numpy()
    return found


def listed(root: Path) -> list[str]:
    """Returns the files of the folder in their order, as the shortest program finds them."""
    folders = sorted(entry.path for entry in os.scandir(root / "train"))
    return [path for folder in folders for path in sorted(entry.path for entry in os.scandir(folder))]


def limited(root: Path) -> Row:
    """A few images of a large folder, without a cache."""

    def other() -> NDArray[np.uint8]:
        files = listed(root)
        return by_torchvision([files[row * len(files) // FEW] for row in range(FEW)])

    def ours() -> NDArray[np.uint8]:
        return pixels_of(evenly_spaced(opened(root), FEW))

    assert np.array_equal(ours(), other())
    what = f"{FEW} of {FILES:,} JPEG files of 32x32 pixels, decoded for the first time"
    return Row.timed(PART, what, f"os.scandir, {LIBRARY} decode_jpeg of these", in_turn(ours, other), 1.5)


def whole(root: Path) -> Row:
    """Decoding."""
    some = evenly_spaced(opened(root), SOME)
    files = [str(root / "train" / file) for file in some.files]

    def ours() -> NDArray[np.uint8]:
        return pixels_of(some.subset(torch.arange(SOME)))

    assert np.array_equal(ours(), by_torchvision(files))
    timing = in_turn(ours, lambda: by_torchvision(files))
    return Row.timed(PART, f"{SOME:,} JPEG files of 32x32 pixels", f"{LIBRARY} decode_jpeg", timing, 1)


def kept(root: Path, file: Path) -> Row:
    """Reading what is kept, against a file of pixels that nobody compares with the images."""

    def ours() -> NDArray[np.uint8]:
        return pixels_of(evenly_spaced(opened(root), SOME))

    np.save(file, ours())
    assert np.array_equal(ours(), np.load(file))
    timing = in_turn(ours, lambda: np.array(np.load(file, mmap_mode="r")))
    what = f"{SOME:,} of {FILES:,} files for the second time: listed, read, hashed and found in the cache"
    return Row.timed(PART, what, "a copy from numpy's memory map of the same pixels", timing, None, note="unchecked")


def fit(root: Path) -> Row:
    """What `fit-lambda --limit 200` needs of a folder that a model was trained on."""

    def images() -> str:
        held = hold_out(opened(root), 0.1, 0)[1]
        next(held.subset(torch.arange(FEW)).batches(FEW))
        return held.fingerprint

    def uncached() -> str:
        before = os.environ["ROBUSTCSC_CACHE"]
        os.environ["ROBUSTCSC_CACHE"] = "off"
        try:
            return images()
        finally:
            os.environ["ROBUSTCSC_CACHE"] = before

    assert images() == uncached()
    timing = in_turn(images, uncached, repeats=5)
    what = f"images of fit-lambda --limit {FEW}, second time: {FILES:,} listed, a tenth held out and compared"
    return Row.timed(PART, what, "the first time", timing, None, note="target: 0.3 s")
