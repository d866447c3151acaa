"""WebDataset shards: tar files whose images are read by their places, in any order and without unpacking.

The library of that name says how shards are named and which files of a tar make a sample, but reads them as a stream.
Everything here asks for images by number (`--limit`, held-out parts, corruptions seeded by position), so the headers of
each tar are read once, and each image from its place.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from robustcsc.data.decode import IMAGE_SUFFIXES
from robustcsc.errors import DataError

#: Words in the name of a shard, or of the folder it lies in, that tell its split.
SPLIT_WORDS = {"train": r"train(ing)?", "test": r"test|val(idation)?"}
#: Labels and shards of one range are fewer: a slip of the finger would fill the memory with names.
MOST = 1_000_000


class Place(NamedTuple):
    """Where the bytes of an image lie.

    Attributes:
        path: The file.
        offset: Its first byte.
        size: Number of bytes; -1 for all to the end.
    """

    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Returns the bytes; none if the file cannot be read."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError:
            return b""


@dataclass(frozen=True, eq=False)
class Shards:
    """Where the images of a set lie in tar files.

    Attributes:
        paths: The tar files.
        places: (N, 3), int64: the number of the file, the offset in it and the size of each image.
    """

    paths: tuple[str, ...]
    places: Tensor

    def __getitem__(self, row: int) -> Place:
        number, offset, size = self.places[row].tolist()
        return Place(self.paths[number], offset, size)


class Sample(NamedTuple):
    """An image of a shard: its name, offset and size there, its label, and the name of its class if that is told."""

    file: str
    offset: int
    size: int
    label: int
    name: str | None


def find_shards(root: str, split: str) -> list[str]:
    """Returns the shards of a split in their order.

    The word train, test or val in the name of a shard, or of its folder, tells its split; where none has one, all are
    test images.

    Args:
        root: A pattern with braces, such as ``path/{train,val}-{000..127}.tar``, or a folder, which stands for all
            ``.tar`` files in it and below.
        split: ``"train"`` or ``"test"``.

    Raises:
        DataError: It is no pattern; a shard is missing, there twice or no ``.tar``; there are none of the split, or
            some tell none where others do; or webdataset is not installed.
    """
    paths = _expanded(root)
    if not paths:
        raise DataError(f"There are no .tar files in the folder {root}: give --root a folder or pattern of shards.")
    told = {path: split_of(path) for path in paths}
    if not any(told.values()):
        told = dict.fromkeys(paths, "test")
    for path in (path for path in paths if told[path] is None):
        raise DataError(
            f"Neither the name of the shard {path} nor its folder has the word train, test or val, as others of "
            f"{root} have: rename it, or leave it out of the pattern of --root."
        )
    found = [path for path in paths if told[path] == split]
    if not found:
        word = "train" if split == "train" else "test or val"
        raise DataError(
            f"{root} has no {split} shards: the word {word} in the names of shards or of their folders tells them, as "
            "in path/{train,val}/{000..127}.tar."
        )
    return found


def _expanded(root: str) -> list[str]:
    """Returns the shards that a pattern or folder names, all of which are there, each once."""
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise DataError("webdataset is not installed: type pip install 'robustcsc[webdataset]'.") from error
    pattern = os.path.expanduser(root)
    if os.path.isdir(pattern):
        return sorted(str(path) for path in Path(pattern).rglob("*.tar") if not path.is_dir())
    for first, last in re.findall(r"\{(-?\d+)\.\.(-?\d+)", pattern):
        if abs(int(last) - int(first)) >= MOST:
            raise DataError(
                f"The pattern {root} of --root counts from {first} to {last}: write fewer than {MOST:,} shards."
            )
    paths: dict[str, None] = {}
    try:
        for path in braceexpand(pattern):
            if not path.endswith(".tar"):
                raise DataError(f"{path} is no shard: --root names .tar files, such as path/{{0000..0099}}.tar.")
            if not os.path.isfile(path):
                raise DataError(f"The shard {path} is missing: restore it, or change the pattern {root} of --root.")
            if path in paths:
                raise DataError(f"The pattern {root} of --root names the shard {path} twice: write it once.")
            paths[path] = None
    except ValueError as error:
        raise DataError(
            f"The pattern {root} of --root has a brace without its other half: write path/{{0000..0099}}.tar."
        ) from error
    return [*paths]


def split_of(path: str) -> str | None:
    """Returns the split that the name of a shard, or of the folder it lies in, tells.

    Examples:
        >>> split_of("imagenet/val/0001.tar"), split_of("imagenet-train-0001.tar"), split_of("trainer/0001.tar")
        ('test', 'train', None)
    """
    parts = Path(path).parts
    for part in (Path(parts[-1]).stem, *parts[-2:-1]):
        for split, words in SPLIT_WORDS.items():
            if re.search(rf"(?<![a-z])({words})(?![a-z])", part.lower()):
                return split
    return None


def read_shard(path: str) -> list[Sample]:
    """Returns the samples of a shard, of which only headers and labels are read.

    The label is the number in the file ``.cls`` of a sample, or ``label`` in its ``.json``, which may also tell the
    ``class_name``.

    Raises:
        DataError: It is damaged, cut short or empty, or a sample has no image, no label, or a file of a kind twice.
    """
    from webdataset.tariterators import group_by_keys

    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as content:
            files = [it for it in tar if it.isreg()]
            content.seek(tar.offset)
            end = content.read(tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE or any(end):  # where a header is damaged, tarfile sees the end
                raise ValueError(f"it is damaged or cut short after {len(files)} files")
            _check_once(path, [it.name for it in files])
            members = [{"fname": it.name, "data": it, "__url__": path} for it in files]
            samples = [_sample(path, content, sample) for sample in group_by_keys(members)]
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"The shard {path} is no readable tar file ({_words(error)}): make it again.") from error
    if not samples:
        raise DataError(f"The shard {path} is empty: leave it out of --root.")
    return samples


def class_names(samples: list[Sample]) -> tuple[str, ...]:
    """Returns the names of the classes by label: those that the shards tell, or else the labels themselves.

    Raises:
        DataError: A class has two names.
    """
    names: dict[int, str] = {}
    for it in samples:
        if it.name is not None and names.setdefault(it.label, it.name) != it.name:
            raise DataError(f"The shards call class {it.label} both {names[it.label]!r} and {it.name!r}: correct them.")
    return tuple(names.get(label, str(label)) for label in range(1 + max(it.label for it in samples)))


def _check_once(path: str, names: list[str]) -> None:
    """Refuses a file of a sample that is there twice: what is known of an image is known by its name."""
    from webdataset.tariterators import base_plus_ext

    seen: set[tuple[str, str]] = set()
    for name in names:
        key, suffix = base_plus_ext(name)
        if key is None:  # a file of no sample
            continue
        if (key, suffix.lower()) in seen:
            raise DataError(f"The shard {path} holds {name} twice: give each sample a name of its own.")
        seen.add((key, suffix.lower()))


def _sample(path: str, content: Any, sample: dict[str, Any]) -> Sample:
    key = sample["__key__"]
    images = [suffix for suffix in sample if f".{suffix}" in IMAGE_SUFFIXES]
    if len(images) != 1:
        suffixes = ", ".join(f".{suffix}" for suffix in sample if not suffix.startswith("__"))
        raise DataError(f"Sample {key} of the shard {path} has {len(images)} images among {suffixes}: it needs one.")
    image = sample[images[0]]

    def text(member: tarfile.TarInfo) -> str:
        content.seek(member.offset_data)
        return str(content.read(member.size), "utf-8")

    try:
        told = json.loads(text(sample["json"])) if "json" in sample else {}
        told = told if isinstance(told, dict) else {}
        given = text(sample["cls"]) if "cls" in sample else told["label"]
        if type(given) not in (str, int) or not 0 <= (label := int(given)) < MOST:  # a float or bool is no label
            raise ValueError(f"{given} is no label")
    except (KeyError, ValueError, RecursionError) as error:
        raise DataError(
            f"Sample {key} of the shard {path} has no label: .cls holds a whole number from 0 to {MOST - 1}, or .json "
            'one as "label".'
        ) from error
    name = told.get("class_name")
    return Sample(image.name, image.offset_data, image.size, label, None if name is None else str(name))


def _words(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
