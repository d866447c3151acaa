"""What lies where in an image folder, ``<root>/train|test/<class>/<image>``: its splits, and its classes in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from robustcsc.data.decode import IMAGE_SUFFIXES
from robustcsc.errors import DataError
from robustcsc.measurements.records import ClassOrder
from robustcsc.progress import Note

#: Names of the folder of each split, in the order of preference; ImageNet calls its test images ``val``.
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val")}

_SPLIT_NAMES = tuple(name for names in SPLIT_FOLDERS.values() for name in names)
_NAMED_CLASSES = 5


def find_split(root: Path, split: str) -> Path:
    """Returns the folder with the class folders of a split.

    That is ``train`` for training and ``test`` or ``val`` for testing. A root with none of them is itself the test
    split, so that a plain folder of classes can be evaluated, but not trained on.

    Raises:
        DataError: The folder is missing, has no such split, or is not the root but a folder above or below it, or the
            classes of the two splits differ.
    """
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder: give --root the one that holds train/<class>/<image> and test/<class>/<image>."
        )
    folders = {name: _first_with_classes(root, SPLIT_FOLDERS[name]) for name in SPLIT_FOLDERS}
    train, test = folders["train"], folders["test"]
    if train and test:
        different = sorted(set(_class_names(train)) ^ set(_class_names(test)))
        if different:
            raise DataError(
                f"{train} and {test} must have the same class folders, but {different[0]!r} is only in one of them."
            )
    bare = not any((root / name).exists() for name in _SPLIT_NAMES)
    if bare:
        _check_level(root)
    found = folders[split] or (root if bare and split == "test" else None)
    if found is None:
        wanted = " or ".join(f"{name}/<class>/<image>" for name in SPLIT_FOLDERS[split])
        raise DataError(f"{root} has no {split} images: they must lie in {wanted}{_whole(root) if bare else ''}.")
    return found


def bare_note(root: Path, classes: Sequence[str]) -> str:
    """Returns what to tell about a root that is itself the test split."""
    return f"{root} has no folders train and test: it is read as the test images, {_listed(classes)}{_whole(root)}."


def _whole(root: Path) -> str:
    """Returns the end of a sentence about a root that may be one split or one class of another one."""
    here = Path(os.path.abspath(root))
    if here.parent.name in _SPLIT_NAMES:
        return f"; if it is one class of {here.parent.parent}, type --root {here.parent.parent}"
    return f"; for both splits of {here.parent}, type --root {here.parent}" if here.name in _SPLIT_NAMES else ""


def _check_level(root: Path) -> None:
    """Raises DataError if a folder without splits lies above the root of a tree, or is one class of it."""
    names, parent = _class_names(root), Path(os.path.abspath(root)).parent
    if inner := [name for name in names if _first_with_classes(root / name, _SPLIT_NAMES)]:
        each = f"the image folder {inner[0]}" if len(inner) == 1 else f"the image folders {_first(inner)}"
        raise DataError(f"{root} holds {each}, not classes: type --root {root / inner[0]}.")
    if not names and any(map(is_image, os.listdir(root))):
        home = parent.parent if parent.name in _SPLIT_NAMES else parent
        raise DataError(f"{root} holds images but no class folders: if it is a class itself, type --root {home}.")
    if not names:
        raise DataError(
            f"{root} has no class folders: images must lie in train/<class>/<image> and test/<class>/<image> of it."
        )


def ordered_classes(folder: Path, order: ClassOrder | None, note: Note) -> tuple[tuple[str, ...], ClassOrder | None]:
    """Returns the names of the class folders in the order of their labels, and that order if there are two.

    They are sorted as text, but by number where each name has an integer of its own behind what all begin with:
    ``0, 1, 10``, ``class1, class10`` or ``1-cat, 10-dog``. Where the two differ and nobody chose, `note` is told.

    Args:
        folder: The folder that holds them.
        order: The order to take where there are two.
        note: Told which one was taken if `order` is ``None``.
    """
    as_text = _class_names(folder)
    by_number = _by_number(as_text)
    if by_number == as_text:
        return as_text, None
    if order is None:
        note(
            f"The {_listed(by_number)} in {folder} are ordered by number; for weights trained on their order as text "
            f"({_first(as_text)}), which is that of torchvision's ImageFolder, add --class-order text."
        )
    return (as_text, "text") if order == "text" else (by_number, "number")


def _by_number(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns names sorted by the integers in them, or as they are if those are not all that tells them apart."""
    # Digits at the end of what all names begin with belong to the integers, and so does a sign that nothing precedes.
    common = re.sub(r"\d+$|^-\d*$", "", os.path.commonprefix(names))  # noqa: RUF071
    found = {name: match[0] for name in names if (match := re.match(r"-?\d+", name[len(common) :]))}
    return tuple(sorted(names, key=lambda name: int(found[name]))) if len({*found.values()}) == len(names) else names


def image_folders(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the class folder `name` and each folder below it, with its image files as ``"<name>/.../<image>"``.

    Raises:
        DataError: A link leads back to a folder above it, so that its images would count again and again.
    """
    prefix = len(os.path.join(folder, ""))
    for where, folders, files in os.walk(os.path.join(folder, name), followlinks=True):
        folders[:] = [below for below in folders if not below.startswith(".")]
        for link in (path for path in (os.path.join(where, below) for below in folders) if os.path.islink(path)):
            if Path(where).resolve().is_relative_to(os.path.realpath(link)):
                raise DataError(f"{link} is a link to a folder that it lies in: remove it, or its images count twice.")
        inside = where[prefix:].replace(os.sep, "/")
        yield inside, [f"{inside}/{file}" for file in files if is_image(file)]


def is_image(name: str) -> bool:
    """Tells whether a file counts as an image, by its name."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _first_with_classes(root: Path, names: Iterable[str]) -> Path | None:
    """Returns the first of the named folders that has class folders (the test folder of ImageNet has none)."""
    return next((root / name for name in names if (root / name).is_dir() and _class_names(root / name)), None)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(
        sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    )


def _listed(names: Sequence[str]) -> str:
    """Returns how many class folders there are, and the first of them."""
    return f"{len(names)} class folder{'s' * (len(names) != 1)} ({_first(names)})"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_CLASSES]) + ", ..." * (len(names) > _NAMED_CLASSES)
