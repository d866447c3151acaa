"""Checks on one image that corruptions can be applied, before many are corrupted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from robustcsc.corruptions.apply import corrupt
from robustcsc.corruptions.specs import Spec, select
from robustcsc.data import ImageSet
from robustcsc.errors import DataError
from robustcsc.progress import Note, quiet


def inapplicable(
    images: ImageSet,
    spec: Spec,
    corruptions: Sequence[str],
    severities: Sequence[int],
    *,
    device: str | torch.device = "cpu",
) -> dict[str, str]:
    """Returns the corruptions that cannot be applied to the images, with the reason, such as images that are too small.

    Each is applied at every chosen severity to the first readable image, which stands for all: they have one shape.

    Args:
        images: The images that are to be corrupted.
        spec: Severity table.
        corruptions: Names in `spec`.
        severities: 1-5.
        device: Device on which they will be corrupted.

    Raises:
        DataError: If no image can be read.
    """
    batch = next(iter(images.batches(1, device=device)))
    problems: dict[str, str] = {}
    for name in corruptions:
        try:
            for severity in severities:
                corrupt(batch.images, spec, name, severity, seed=0, indices=batch.indices)
        except DataError as error:
            problems[name] = str(error)
    return problems


def check_applicable(
    images: ImageSet,
    spec: Spec,
    corruptions: Sequence[str],
    severities: Sequence[int],
    *,
    device: str | torch.device = "cpu",
) -> None:
    """Checks that all corruptions can be applied to the images.

    Raises:
        DataError: If some are `inapplicable`; the message gives the first reason and the corruptions that remain.
    """
    problems = inapplicable(images, spec, corruptions, severities, device=device)
    if not problems:
        return
    sentence = next(iter(problems.values())).rstrip(".")
    fitting = [name for name in corruptions if name not in problems]
    if not fitting:
        raise DataError(f"{sentence}; none of the chosen corruptions can be applied to {images.name}: choose others.")
    raise DataError(f"{sentence}; leave out {', '.join(problems)}: --corruptions {','.join(fitting)}.")


def chosen_corruptions(
    images: ImageSet,
    spec: Spec,
    asked: str | None,
    severities: Sequence[int],
    *,
    device: str | torch.device = "cpu",
    note: Note = quiet,
) -> list[str]:
    """Returns the corruptions that were asked for, or all that can be applied to the images.

    Args:
        images: The images that are to be corrupted.
        spec: Severity table.
        asked: As `select` reads it; ``None`` for all that can be applied.
        severities: 1-5.
        device: Where they will be corrupted.
        note: Told what is left out, and why.

    Raises:
        UnknownNameError: One that was asked for is not in the table.
        DataError: One that was asked for, or none at all, can be applied to these images.
    """
    names = select(spec, asked or "all")
    if asked:
        check_applicable(images, spec, names, severities, device=device)
        return names
    left_out = inapplicable(images, spec, names, severities, device=device)
    if len(left_out) == len(names):
        check_applicable(images, spec, names, severities, device=device)
    for reason in left_out.values():
        note(f"Left out: {reason}")
    return [name for name in names if name not in left_out]
