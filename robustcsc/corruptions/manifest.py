"""The manifest of a folder of exported corrupted images, and reading such a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from robustcsc.data import DecodedImages, ImageSet, MemoryImages, StreamedImages, load_official
from robustcsc.data.official import held_corruptions
from robustcsc.errors import DataError
from robustcsc.measurements.facts import Count, Fact, from_sealed_json
from robustcsc.measurements.perturbations import Corruption, Pixels, SeverityTable, Source

#: Name of the file, beside ``labels.npy`` or the folders of the corruptions.
MANIFEST = "robustcsc.json"

#: How the pixels of a folder were stored.
STORED = {"npy": Pixels.BYTES, "jpeg": Pixels.JPEG, "png": Pixels.BYTES}


class Manifest(Fact, frozen=True):
    """Everything that decides the bytes of an exported folder.

    Attributes:
        form: ``"cifar-c"`` or ``"imagenet-c"``.
        files: ``"npy"``, ``"jpeg"`` or ``"png"``.
        dataset: Name of the clean data set, a label.
        split: ``"train"`` or ``"test"``.
        images: Fingerprint of the clean images.
        count: Their number.
        whole: Whether row i is the image at position i; not so for a part of a data set.
        table: The severity table.
        seed: Seed of the corruptions.
        device: ``"cpu"`` or ``"cuda"``; the two may differ in bits.
        version: Version of robustcsc.
        classes: Names of the classes in label order; empty in folders of earlier versions.
    """

    form: Literal["cifar-c", "imagenet-c"]
    files: Literal["npy", "jpeg", "png"]
    dataset: str
    split: str
    images: str
    count: Count
    whole: bool
    table: SeverityTable
    seed: Count
    device: str
    version: str
    classes: tuple[str, ...] = ()

    def corruption(self, name: str, severity: int) -> Corruption:
        """Returns what was done to the images of one corruption and severity, as records name it."""
        return Corruption(
            name=name,
            severity=severity,
            table=self.table,
            source=Source.EXPORTED,
            pixels=STORED[self.files],
            seed=self.seed,
        )

    def check_continues(self, earlier: Manifest | None, root: Path) -> None:
        """Checks that an export resumes one, if any, with the same settings and images; the name of these may differ.

        Raises:
            DataError: If another field differs.
        """
        for field in self.__struct_fields__ if earlier else ():
            if field in ("dataset", "classes"):  # a label, and what the fingerprint of the images covers
                continue
            before, now = getattr(earlier, field), getattr(self, field)
            if before != now:
                before, now = (it.words if isinstance(it, SeverityTable) else it for it in (before, now))
                raise DataError(
                    f"{root} holds images exported with {field} {before!r}, not {now!r}: choose another --out, "
                    "or the same settings to resume."
                )


def read_manifest(root: Path) -> Manifest | None:
    """Returns the manifest of a folder, ``None`` if it was not exported by robustcsc.

    Raises:
        DataError: If the manifest is damaged.
    """
    path = root / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return from_sealed_json(content, Manifest)
    except ValueError as error:
        raise DataError(
            f"{path} is damaged or of another version ({error}): delete the folder and export it again."
        ) from error


def exported_corruptions(root: Path) -> tuple[str, ...]:
    """Returns the names of the corruptions in a folder that was exported; none for other folders."""
    root = root.expanduser()
    return tuple(held_corruptions(root)) if read_manifest(root) else ()


def load_corrupted(root: Path, corruption: str, severity: int, clean: ImageSet) -> ImageSet:
    """Returns the corrupted copies of the images in `clean` from a published or an exported folder.

    Published files are read by `load_official`. The arrays of an exported folder may also hold a part of a split: row i
    is then the i-th image of that part, which `clean` must be.

    Raises:
        DataError: In the cases of `load_official`, or if arrays were exported for a part other than `clean`, or with
            the classes in another order.
    """
    root = Path(root).expanduser()
    manifest = read_manifest(root)
    if manifest is None or manifest.form != "cifar-c":
        return load_official(root, corruption, severity, clean)
    if manifest.classes not in ((), clean.classes):  # the labels alone can agree by chance
        other = "number" if clean.location.class_order == "text" else "text"
        same = sorted(manifest.classes) == sorted(clean.classes)
        advice = f"type --class-order {other}" if same else "name those with --data and --root"
        raise DataError(
            f"{root} was exported for other classes than those of {clean.name}, or another order: {advice}."
        )
    if manifest.whole:
        return load_official(root, corruption, severity, clean)
    if manifest.images != clean.fingerprint or not isinstance(clean, MemoryImages | DecodedImages | StreamedImages):
        raise DataError(
            f"{root} was exported for {manifest.count} chosen images of {manifest.dataset}: take the same ones, with "
            "the same --limit."
        )
    rows = replace(clean, positions=torch.arange(len(clean)))
    found = load_official(root, corruption, severity, rows)
    return replace(found, positions=clean.positions) if isinstance(found, MemoryImages) else found
