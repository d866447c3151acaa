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

from robustcsc.data.decode import UnreadableImageError, as_array, decode, read_header
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.data.tree import bare_note, find_split, image_files, ordered_classes
from robustcsc.errors import DataError
from robustcsc.measurements.records import ClassOrder, Location
from robustcsc.progress import Note, quiet

#: Largest total size of decoded RGB images that are kept in memory, in bytes: 2 GiB.
MEMORY_LIMIT_BYTES = 2 * 2**30

_CHUNK = 256


@dataclass(frozen=True)
class Listing:
    """The image files of one split, by class and then by path; a file's index is the image's position.

    Attributes:
        root: The folder that holds the class folders.
        classes: Names of the class folders, in the order of their labels.
        order: That order, if their numbers give another one than their text.
        files: ``"<class>/<image>"``, relative to `root`.
        labels: (N,), int64.
    """

    root: Path
    classes: tuple[str, ...]
    order: ClassOrder | None
    files: tuple[str, ...]
    labels: Tensor


def load_folder(
    root: Path,
    split: str,
    *,
    image_size: int | None,
    workers: int,
    class_order: ClassOrder | None,
    note: Note,
) -> MemoryImages | StreamedImages:
    """Returns one split of an image folder, named after the folder; `open_listing` decides what is kept in memory.

    Raises:
        DataError: The split or a class is missing or empty, the classes of the splits differ, no image is readable, or
            the images differ in size and `image_size` is ``None``.
    """
    try:
        listing = list_images(find_split(root, split), class_order, note)
    except OSError as error:
        raise DataError(
            f"The image folder {root} cannot be read ({error.strerror or error}): choose another --root."
        ) from error
    if listing.root == root:
        note(bare_note(root, listing.classes))
    location = Location(
        data="imagefolder", root=os.path.abspath(root), image_size=image_size, class_order=listing.order
    )
    images = open_listing(listing, split, image_size, workers, MEMORY_LIMIT_BYTES)
    return replace(images, name=root.absolute().name, location=location)


def list_images(folder: Path, class_order: ClassOrder | None = None, note: Note = quiet) -> Listing:
    """Returns the image files below the class folders of `folder`; other and hidden files are ignored.

    Args:
        folder: The folder that holds the class folders.
        class_order: As for `robustcsc.data.load`.
        note: Told which order was taken where nobody chose.

    Raises:
        DataError: A class folder has no images.
    """
    classes, order = ordered_classes(folder, class_order, note)
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = image_files(folder, name)
        if not found:
            raise DataError(f"The class folder {folder / name} has no images: add some or remove the folder.")
        files += found
        labels += [label] * len(found)
    return Listing(folder, classes, order, tuple(files), torch.tensor(labels))


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
                "add --image-size, the size they should be resized to, for example 224."
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
