"""Corrupted copies of a data set as files, laid out like the published CIFAR-10-C and ImageNet-C.

Source of the layouts: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", ICLR 2019, and their scripts make_cifar_c.py and make_imagenet_c.py.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from robustcsc import __version__
from robustcsc.corruptions.apply import corrupt
from robustcsc.corruptions.manifest import MANIFEST, Manifest, read_manifest
from robustcsc.corruptions.trial import check_applicable
from robustcsc.data import ImageSet
from robustcsc.errors import DataError
from robustcsc.files import PARTIAL, clear_partial, replacing, write_whole
from robustcsc.locks import alone
from robustcsc.measurements.facts import to_sealed_json
from robustcsc.measurements.perturbations import JPEG_QUALITY, SEVERITIES
from robustcsc.measurements.severity_tables import Spec
from robustcsc.progress import Progress, parts, silent

Form = Literal["cifar-c", "imagenet-c"]
LABELS = "labels.npy"

_Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Export:
    """The images to corrupt, the corruptions' settings, and the form of the files.

    Attributes:
        images: Clean images. For ``imagenet-c`` they must come from an image folder, whose file names are kept.
        spec: Severity table.
        form: ``"cifar-c"``: ``<corruption>.npy`` of uint8 (5 N, H, W, C), severity after severity in the order of the
            images, and ``labels.npy`` with the labels five times. ``"imagenet-c"``:
            ``<corruption>/<severity>/<class>/<image>.JPEG``, quality 85, optimised, chroma subsampled 4:2:0.
        seed: Seed of the corruptions.
        png: Whether ``imagenet-c`` is written as PNG, which changes no pixel.
        batch_size: Images at a time; the files do not depend on it.
        device: Where images are corrupted.
        progress: Called after each batch.
    """

    images: ImageSet
    spec: Spec
    form: Form
    seed: int = 0
    png: bool = False
    batch_size: int = 250
    device: torch.device | str = "cpu"
    progress: Progress = silent

    def write(self, root: Path, corruptions: Sequence[str], severities: Sequence[int] = SEVERITIES) -> list[Path]:
        """Writes the files, truncated to 8 bits, and returns their paths: arrays, or folders of one severity.

        It takes the memory of a few batches. A file or folder gets its name when it is complete, and complete ones are
        kept, so an interrupted export is resumed. The manifest beside them records the settings.

        Args:
            root: A new or empty folder, or one exported with the same settings.
            corruptions: Names in the severity table.
            severities: 1-5; ``cifar-c`` holds all of them.

        Raises:
            DataError: If the images do not fit the form or a corruption, the folder holds other files or cannot be
                written, or an image is unreadable and the form is ``cifar-c``.
        """
        self._check_form(severities)
        manifest = self._manifest()
        manifest.check_continues(earlier_manifest(root), root)
        check_applicable(self.images, self.spec, corruptions, severities, device=self.device)
        with _made(root):
            manifest.check_continues(earlier_manifest(root), root)  # another process may have finished in the meantime
            write_whole(root / MANIFEST, to_sealed_json(manifest))
            written = [
                replace(self, progress=progress)._write_corruption(root, corruption, severities)
                for corruption, progress in zip(corruptions, parts(self.progress, [1] * len(corruptions)), strict=True)
            ]
        return [path for paths in written for path in paths]

    def _check_form(self, severities: Sequence[int]) -> None:
        """Raises DataError for images or severities that the form cannot hold."""
        if self.form == "cifar-c":
            if tuple(severities) != SEVERITIES:
                raise DataError("The form cifar-c holds all five severities in one file: choose --severities 1-5.")
            if self.png:
                raise DataError("The form cifar-c holds arrays: leave --png out, or choose --format imagenet-c.")
            return
        if not self.images.files:
            raise DataError(
                f"{self.images.name} has no file names, which the form imagenet-c keeps: choose --format "
                "cifar-c, or --data imagefolder."
            )
        stems = sorted(os.path.splitext(file)[0] for file in self.images.files)
        for stem, following in pairwise(stems):
            if stem == following:
                raise DataError(
                    f"Two images are called {stem}: the form imagenet-c needs names that differ, so rename one."
                )

    def _manifest(self) -> Manifest:
        images = self.images
        return Manifest(
            form=self.form,
            files="npy" if self.form == "cifar-c" else "png" if self.png else "jpeg",
            dataset=images.name,
            split=images.split,
            images=images.fingerprint,
            classes=images.classes,
            count=len(images),
            whole=torch.equal(images.positions, torch.arange(len(images))),
            table=self.spec.table,
            seed=self.seed,
            device=torch.device(self.device).type,
            version=__version__,
        )

    def _write_corruption(self, root: Path, corruption: str, severities: Sequence[int]) -> list[Path]:
        """Writes the missing files of one corruption and returns the paths of all requested ones."""
        if self.form == "cifar-c":
            if not (root / LABELS).exists():
                content = io.BytesIO()
                np.save(content, self._labels())
                write_whole(root / LABELS, content.getvalue())
            path = root / f"{corruption}.npy"
            if not path.exists():
                channels, height, width = self.images.image_shape
                shape = (len(SEVERITIES) * len(self.images), height, width, channels)
                _write_array(path, shape, self._all_severities(corruption))
            return [path]
        folders = [root / corruption / str(severity) for severity in severities]
        told = parts(self.progress, [1] * len(folders))
        for severity, folder, progress in zip(severities, folders, told, strict=True):
            if not folder.exists():
                replace(self, progress=progress)._write_folder(folder, corruption, severity)
        return folders

    def _labels(self) -> npt.NDArray[np.generic]:
        """The labels five times; one byte each, as published, where that holds them."""
        dtype = np.uint8 if len(self.images.classes) <= 256 else np.int64
        return np.tile(self.images.labels.numpy().astype(dtype), len(SEVERITIES))

    def _all_severities(self, corruption: str) -> Iterator[_Pixels]:
        """Yields the rows of an array in pieces.

        Raises:
            DataError: If an image is unreadable: its rows would be missing.
        """
        for severity, progress in zip(SEVERITIES, parts(self.progress, [1] * len(SEVERITIES)), strict=True):
            written = 0
            for _, pixels in replace(self, progress=progress)._corrupted(corruption, severity):
                written += len(pixels)
                yield pixels
            if written != len(self.images):
                raise DataError(
                    f"{self.images.unreadable[0]} is not a readable image, but the form cifar-c needs all of them: "
                    "remove it first."
                )

    def _write_folder(self, folder: Path, corruption: str, severity: int) -> None:
        """Writes the images of one severity to a folder ``<name>.partial``, which is renamed when it is complete."""
        partial = folder.with_name(f"{folder.name}{PARTIAL}")
        suffix = ".png" if self.png else ".JPEG"
        paths = [partial / f"{os.path.splitext(file)[0]}{suffix}" for file in self.images.files]
        for parent in {path.parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        missing = [row for row, path in enumerate(paths) if not path.exists()]
        if 0 < len(missing) < len(paths):  # with a readable image the set is readable even if all others are damaged
            missing.append(next(row for row, path in enumerate(paths) if path.exists()))
        row_of = {position: row for row, position in enumerate(self.images.positions.tolist())}
        with ThreadPoolExecutor(2) as pool:  # encoding releases the interpreter
            for positions, pixels in self._corrupted(corruption, severity, torch.tensor(missing, dtype=torch.int64)):
                targets = [paths[row_of[position]] for position in positions]
                list(pool.map(_write_image, targets, pixels))
        partial.replace(folder)

    def _corrupted(
        self, corruption: str, severity: int, rows: torch.Tensor | None = None
    ) -> Iterator[tuple[list[int], _Pixels]]:
        """Yields positions and (n, H, W, C) pixels of the corrupted images, all or those of some rows."""
        total = len(self.images) if rows is None else len(rows)
        done = 0
        for batch in self.images.batches(self.batch_size, order=rows, device=self.device, as_bytes=True):
            images = corrupt(batch.images, self.spec, corruption, severity, seed=self.seed, indices=batch.indices)
            pixels = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
            yield batch.indices.tolist(), pixels
            done += len(pixels)
            self.progress(f"{corruption} {severity}", done, total)


def earlier_manifest(root: Path) -> Manifest | None:
    """Returns the manifest of an earlier export into a folder, ``None`` if the folder is new or empty.

    Raises:
        DataError: The folder holds other files.
    """
    earlier = read_manifest(root)
    # A process that was killed while it wrote the manifest has left no more than a part of it, and its lock.
    if earlier is None and root.is_dir() and any(MANIFEST not in path.name for path in root.iterdir()):
        raise DataError(
            f"{root} holds files that were not exported by robustcsc: choose a new or an empty folder for --out."
        )
    return earlier


def _write_array(path: Path, shape: tuple[int, ...], pieces: Iterable[_Pixels]) -> None:
    """Writes a .npy file of uint8 piece by piece, not memory-mapped: a full disk kills a process that maps a file."""
    with replacing(path) as partial, partial.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(piece.data)


def _write_image(path: Path, pixels: _Pixels) -> None:
    """Writes one image, as PNG or as a JPEG file with the settings of ImageNet-C."""
    content = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if path.suffix == ".png":
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=JPEG_QUALITY, optimize=True, subsampling="4:2:0")
    write_whole(path, content.getvalue())


@contextmanager
def _made(root: Path) -> Iterator[None]:
    """Creates a folder, which no other process writes to while the block runs.

    Files that a killed process did not finish go first. If the block fails, partial files are deleted, and the folder
    too if nothing else is in it.

    Raises:
        DataError: If the folder cannot be created.
        StoreError: Another process writes to it.
    """
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{root} cannot be written ({error.strerror}): choose another --out.") from error
        with alone(root / MANIFEST, f"The folder {root} is being written", "choose another --out"), _cleared(root):
            clear_partial(root)
            yield
    except BaseException:
        for folder in made:
            _remove_if_empty(folder)
        raise


@contextmanager
def _cleared(root: Path) -> Iterator[None]:
    """Deletes partial files if the block fails, and the manifest if nothing else is left."""
    try:
        yield
    except BaseException:
        for where, _, files in os.walk(root, topdown=False):
            for file in files:
                if file.endswith(PARTIAL):
                    Path(where, file).unlink(missing_ok=True)
            if Path(where) != root:
                _remove_if_empty(Path(where))
        if root.is_dir() and all(path.name == LABELS or MANIFEST in path.name for path in root.iterdir()):
            for path in list(root.iterdir()):
                path.unlink(missing_ok=True)
        raise


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
