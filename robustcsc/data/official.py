"""The published corrupted test sets: CIFAR-10-C and CIFAR-100-C arrays, ImageNet-C trees.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from robustcsc.data.decode import UnreadableImageError, decode
from robustcsc.data.decoded import DecodedImages
from robustcsc.data.images import ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.data.tree import is_image
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
            come from an image folder whose folders and file names are those of the tree; suffixes may differ where
            that is not ambiguous.

    Raises:
        DataError: Files are missing or malformed, or do not match the images of `clean`.
    """
    if severity not in SEVERITIES:
        raise DataError(f"Severity {severity} does not exist in the official files: choose 1 to 5.")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give --corrupted-root the one that holds the corrupted images.")
    if (root / f"{corruption}.npy").is_file():
        return _from_arrays(root, corruption, severity, clean)
    if (root / corruption / str(severity)).is_dir():
        return _from_tree(root / corruption / str(severity), clean)
    raise DataError(_what_there_is(root, corruption, severity))


def held_corruptions(root: Path) -> dict[str, tuple[int, ...]]:
    """Returns the corruptions that a folder holds, with their severities."""
    folders = {path: tuple(it for it in SEVERITIES if (path / str(it)).is_dir()) for path in root.iterdir()}
    arrays = {path.stem: SEVERITIES for path in root.glob("*.npy") if path.stem != "labels"}
    return dict(sorted((arrays | {path.name: its for path, its in folders.items() if its}).items()))


def _what_there_is(root: Path, corruption: str, severity: int) -> str:
    """Returns what to do about a corruption or severity that is not there."""
    held = held_corruptions(root)
    if not held:
        if root.name in held_corruptions(root.absolute().parent):
            return (
                f"{root} is one corruption: type --corrupted-root {root.absolute().parent} --corruptions {root.name}."
            )
        if inner := [path for path in sorted(root.iterdir()) if path.is_dir() and held_corruptions(path)]:
            return f"{root} holds no corruptions, but {inner[0]} does: type --corrupted-root {inner[0]}."
        return f"{root} holds no corruptions: they must lie in NAME.npy, or in NAME/SEVERITY/CLASS/IMAGE."
    common = tuple(it for it in SEVERITIES if all(it in its for its in held.values()))
    names = list(held) if common else [corruption if corruption in held else next(iter(held))]
    severities = common or held[names[0]]
    advice = []
    if corruption not in held or not common:
        advice.append(f"--corruptions {','.join(names)}")
    if severities != SEVERITIES:
        advice.append(f"--severities {','.join(map(str, severities))}")
    if corruption not in held:
        lacks = f"{root} has no corruption {corruption!r}: it holds {', '.join(held)}"
    else:
        there = ", ".join(map(str, held[corruption]))
        lacks = f"{root / corruption} has no folder for severity {severity}: it holds {there}"
    return f"{lacks}; choose with {' '.join(advice)}."


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
            "(C, H, W): name the clean images that belong to it with --data and --root."
        )
    positions = clean.positions.numpy()
    if len(positions) and positions.max() >= count:
        raise DataError(
            f"{path} has {count} images a severity, but {clean.name} has an image {positions.max()}: "
            "name the clean images that belong to it with --data and --root."
        )
    _check_labels(root / "labels.npy", count, severity, clean)
    start = (severity - 1) * count
    # All images are taken as they lie in the file, which is read when they are used.
    whole = np.array_equal(positions, np.arange(count))
    rows = images[start : start + count] if whole else images[start + positions]
    return MemoryImages(
        name=clean.name,
        split=clean.split,
        classes=clean.classes,
        pixels=torch.from_numpy(rows.transpose(0, 3, 1, 2)),
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
            f"image {int(clean.positions[row])}): name the test images in their original order with --data and --root."
        )


def _mapped(path: Path) -> npt.NDArray[np.generic]:
    try:
        # "c": changes would stay in memory, which makes it writable, as torch wants it.
        array: npt.NDArray[np.generic] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is missing or not a NumPy array: fetch it again.") from error
    return array


def _from_tree(folder: Path, clean: ImageSet) -> StreamedImages:
    """Streams the files of one corruption and severity that belong to the clean files."""
    if not clean.files:
        raise DataError(
            f"{clean.name} has no file names to look up in {folder}: name the clean images with --data imagefolder "
            "--root FOLDER."
        )
    return StreamedImages(
        name=clean.name,
        split=clean.split,
        classes=clean.classes,
        root=folder,
        files=_paired(folder, clean),
        labels=clean.labels,
        positions=clean.positions,
        image_shape=clean.image_shape,
        crop=False,
        readers=clean.readers if isinstance(clean, DecodedImages | StreamedImages) else 2,
    )


def _paired(folder: Path, clean: ImageSet) -> tuple[str, ...]:
    """Returns the file below `folder` that belongs to each clean file, both relative to their folders.

    It is the one of the same name, or else the only one that differs in nothing but the suffix. A clean file that
    cannot be decoded needs none: it gets its own name, which is in no batch either.

    Raises:
        DataError: A clean file has none, or it may be one of several.
    """
    there: dict[str, list[str]] = defaultdict(list)
    for where in {os.path.dirname(file) for file in clean.files}:
        _, _, names = next(os.walk(folder / where), ("", [], []))  # a folder that is missing holds none
        for name in filter(is_image, names):
            there[_stem(f"{where}/{name}")].append(f"{where}/{name}")
    alike = Counter(map(_stem, clean.files))
    found, missing = [], []
    for file in clean.files:
        files = there[_stem(file)]
        if file not in files and files and (len(files) > 1 or alike[_stem(file)] > 1):
            raise DataError(
                f"{file} of {clean.name} may belong to {' or '.join(sorted(files))} in {folder}, or to none: "
                "file names must be those of the clean images, suffix included, where only the suffix tells them apart."
            )
        found.append(file if file in files or not files else files[0])
        missing += [] if files else [file]
    if any(not _is_damaged(file, clean) for file in missing):
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(clean)} images of {clean.name}, such as {missing[0]}: "
            "folders and file names must be those of the clean images."
        )
    return tuple(found)


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]


def _is_damaged(file: str, clean: ImageSet) -> bool:
    """Tells whether a clean file cannot be decoded; sets that are in memory already hold none of those."""
    if not isinstance(clean, DecodedImages | StreamedImages):
        return False
    try:
        decode(clean.root / file)
    except UnreadableImageError:
        return True
    return False
