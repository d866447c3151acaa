"""Image folders, ``<root>/train|test/<class>/<image>``: small ones are read into memory, large ones streamed."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustcsc.data.decode import IMAGE_SUFFIXES, UnreadableImageError, as_array, decode, read_header
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.errors import DataError

#: Largest total size of decoded RGB images that are kept in memory, in bytes: 2 GiB.
MEMORY_LIMIT_BYTES = 2 * 2**30

#: Names of the folder of each split, in the order of preference; ImageNet calls its test images ``val``.
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val")}

_SPLIT_NAMES = tuple(name for names in SPLIT_FOLDERS.values() for name in names)
_CHUNK = 256


@dataclass(frozen=True)
class Listing:
    """The image files of one split, sorted by class and then by path; a file's index is the image's position.

    Attributes:
        root: The folder that holds the class folders.
        classes: Names of the class folders, sorted.
        files: ``"<class>/<image>"``, relative to `root`.
        labels: (N,), int64.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: Tensor


def load_folder(root: Path, split: str, image_size: int | None, workers: int) -> MemoryImages | StreamedImages:
    """Returns one split of an image folder, named after the folder; `open_listing` decides what is kept in memory.

    Raises:
        DataError: The split or a class is missing or empty, the classes of the splits differ, no image is readable, or
            the images differ in size and `image_size` is ``None``.
    """
    try:
        listing = list_images(find_split(root, split))
    except OSError as error:
        raise DataError(f"The image folder {root} cannot be read: {error.strerror or error}.") from error
    images = open_listing(listing, split, image_size, workers, MEMORY_LIMIT_BYTES)
    return replace(images, name=root.absolute().name)


def find_split(root: Path, split: str) -> Path:
    """Returns the folder with the class folders of a split.

    That is ``train`` for training and ``test`` or ``val`` for testing. A root with none of them is itself the test
    split, so that a plain folder of classes can be evaluated, but not trained on.

    Raises:
        DataError: The folder is missing, or the classes of the two splits differ.
    """
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder: give the one that holds train/<class>/<image> and test/<class>/<image>."
        )
    folders = {name: _first_with_classes(root, SPLIT_FOLDERS[name]) for name in SPLIT_FOLDERS}
    train, test = folders["train"], folders["test"]
    if train and test:
        different = sorted(set(_class_names(train)) ^ set(_class_names(test)))
        if different:
            raise DataError(
                f"{train} and {test} must have the same class folders, but {different[0]!r} is only in one of them."
            )
    found = folders[split]
    if found is None and split == "test" and not any((root / name).exists() for name in _SPLIT_NAMES):
        return root
    if found is None:
        wanted = " or ".join(f"{name}/<class>/<image>" for name in SPLIT_FOLDERS[split])
        raise DataError(f"{root} has no {split} images: they must lie in {wanted}.")
    return found


def list_images(folder: Path) -> Listing:
    """Returns the image files below the class folders of `folder`; other and hidden files are ignored.

    Raises:
        DataError: There are no class folders, or one of them has no images.
    """
    classes = _class_names(folder)
    if not classes:
        raise DataError(f"{folder} has no class folders: images must lie in {folder}/<class>/<image>.")
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _image_files(folder, name)
        if not found:
            raise DataError(f"The class folder {folder / name} has no images: add some or remove the folder.")
        files += found
        labels += [label] * len(found)
    return Listing(folder, classes, tuple(files), torch.tensor(labels))


