"""Corrupted images in folders beside their clean ones: which belong together, and what the folders are called."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from robustcsc.corruptions.judging.judge import Judge, Judgement, Named
from robustcsc.corruptions.judging.signature import quantization
from robustcsc.data.decode import as_array, decode
from robustcsc.data.folder import list_images
from robustcsc.data.official import held_corruptions
from robustcsc.data.tree import is_image
from robustcsc.errors import DataError
from robustcsc.measurements.perturbations import SEVERITIES
from robustcsc.measurements.severity_tables import Spec
from robustcsc.progress import Progress, silent

_Image = npt.NDArray[np.uint8]
_FEWEST, _MOST, _PIXELS = 8, 64, 400_000  # of the images to compare, of their pixels together


@dataclass(frozen=True)
class Pairs:
    """Clean images and what became of them.

    Attributes:
        names: Which images they are.
        clean: (N, C, H, W) uint8.
        corrupted: The same images, corrupted.
        quality: Of the JPEG files that the corrupted images come from; None for others.
    """

    names: tuple[str, ...]
    clean: Tensor
    corrupted: Tensor
    quality: int | None = None


def judge_folder(root: Path, clean: Path, specs: Sequence[Spec], progress: Progress = silent) -> list[Judgement]:
    """Returns what is known of each corruption and severity below a folder.

    The folder holds ``NAME.npy`` (5 N, H, W, C), as CIFAR-10-C; or ``NAME/SEVERITY/...``, as ImageNet-C; or
    ``SEVERITY/...`` of the corruption it is named after; or the images of one corruption and severity. Files of a tree
    belong to the clean file of the same path below their folders, suffixes aside. Row i of an array is clean image i in
    the order of class folders and file names. Some of many images are compared, evenly spaced.

    Args:
        root: Folder of the corrupted images.
        clean: Folder of the images before they were corrupted, at the size at which they were.
        specs: The severity tables to compare with.
        progress: Told of each corruption and severity.

    Raises:
        DataError: A folder is missing or holds no images, or clean and corrupted ones differ in number or size.
    """
    for folder, option in ((root, "--judge"), (clean, "--clean")):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder: give {option} one that holds images.")
    files = _by_stem(clean)
    if not files:
        raise DataError(f"{clean} holds no images: give --clean the folder of the images before they were corrupted.")
    places = _places(root, files)
    found: list[Judgement] = []
    judges: dict[tuple[str, ...], Judge] = {}
    for done, (named, path) in enumerate(places, start=1):
        pairs = _from_array(path, clean, named) if path.suffix == ".npy" else _from_tree(path, clean, files)
        if pairs.names not in judges:
            judges = {pairs.names: Judge(pairs.clean, specs)}  # most places hold the same images
        found.append(judges[pairs.names].judge(pairs.corrupted, named, pairs.quality))
        progress("judging", done, len(places))
    return found


def _places(root: Path, files: dict[str, str]) -> list[tuple[Named, Path]]:
    """Returns where corrupted images lie: folders, or arrays of five severities."""
    if files.keys() & _by_stem(root).keys():  # before class folders are taken for severities
        return [(Named(), root)]
    if held := held_corruptions(root):
        arrays = {name: root / f"{name}.npy" for name in held}
        return [
            (Named(name, severity), arrays[name] if arrays[name].is_file() else root / name / str(severity))
            for name, severities in held.items()
            for severity in severities
        ]
    name = root.absolute().name
    folders = [(Named(name, it), root / str(it)) for it in SEVERITIES if (root / str(it)).is_dir()]
    return folders or [(Named(), root)]


def _by_stem(folder: Path) -> dict[str, str]:
    """Returns the image files anywhere below a folder by their relative path without its suffix, sorted."""
    found: dict[str, list[str]] = defaultdict(list)
    for where, _, names in os.walk(folder):
        for name in filter(is_image, names):
            path = Path(where, name).relative_to(folder).as_posix()
            found[os.path.splitext(path)[0]].append(path)
    for stem, files in found.items():
        if len(files) > 1:
            raise DataError(f"{folder} holds {' and '.join(sorted(files))}: only one file may be called {stem}.")
    return {stem: found[stem][0] for stem in sorted(found)}


def _from_tree(root: Path, clean: Path, files: dict[str, str]) -> Pairs:
    there = _by_stem(root)
    common = [stem for stem in files if stem in there]
    if not common:
        example = next(iter(there.values()), "no image")
        raise DataError(
            f"No image in {root} has its clean one in {clean}: names below the two must be the same, but one holds "
            f"{example} and the other {next(iter(files.values()))}."
        )
    sizes = Counter(_size(root / there[stem]) for stem in common)
    size = sizes.most_common(1)[0][0]
    alike = [stem for stem in common if _size(root / there[stem]) == size]
    chosen = [alike[row] for row in _spaced(len(alike), size)]
    pairs = [(_pixels(clean / files[stem]), _pixels(root / there[stem])) for stem in chosen]
    for stem, (before, after) in zip(chosen, pairs, strict=True):
        if before.shape[:2] != after.shape[:2]:
            raise DataError(
                f"{root / there[stem]} has {after.shape[1]} x {after.shape[0]} pixels, but {clean / files[stem]} has "
                f"{before.shape[1]} x {before.shape[0]}: give --clean the images at the size at which they were "
                "corrupted."
            )
    clean_images, corrupted = (_stacked(it) for it in zip(*pairs, strict=True))
    return Pairs(tuple(chosen), clean_images, corrupted, _quality(root / there[chosen[0]]))


def _from_array(path: Path, clean: Path, named: Named) -> Pairs:
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    listing = list_images(clean)
    count = len(listing.files)
    if rows.dtype != np.uint8 or rows.ndim != 4 or len(rows) != len(SEVERITIES) * count:
        raise DataError(
            f"{path} holds {rows.dtype} of the shape {rows.shape}, not five severities of the {count} images in "
            f"{clean}: give --clean the images that belong to it."
        )
    labels = path.with_name("labels.npy")
    if labels.is_file() and not np.array_equal(np.load(labels, allow_pickle=False)[:count], listing.labels.numpy()):
        raise DataError(
            f"{labels} does not have the labels of {clean}, so the order of the images differs: give --clean the "
            "images in folders of their classes, in the order of the array."
        )
    chosen = _spaced(count, (rows.shape[2], rows.shape[1]))
    first = ((named.severity or 1) - 1) * count
    before = _stacked([_pixels(clean / listing.files[row]) for row in chosen])
    after = _stacked([rows[first + row] for row in chosen])
    if before.shape != after.shape:
        raise DataError(
            f"{path} holds images of {rows.shape[1:]} (H, W, C), but those in {clean} have {before.shape[2]} x "
            f"{before.shape[3]} pixels: give --clean the images that belong to it."
        )
    return Pairs(tuple(map(str, chosen)), before, after)


def _spaced(count: int, size: tuple[int, int]) -> list[int]:
    """Returns evenly spaced rows of so many images: as many as are compared at a size in pixels."""
    most = min(count, max(_FEWEST, min(_MOST, _PIXELS // (size[0] * size[1]))))
    return [at * count // most for at in range(most)]


def _pixels(path: Path) -> _Image:
    return as_array(decode(path).convert("RGB"))


def _stacked(images: Iterable[_Image]) -> Tensor:
    return torch.from_numpy(np.stack([*images])).permute(0, 3, 1, 2).contiguous()


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _quality(path: Path) -> int | None:
    """Returns the quality of a JPEG file whose steps are those of libjpeg; None for other files."""
    with Image.open(path) as image:
        steps = getattr(image, "quantization", {}).get(0)
    return next((it for it in range(1, 101) if tuple(steps) == quantization(it)), None) if steps else None
