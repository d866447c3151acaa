"""The published corrupted test sets: CIFAR-10-C and CIFAR-100-C arrays, ImageNet-C trees.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from robustcsc.data.decode import IMAGE_SUFFIXES
from robustcsc.data.images import ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.errors import DataError
from robustcsc.measurements.perturbations import SEVERITIES


def load_official(root: Path, corruption: str, severity: int, clean: ImageSet) -> ImageSet:
    """Returns the published corrupted copies of the images in `clean`, in the same order, with the same positions.

    Args:
        root: Folder with ``<corruption>.npy`` and ``labels.npy`` (CIFAR-10-C, CIFAR-100-C), or with
            ``<corruption>/<severity>/<class>/<image>`` (ImageNet-C); images of a tree are not resized.
        corruption: Name of the corruption, as the files spell it.
        severity: 1 to 5.
        clean: The test images, or a part of them. For arrays they must be in the original order; for trees they must
            come from an image folder whose classes and file names (apart from the suffix) are those of the tree.

    Raises:
        DataError: Files are missing or malformed, or do not match the images of `clean`.
    """
    if severity not in SEVERITIES:
        raise DataError(f"Severity {severity} does not exist in the official files: choose 1 to 5.")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give the one that holds the official corrupted images.")
    if (root / f"{corruption}.npy").is_file():
        return _from_arrays(root, corruption, severity, clean)
    if (root / corruption).is_dir():
        return _from_tree(root, corruption, severity, clean)
    arrays = {path.stem for path in root.glob("*.npy")} - {"labels"}
    known = ", ".join(sorted(arrays | {path.name for path in root.iterdir() if path.is_dir()})) or "no corruptions"
    raise DataError(f"{root} has no corruption {corruption!r}: it holds {known}.")


def _from_arrays(root: Path, corruption: str, severity: int, clean: ImageSet) -> MemoryImages:
    """Reads rows ``(severity - 1) N + position`` of ``<corruption>.npy``, which has 5 N rows."""
    path = root / f"{corruption}.npy"
    images = _mapped(path)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) % len(SEVERITIES):
        raise DataError(
            f"{path} must hold uint8 images (5 N, H, W, C), severity by severity, "
            f"not {images.dtype} {images.shape}: fetch it again."
        )
    count = len(images) // len(SEVERITIES)
    height, width, channels = images.shape[1:]
    if (channels, height, width) != clean.image_shape:
        raise DataError(
            f"{path} has images of {images.shape[1:]} (H, W, C), but those of {clean.name} are {clean.image_shape} "
            "(C, H, W): load the clean images that belong to it."
        )
    positions = clean.positions.numpy()
    if len(positions) and positions.max() >= count:
        raise DataError(
            f"{path} has {count} images a severity, but {clean.name} has an image {positions.max()}: "
            "load the clean images that belong to it."
        )
    _check_labels(root / "labels.npy", count, severity, clean)
    rows = images[(severity - 1) * count + positions]
    return MemoryImages(
        name=clean.name,
        split=clean.split,
        classes=clean.classes,
        pixels=torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 3, 1, 2))),
        labels=clean.labels,
        positions=clean.positions,
        files=clean.files,
    )


def _check_labels(path: Path, count: int, severity: int, clean: ImageSet) -> None:
    """Raises DataError unless the labels are those of `clean`; a file has them once, or once for each severity."""
    labels = _mapped(path)
    if labels.shape not in ((count,), (len(SEVERITIES) * count,)):
        raise DataError(f"{path} has shape {labels.shape}, but there are {count} images a severity: fetch it again.")
    start = (severity - 1) * count if len(labels) != count else 0
    different = np.flatnonzero(labels[start + clean.positions.numpy()] != clean.labels.numpy())
    if len(different):
        row = int(different[0])
        raise DataError(
            f"{path} does not match the labels of {clean.name} ({len(different)} of {len(clean)} differ, first at "
            f"image {int(clean.positions[row])}): load the clean test images in their original order."
        )


def _mapped(path: Path) -> npt.NDArray[np.generic]:
    try:
        array: npt.NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is missing or not a NumPy array: fetch it again.") from error
    return array


def _from_tree(root: Path, corruption: str, severity: int, clean: ImageSet) -> StreamedImages:
    """Streams the files of one corruption and severity that have the names of the clean files."""
    folder = root / corruption / str(severity)
    if not folder.is_dir():
        raise DataError(f"{root / corruption} has no folder for severity {severity}: fetch the official files again.")
    if not clean.files:
        raise DataError(f"{clean.name} has no file names to look up in {folder}: load the clean images as imagefolder.")
    names = _files_by_stem(folder, sorted({clean.classes[label] for label in clean.labels.tolist()}))
    stems = [os.path.splitext(file)[0] for file in clean.files]
    missing = [stem for stem in stems if stem not in names]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(clean)} images of {clean.name}, such as {missing[0]}: "
            "folders and file names must be those of the clean images."
        )
    files = [names[stem] for stem in stems]
    return StreamedImages(
        name=clean.name,
        split=clean.split,
        classes=clean.classes,
        root=root,
        files=tuple(f"{corruption}/{severity}/{file}" for file in files),
        labels=clean.labels,
        positions=clean.positions,
        image_shape=clean.image_shape,
        crop=False,
        workers=clean.workers if isinstance(clean, StreamedImages) else 2,
    )


def _files_by_stem(folder: Path, classes: list[str]) -> dict[str, str]:
    """Returns ``"<class>/<stem>"`` -> ``"<class>/<image>"`` for the image files of the given classes."""
    return {
        f"{name}/{path.stem}": f"{name}/{path.name}"
        for name in classes
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
