"""Splitting an image set into a training part and a held-out part."""

from __future__ import annotations

import dataclasses
import hashlib

import torch

from robustcsc.data.decoded import DecodedImages
from robustcsc.data.images import ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.streamed import StreamedImages
from robustcsc.errors import DataError
from robustcsc.measurements.facts import replace


def hold_out(image_set: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Returns two disjoint parts of a set, one for training and one held out.

    Of every class, a share of `fraction`, rounded to the nearest number, is held out: the images with the smallest
    SHA-256 of ``"<seed>/<position>"``. The choice does not depend on any library's random numbers. Both parts keep the
    order of the set.

    Args:
        image_set: The set to split, usually a training split.
        fraction: Share of each class that is held out, strictly between 0 and 1.
        seed: Seed of the choice.

    Raises:
        DataError: The fraction is not between 0 and 1, or one part would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The held-out fraction (--heldout) is {fraction}: it must lie between 0 and 1.")
    held = torch.zeros(len(image_set), dtype=torch.bool)
    for label in range(len(image_set.classes)):
        rows = (image_set.labels == label).nonzero().flatten()
        positions = image_set.positions[rows].tolist()
        ranks = [hashlib.sha256(f"{seed}/{position}".encode()).digest() for position in positions]
        chosen = sorted(range(len(rows)), key=ranks.__getitem__)[: int(fraction * len(rows) + 0.5)]
        held[rows[chosen]] = True
    if not held.any() or held.all():
        raise DataError(
            f"Holding out {fraction:g} of the {len(image_set)} images of {image_set.name} leaves one part empty: "
            "choose another --heldout, or use more images."
        )
    return image_set.subset((~held).nonzero().flatten()), image_set.subset(held.nonzero().flatten())


def evenly_spaced(images: ImageSet, count: int) -> ImageSet:
    """Returns `count` evenly spaced images, or all if there are no more: folders are sorted by class.

    Args:
        images: The images to choose from.
        count: How many, at least 1.
    """
    if count >= len(images):
        return images
    chosen = images.subset(torch.arange(count) * len(images) // count)
    if isinstance(chosen, MemoryImages | DecodedImages | StreamedImages):
        return dataclasses.replace(chosen, location=replace(images.location, limit=count))
    return chosen
