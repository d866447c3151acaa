"""What a folder of exported corrupted images says about itself, and how it is read back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from robustcsc.data import ImageSet, MemoryImages, StreamedImages, load_official
from robustcsc.errors import DataError
from robustcsc.files import write_whole

#: Name of the file, beside ``labels.npy`` or the folders of the corruptions.
MANIFEST = "robustcsc.json"

#: How the pixels of a folder were stored, in words for records.
STORED = {"npy": "8 bit", "jpeg": "JPEG quality 85", "png": "8 bit"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that decides the bytes of an exported folder.

    Attributes:
        form: ``"cifar-c"`` or ``"imagenet-c"``.
        files: ``"npy"``, ``"jpeg"`` or ``"png"``.
        dataset: Name of the clean data set.
        split: ``"train"`` or ``"test"``.
        images: Fingerprint of the clean images.
        count: Their number.
        whole: Whether row i is the image at position i; not so for a part of a data set.
        spec: `Spec.identity` of the severity table.
        seed: Seed of the corruptions.
        device: ``"cpu"`` or ``"cuda"``; the two may differ in bits.
        version: Version of robustcsc.
    """

    form: str
    files: str
    dataset: str
    split: str
    images: str
    count: int
    whole: bool
    spec: str
    seed: int
    device: str
    version: str

    @property
    def source(self) -> str:
        """Where measured images come from, as records say it."""
        return f"generated, {STORED[self.files]}, from files"

    def check_continues(self, earlier: Manifest, root: Path) -> None:
        """Refuses to add to a folder that was written with anything else.

        Raises:
            DataError: If the two differ in any field.
        """
        for field in fields(self):
            before, now = getattr(earlier, field.name), getattr(self, field.name)
            if before != now:
                raise DataError(
                    f"{root} holds images exported with {field.name} {before!r}, not {now!r}: choose another folder, "
                    "or the same settings to go on."
                )


def read_manifest(root: Path) -> Manifest | None:
    """Returns the manifest of a folder, ``None`` if it was not exported by robustcsc.

    Raises:
        DataError: If the manifest is damaged.
    """
    path = root / MANIFEST
    try:
        content = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        held = Manifest(**json.loads(content))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged or of another version: delete the folder and export it again.") from error
    if held.files not in STORED:
        raise DataError(f"{path} is damaged or of another version: delete the folder and export it again.")
    return held


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Writes the manifest of a folder in one step."""
    write_whole(root / MANIFEST, (json.dumps(asdict(manifest), indent=2) + "\n").encode())


def load_corrupted(root: Path, corruption: str, severity: int, clean: ImageSet) -> ImageSet:
    """Returns the corrupted copies of the images in `clean` from a published or an exported folder.

    Published files are read as `load_official` does. An exported folder may also hold a part of a data set, for those
    very images: row i of its arrays is then the i-th image of the part.

    Raises:
        DataError: As `load_official`, or if the folder was exported for a part of a data set that is not `clean`.
    """
    root = Path(root).expanduser()
    manifest = read_manifest(root)
    if manifest is None or manifest.whole or manifest.form != "cifar-c":
        return load_official(root, corruption, severity, clean)
    if manifest.images != clean.fingerprint or not isinstance(clean, MemoryImages | StreamedImages):
        raise DataError(
            f"{root} was exported for {manifest.count} chosen images of {manifest.dataset}: load the same ones, with "
            "the same limit."
        )
    rows = replace(clean, positions=torch.arange(len(clean)))
    found = load_official(root, corruption, severity, rows)
    return replace(found, positions=clean.positions) if isinstance(found, MemoryImages) else found
