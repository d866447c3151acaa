"""`load`, which opens the data sets of `robustcsc.measurements.datasets`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robustcsc.data.embedded import load_digits
from robustcsc.data.folder import load_folder, load_shards
from robustcsc.data.images import ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.textures import load_textures
from robustcsc.data.torchvision_sets import load_torchvision
from robustcsc.errors import UnknownNameError
from robustcsc.measurements.datasets import check_asked
from robustcsc.measurements.records import ClassOrder, Location
from robustcsc.progress import Note
from robustcsc.roots import find_root

#: The sets without files: functions of the split.
EMBEDDED: dict[str, Callable[[str], MemoryImages]] = {"digits": load_digits, "textures": load_textures}

SPLITS = ("train", "test")


def load(
    name: str,
    root: str | Path | None = None,
    split: str = "test",
    *,
    download: bool = False,
    image_size: int | None = None,
    readers: int = 2,
    class_order: ClassOrder | None = None,
    note: Note = warnings.warn,
) -> ImageSet:
    """Returns one split of a data set.

    Args:
        name: A key of `DATASETS`.
        root: Folder with the data set's files, by default ``$ROBUSTCSC_DATA/NAME``; the embedded ones need none. For
            ``"webdataset"`` also a pattern of shards, as for `shards.find_shards`.
        split: ``"train"`` or ``"test"``.
        download: Whether torchvision may download missing files to `root`.
        image_size: Height and width to which images of a folder are resized and cropped (`decode.evaluation_view`);
            by default all must have the same size.
        readers: Threads that decode a small image folder when its images are used, or processes that read a large one;
            at least 0.
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
    check_asked(name, image_size=image_size, class_order=class_order, download=download, readers=readers)
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if name in EMBEDDED:
        return replace(EMBEDDED[name](split), location=Location(data=name))
    folder = find_root(name, download=download) if root is None else Path(root).expanduser()
    if name == "webdataset":
        return load_shards(str(folder), split, image_size=image_size, readers=readers)
    if name == "imagefolder":
        return load_folder(folder, split, image_size=image_size, readers=readers, class_order=class_order, note=note)
    location = Location(data=name, root=os.path.abspath(folder), image_size=image_size)
    return replace(load_torchvision(name, folder, split, download), location=location)
