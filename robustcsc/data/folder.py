"""Image folders, ``<root>/train|test/<class>/<image>``: small ones are kept in memory, large ones streamed."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from robustcsc.data.decode import UnreadableImageError, read_header
from robustcsc.data.decoded import DecodedImages, differing
from robustcsc.data.index import FolderIndex
from robustcsc.data.shards import Shards, class_names, find_shards
from robustcsc.data.streamed import StreamedImages
from robustcsc.data.tree import bare_note, find_split, ordered_classes
from robustcsc.errors import DataError
from robustcsc.measurements.records import ClassOrder, Location
from robustcsc.progress import Note, quiet

#: Largest total size of decoded RGB images that are kept in memory, in bytes: 2 GiB.
MEMORY_LIMIT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Listing:
    """The image files of one split, by class and then by path; a file's index is the image's position.

    Attributes:
        root: The folder that holds the class folders.
        classes: Names of the class folders, in the order of their labels.
        order: That order, if their numbers give another one than their text.
        files: ``"<class>/<image>"``, relative to `root`.
        labels: (N,), int64.
        shards: Where the images lie, if they are not files of their own.
        index: What is known of the folder from the last time.
    """

    root: Path
    classes: tuple[str, ...]
    order: ClassOrder | None
    files: tuple[str, ...]
    labels: Tensor
    shards: Shards | None = None
    index: FolderIndex | None = None

    def header(self, row: int) -> tuple[int, int, int]:
        """Returns channels, height and width of an image; raises `UnreadableImageError` if it has no header."""
        return read_header(self.root / self.files[row], None if self.shards is None else self.shards[row].read())


def load_folder(
    root: Path,
    split: str,
    *,
    image_size: int | None,
    readers: int,
    class_order: ClassOrder | None,
    note: Note,
) -> DecodedImages | StreamedImages:
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
    images = open_listing(listing, split, image_size, readers, MEMORY_LIMIT_BYTES)
    return replace(images, name=root.absolute().name, location=location)


def load_shards(root: str, split: str, *, image_size: int | None, readers: int) -> StreamedImages:
    """Returns one split of WebDataset shards, named after the folder that they lie in.

    Args:
        root: As for `find_shards`.
        split: ``"train"`` or ``"test"``.
        image_size: As for `robustcsc.data.load`.
        readers: Processes that read images.

    Raises:
        DataError: As for `find_shards`, `read_shard`, `class_names` and `open_listing`.
    """
    paths = find_shards(root, split)
    folder = Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]))
    names = [os.path.relpath(os.path.abspath(path), folder) for path in paths]
    index = FolderIndex(folder, split)
    shards = [*map(index.samples, names)]
    samples = [*chain.from_iterable(shards)]
    numbers = torch.arange(len(paths)).repeat_interleave(torch.tensor([*map(len, shards)]))
    places = torch.column_stack((numbers, torch.tensor([(it.offset, it.size) for it in samples])))
    listing = Listing(
        folder,
        class_names(samples),
        None,
        tuple(f"{names[number]}/{it.file}" for number, it in zip(numbers.tolist(), samples, strict=True)),
        torch.tensor([it.label for it in samples]),
        Shards(tuple(map(os.path.abspath, paths)), places),
        index,
    )
    images = open_listing(listing, split, image_size, readers, memory_limit=0)
    assert isinstance(images, StreamedImages)
    pattern = os.path.expanduser(root)  # braces may hold what begins with a slash
    whole = pattern if pattern.startswith("{") and all(map(os.path.isabs, paths)) else os.path.abspath(pattern)
    location = Location(data="webdataset", root=whole, image_size=image_size)
    return replace(images, name=folder.name, location=location)


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
    counts: list[int] = []
    index = FolderIndex(folder)
    for name in classes:
        found = index.files(name)
        if not found:
            raise DataError(f"The class folder {folder / name} has no images: add some or remove the folder.")
        files += found
        counts.append(len(found))
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor(counts))
    return Listing(folder, classes, order, tuple(files), labels, index=index)


def open_listing(
    listing: Listing, split: str, image_size: int | None, readers: int, memory_limit: int
) -> DecodedImages | StreamedImages:
    """Returns the listed images, to be kept in memory or streamed; only headers are read.

    They are kept in memory if the first has the size asked for (any, if `image_size` is ``None``) and the pixels of all
    fit into `memory_limit` bytes. Otherwise they are streamed: resized and cropped to `image_size`, or unchanged if no
    size is given and all have the same. Images stay grey if all are grey, and are converted to RGB otherwise.

    Raises:
        DataError: No image has a header, or those to be streamed differ in size and no `image_size` is given.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"The image size is {image_size}: it must be at least 1 pixel.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about metadata
        channels, height, width = _first_header(listing)
        fits = 3 * height * width * len(listing.files) <= memory_limit
        kept = fits and image_size in (None, height) and image_size in (None, width)
        if not kept and image_size is None:
            _check_sizes(listing, height, width)
        if channels == 1 and any(_channels(listing, row) == 3 for row in range(len(listing.files))):
            channels = 3
    kind = DecodedImages if kept else partial(StreamedImages, shards=listing.shards, _index=listing.index)
    return kind(
        name="imagefolder",
        split=split,
        classes=listing.classes,
        root=listing.root,
        files=listing.files,
        labels=listing.labels,
        positions=torch.arange(len(listing.files)),
        image_shape=(channels, image_size or height, image_size or width),
        crop=image_size is not None,
        readers=readers,
    )


def _check_sizes(listing: Listing, height: int, width: int) -> None:
    """Raises DataError if an image has another size."""
    for row in range(len(listing.files)):
        with suppress(UnreadableImageError):
            _, *size = listing.header(row)
            if size != [height, width]:
                raise DataError(differing(listing.root, (height, width), size))


def _channels(listing: Listing, row: int) -> int:
    """Returns the channels of an image; 0 if it has no header."""
    try:
        return listing.header(row)[0]
    except UnreadableImageError:
        return 0


def _first_header(listing: Listing) -> tuple[int, int, int]:
    """Returns channels, height and width of the first file that has a header."""
    for row in range(len(listing.files)):
        try:
            return listing.header(row)
        except UnreadableImageError:
            continue
    raise DataError(f"None of the {len(listing.files)} images in {listing.root} can be read.")
