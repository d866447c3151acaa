"""The data sets by name, as facts; `robustcsc.data.load` opens them."""

from __future__ import annotations

from dataclasses import dataclass

from robustcsc.errors import DataError, UnknownNameError
from robustcsc.measurements.records import ClassOrder


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
    "textures": DataSource(
        "24x24 synthetic colour textures, sparse by construction, 4,000 + 500 images, embedded",
        (3, 24, 24),
        10,
        False,
        False,
    ),
    "cifar10": DataSource("CIFAR-10, 50,000 + 10,000 images, torchvision's files", (3, 32, 32), 10),
    "cifar100": DataSource("CIFAR-100, 50,000 + 10,000 images, torchvision's files", (3, 32, 32), 100),
    "svhn": DataSource("Street View House Numbers, 73,257 + 26,032 images, torchvision's files", (3, 32, 32), 10),
    "mnist": DataSource("MNIST, 60,000 + 10,000 images, torchvision's files", (1, 28, 28), 10),
    "fashion-mnist": DataSource("Fashion-MNIST, 60,000 + 10,000 images, torchvision's files", (1, 28, 28), 10),
    "imagefolder": DataSource(
        "any tree <root>/train|test/<class>/<image>; val counts as test", None, None, can_download=False
    ),
    "webdataset": DataSource(
        "WebDataset shards, <root> a pattern such as path/{train,val}-{000..127}.tar", None, None, can_download=False
    ),
}


def check_asked(
    name: str,
    *,
    image_size: int | None = None,
    class_order: ClassOrder | None = None,
    download: bool = False,
    readers: int = 0,
) -> None:
    """Refuses what no files of a data set could make right; the arguments are those of `robustcsc.data.load`.

    Raises:
        UnknownNameError: There is no such data set.
        DataError: An option does not fit it.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if readers < 0:
        raise DataError(f"The number of readers is {readers}: it must be at least 0.")
    source = DATASETS[name]
    if source.image_shape is not None and image_size not in (None, source.image_shape[1]):
        size = source.image_shape[1]
        raise DataError(
            f"{name} has images of {size}x{size} pixels: leave --image-size out, or use --data imagefolder."
        )
    if class_order is not None and name != "imagefolder":
        raise DataError(f"{name} has no class folders: leave --class-order out.")
    if download and not source.can_download:
        raise DataError(
            f"{name} cannot be downloaded: leave --download out, and give --root the folder that holds its images."
        )
