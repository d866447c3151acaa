"""The data sets by name, and `load`, which opens them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from robustcsc.data.embedded import load_digits
from robustcsc.data.folder import load_folder
from robustcsc.data.images import ImageSet
from robustcsc.data.torchvision_sets import load_torchvision
from robustcsc.errors import DataError, UnknownNameError
from robustcsc.measurements.records import ClassOrder, Location
from robustcsc.progress import Note
from robustcsc.roots import find_root


@dataclass(frozen=True)
class DataSource:
    """Facts about a data set that are known without its files.

    Attributes:
        about: One line of description.
        image_shape: Channels, height and width; ``None`` if it depends on the files.
        num_classes: Number of classes; ``None`` if it depends on the folders.
        needs_root: Whether `load` needs the folder of its files.
        can_download: Whether missing files can be downloaded.
    """

    about: str
    image_shape: tuple[int, int, int] | None
    num_classes: int | None
    needs_root: bool = True
    can_download: bool = True


#: Every data set that `load` knows.
DATASETS: dict[str, DataSource] = {
    "digits": DataSource(
        "8x8 handwritten digits of scikit-learn, 1,297 + 500 images, embedded", (1, 8, 8), 10, False, False
    ),
    "cifar10": DataSource("CIFAR-10, 50,000 + 10,000 images, torchvision's files", (3, 32, 32), 10),
    "cifar100": DataSource("CIFAR-100, 50,000 + 10,000 images, torchvision's files", (3, 32, 32), 100),
    "svhn": DataSource("Street View House Numbers, 73,257 + 26,032 images, torchvision's files", (3, 32, 32), 10),
    "mnist": DataSource("MNIST, 60,000 + 10,000 images, torchvision's files", (1, 28, 28), 10),
    "fashion-mnist": DataSource("Fashion-MNIST, 60,000 + 10,000 images, torchvision's files", (1, 28, 28), 10),
    "imagefolder": DataSource(
        "any tree <root>/train|test/<class>/<image>; val counts as test", None, None, can_download=False
    ),
}

SPLITS = ("train", "test")


def load(
    name: str,
    root: str | Path | None = None,
    split: str = "test",
    *,
    download: bool = False,
    image_size: int | None = None,
    workers: int = 2,
    class_order: ClassOrder | None = None,
    note: Note = warnings.warn,
) -> ImageSet:
    """Returns one split of a data set.

    Args:
        name: A key of `DATASETS`.
        root: Folder with the data set's files, by default ``$ROBUSTCSC_DATA/NAME``; ``digits`` needs none.
        split: ``"train"`` or ``"test"``.
        download: Whether torchvision may download missing files to `root`.
        image_size: Height and width to which images of a folder are resized and cropped (`decode.evaluation_view`);
            by default all must have the same size.
        workers: Threads that decode a small image folder, or processes that read a large one; at least 0.
        class_order: Order of the class folders 0, 1, 10, 2 and the like as labels: ``"number"`` (also if ``None``, and
            `note` is told), or ``"text"``, which is the one of torchvision's ImageFolder.
        note: Told what the folders were taken for, if that is in doubt.

    Raises:
        UnknownNameError: There is no such data set or split.
        DataError: Files are missing or unreadable, or an option does not fit the data set.

    Examples:
        >>> load("digits").image_shape
        (1, 8, 8)
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if workers < 0:
        raise DataError(f"The number of workers is {workers}: it must be at least 0.")
    source = DATASETS[name]
    if source.image_shape is not None and image_size not in (None, source.image_shape[1]):
        size = source.image_shape[1]
        raise DataError(
            f"{name} has images of {size}x{size} pixels: leave --image-size out, or use --data imagefolder."
        )
    if class_order is not None and name != "imagefolder":
        raise DataError(f"{name} has no class folders: leave --class-order out.")
    if name == "digits":
        return replace(load_digits(split), location=Location(data=name))
    folder = find_root(name, download=download) if root is None else Path(root).expanduser()
    if download and not source.can_download:
        raise DataError(
            f"{name} cannot be downloaded: leave --download out, and give --root the folder that holds its images."
        )
    if name == "imagefolder":
        return load_folder(folder, split, image_size=image_size, workers=workers, class_order=class_order, note=note)
    location = Location(data=name, root=os.path.abspath(folder), image_size=image_size)
    return replace(load_torchvision(name, folder, split, download), location=location)
