"""Images whose class folders are only some of the classes of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from robustcsc.data.decoded import DecodedImages
from robustcsc.data.images import ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.errors import DataError
from robustcsc.measurements import facts
from robustcsc.measurements.records import Answers

_Images = TypeVar("_Images", bound=ImageSet)


def answering(
    images: _Images, classes: Sequence[str], answers: Answers | None = None, *, file: Path | None = None
) -> _Images:
    """Returns images for a model whose logits stand for `classes`, of which their class folders are some.

    Args:
        images: The images, labelled by their folders.
        classes: Names of the model's classes in the order of its logits.
        answers: ``"all"`` (also if ``None``): the images get all these classes, and labels that are indices of logits.
            ``"folder"``: they keep classes and labels, and name the logits of these classes (`ImageSet.logits`).
        file: The file that names them, for the records.

    Raises:
        DataError: A class folder is none of `classes`; there is nothing to restrict, or only one class would be left.

    Examples:
        >>> import robustcsc as rc
        >>> digits = rc.load("digits").subset(torch.tensor([0, 499]))
        >>> (answering(digits, "9876543210").labels + digits.labels).tolist()
        [9, 9]
    """
    places = {name: index for index, name in enumerate(classes)}
    for name in images.classes:
        if name not in places:
            raise DataError(
                f"The class folder {name} of {images.name} is none of the {len(places)} classes of the model: name its "
                "classes with --classes, or choose other images."
            )
    if not isinstance(images, MemoryImages | DecodedImages | StreamedImages):
        raise DataError(f"{images.name} cannot get other labels: load it from an image folder.")
    some = len(images.classes) < len(places)
    if answers == "folder" and not some:
        raise DataError(f"{images.name} has all {len(places)} classes of the model: leave --answers folder out.")
    if answers == "folder" and len(images.classes) < 2:
        raise DataError(f"{images.name} has one class, which every answer would be: leave --answers folder out.")
    logits = [places[name] for name in images.classes]
    named = "" if file is None else str(file.expanduser().absolute())
    location = facts.replace(images.location, classes=named, answers=(answers or "all") if some else None)
    if answers == "folder":
        return replace(images, logits=tuple(logits), location=location)
    return replace(images, classes=tuple(classes), labels=torch.tensor(logits)[images.labels], location=location)
