"""Images that suit a model: their shape, and the logits that stand for their classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from robustcsc.data import ImageSet
from robustcsc.data.classes import answering
from robustcsc.errors import CheckpointError, DataError, ModelError
from robustcsc.measurements.classes import are_synsets, imagenet_classes, read_classes
from robustcsc.measurements.records import Answers
from robustcsc.models.catalog import ModelSpec
from robustcsc.models.checkpoint import Checkpoint

T = TypeVar("T")


def named(images: ImageSet, file: Path, spec: ModelSpec | None, answers: Answers | None) -> ImageSet:
    """Returns images for a model whose classes a file names.

    Args:
        images: The images.
        file: As for `robustcsc.measurements.classes.read_classes`.
        spec: The model; ``None`` if it is still to be built, which takes all of its classes.
        answers: As for `robustcsc.data.classes.answering`.

    Raises:
        DataError: The file names another number of classes, or as for `read_classes` and `answering`.
    """
    classes = read_classes(file)
    if spec is None:
        return answering(images, classes, file=file)
    if len(classes) != spec.num_classes:
        raise DataError(
            f"--classes {file} names {len(classes)} classes, but {spec.name} has {spec.num_classes} logits: name one "
            "for each."
        )
    return answering(images, classes, answers, file=file)


def suited(images: ImageSet, spec: ModelSpec, answers: Answers | None = None) -> ImageSet:
    """Returns images as a model takes them: those of some synsets of ImageNet get the labels of a model of all.

    Args:
        images: The images.
        spec: The model.
        answers: As for `robustcsc.data.classes.answering`.

    Raises:
        DataError: Their shape or the number of classes differs, or as for `answering`.
    """
    known, count = tuple(imagenet_classes()), spec.num_classes
    if not images.logits and len(images.classes) < count == len(known) and not set(known).isdisjoint(images.classes):
        images = answering(images, known, answers)
    elif answers == "folder" and not images.logits:
        raise DataError(f"{images.name} has all {count} classes of {spec.name}: leave --answers folder out.")
    suit = max(images.logits) < count if images.logits else len(images.classes) == count
    if not suit or images.image_shape != spec.image_shape:
        made_for, given = (spec.image_shape, count), (images.image_shape, len(images.classes))
        wanted, got = (f"{'x'.join(map(str, shape))} pixels in {size} classes" for shape, size in (made_for, given))
        some = ", or name the model's classes with --classes" if len(images.classes) < count else ""
        raise DataError(
            f"{spec.name} was made for images of {wanted}, but {images.name} has {got}: "
            f"choose other images with --data and --root, or another model{some}."
        )
    return images


def fitting(images: ImageSet, attempt: Callable[[ImageSet], T]) -> T:
    """Returns what is made of a model for images, whose classes say how many logits it has.

    Images of some synsets of ImageNet are for a model of these classes or of all.

    Args:
        images: The images.
        attempt: Makes it, or raises an error if the model has another number of logits.

    Raises:
        RobustCSCError: That of the first attempt, if no other succeeds.
    """
    try:
        return attempt(images)
    except (ModelError, CheckpointError):
        if images.location.answers is None and are_synsets(images.classes):
            with suppress(ModelError, CheckpointError):
                return attempt(answering(images, tuple(imagenet_classes())))
        raise


def another_order(*trained: Checkpoint) -> bool:
    """Returns whether models are known to have their classes in different orders."""
    orders = [{it.training.get(of) for it in trained} - {None} for of in ("class_order", "classes")]
    return max(map(len, orders)) > 1


def answers_note(images: ImageSet, count: int) -> str:
    """Returns what to tell about images whose class folders are some of the `count` classes of a model."""
    if images.logits:
        return f"Answers are chosen from the {len(images.classes)} classes of {images.name} only, not from all {count}."
    folders = len({os.path.dirname(file) for file in images.files})
    return (
        f"Answers are chosen from all {count} classes of the model, of which {images.name} has {folders}; "
        "--answers folder restricts them to these, as is published for ImageNet-A and ImageNet-R."
    )
