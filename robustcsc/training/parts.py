"""Parts of a training split: those that a network is trained on, and those that it never saw."""

from __future__ import annotations

import torch

from robustcsc.data import ImageSet, hold_out
from robustcsc.errors import DataError
from robustcsc.models.checkpoint import Checkpoint


def balanced_subset(images: ImageSet, count: int, seed: int) -> ImageSet:
    """Returns `count` randomly chosen images in their order, equally many of each class (or one more).

    Raises:
        DataError: If a class has too few images, or would have none in the subset.
    """
    classes = len(images.classes)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label, name in enumerate(images.classes):
        share = count // classes + (label < count % classes)
        rows = (images.labels == label).nonzero().flatten()
        if not 0 < share <= len(rows):
            raise DataError(
                f"A balanced subset of {count} images needs {share} of class {name!r}, which has {len(rows)}: "
                "choose another --train-images."
            )
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:share]])
    return images.subset(torch.cat(chosen).sort().values)


def heldout_images(images: ImageSet, trained: Checkpoint) -> tuple[ImageSet, bool]:
    """Returns the part of the training split for the lambda fit, and whether the model was trained on it.

    These are the images that were held out from training or, if none were, those outside the subset that the model was
    trained on; fingerprints tell whether `images` are those of the training. Otherwise a tenth of the images is
    returned with True: the model was or may have been trained on them.

    Args:
        images: The whole training split.
        trained: The model's checkpoint.
    """
    heldout = trained.training.get("heldout", {})
    if heldout.get("fraction"):
        part = hold_out(images, heldout["fraction"], heldout["seed"])[1]
        if part.fingerprint == heldout["fingerprint"]:
            return part, False
    elif trained.training.get("subset"):
        facts = trained.training["subset"]
        subset = balanced_subset(images, facts["images"], trained.training["seed"])
        if subset.fingerprint == facts["fingerprint"]:
            others = ~torch.isin(images.positions, subset.positions)
            return images.subset(others.nonzero().flatten()), False
    return hold_out(images, 0.1, 0)[1], True