def open_listing(
    listing: Listing, split: str, image_size: int | None, workers: int, memory_limit: int
) -> MemoryImages | StreamedImages:
    """Returns the listed images, in memory or streamed.

    They are kept in memory if all have the same size (`image_size`, if given) and their decoded pixels fit into
    `memory_limit` bytes. Otherwise they are streamed: resized and cropped to `image_size`, or unchanged if no size is
    given and all have the same. Images stay grey if all are grey, and are converted to RGB otherwise.

    Raises:
        DataError: No image is readable, or the images differ in size and no `image_size` is given.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"The image size is {image_size}: it must be at least 1 pixel.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about metadata
        _, height, width = _first_header(listing)
        fits = 3 * height * width * len(listing.files) <= memory_limit
        if fits and image_size in (None, height) and image_size in (None, width):
            pixels = _decode_all(listing, height, width, max(workers, 1))
            if pixels is not None:
                return _in_memory(listing, split, *pixels)
        return _streamed(listing, split, image_size, workers)


def _in_memory(listing: Listing, split: str, pixels: Tensor, readable: Tensor) -> MemoryImages:
    """Returns the readable images; the positions of unreadable ones are left out."""
    if not readable.any():
        raise DataError(f"None of the {len(listing.files)} images in {listing.root} can be read.")
    positions = readable.nonzero().flatten()
    return MemoryImages(
        name="imagefolder",
        split=split,
        classes=listing.classes,
        pixels=pixels if readable.all() else pixels[positions],
        labels=listing.labels[positions],
        positions=positions,
        files=tuple(listing.files[position] for position in positions.tolist()),
        unreadable=tuple(
            str(listing.root / listing.files[position]) for position in (~readable).nonzero().flatten().tolist()
        ),
    )


def _streamed(listing: Listing, split: str, image_size: int | None, workers: int) -> StreamedImages:
    """Returns the images as a stream, after reading the number of channels and the sizes from the headers."""
    channels, height, width = _first_header(listing)
    for file in listing.files:
        if image_size is not None and channels == 3:
            break
        try:
            more_channels, *size = read_header(listing.root / file)
        except UnreadableImageError:
            continue
        channels = max(channels, more_channels)
        if image_size is None and size != [height, width]:
            raise DataError(
                f"The images in {listing.root} differ in size ({width}x{height} and {size[1]}x{size[0]} pixels): "
                "give the image size they should be resized to, for example 224."
            )
    return StreamedImages(
        name="imagefolder",
        split=split,
        classes=listing.classes,
        root=listing.root,
        files=listing.files,
        labels=listing.labels,
        positions=torch.arange(len(listing.files)),
        image_shape=(channels, image_size or height, image_size or width),
        crop=image_size is not None,
        workers=workers,
    )


def _first_header(listing: Listing) -> tuple[int, int, int]:
    """Returns channels, height and width of the first file that has a header."""
    for file in listing.files:
        try:
            return read_header(listing.root / file)
        except UnreadableImageError:
            continue
    raise DataError(f"None of the {len(listing.files)} images in {listing.root} can be read.")


def _decode_all(listing: Listing, height: int, width: int, threads: int) -> tuple[Tensor, Tensor] | None:
    """Returns pixels (N, C, H, W) and a mask of the readable files, or ``None`` if an image has another size."""
    count = len(listing.files)
    pixels = np.empty((count, 3, height, width), np.uint8)
    channels = np.zeros(count, np.uint8)

    def decode_chunk(start: int) -> bool:
        for position in range(start, min(start + _CHUNK, count)):
            try:
                image = as_array(decode(listing.root / listing.files[position]))
            except UnreadableImageError:
                continue
            if image.shape[:2] != (height, width):
                return False
            pixels[position] = image.transpose(2, 0, 1)  # a grey image fills all three channels
            channels[position] = image.shape[2]
        return True

    pool = ThreadPoolExecutor(threads)
    try:
        same_size = all(pool.map(decode_chunk, range(0, count, _CHUNK)))
    finally:
        pool.shutdown(cancel_futures=True)
    if not same_size:
        return None
    kept = pixels if (channels == 3).any() else np.ascontiguousarray(pixels[:, :1])
    return torch.from_numpy(kept), torch.from_numpy(channels > 0)


def _first_with_classes(root: Path, names: tuple[str, ...]) -> Path | None:
    """Returns the first of the named folders that has class folders (the test folder of ImageNet has none)."""
    return next((root / name for name in names if (root / name).is_dir() and _class_names(root / name)), None)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(
        sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    )


def _image_files(folder: Path, name: str) -> list[str]:
    """Returns ``"<name>/<image>"`` for the image files anywhere below the class folder `name`, sorted."""
    prefix = len(os.path.join(folder, ""))
    found = []
    for where, folders, files in os.walk(os.path.join(folder, name), followlinks=True):
        folders[:] = [below for below in folders if not below.startswith(".")]
        found += [
            os.path.join(where, file)[prefix:].replace(os.sep, "/")
            for file in files
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)
