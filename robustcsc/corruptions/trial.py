"""Checks on one image that corruptions can be applied, before many are corrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from robustcsc.corruptions.apply import corrupt
from robustcsc.data import ImageSet
from robustcsc.errors import DataError
from robustcsc.measurements.severity_tables import Spec, select
from robustcsc.progress import Note, quiet


def check_applicable(
    images: ImageSet,
    spec: Spec,
    corruptions: Sequence[str],
    severities: Sequence[int],
    *,
    device: str | torch.device = "cpu",
) -> None:
    """Checks that all corruptions can be applied to the images, on the device where they will be corrupted.

    Raises:
        DataError: If some cannot; the message gives the first reason and the corruptions that remain.
    """
    _refuse(images, corruptions, _inapplicable(images, spec, corruptions, severities, device))


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
    problems = _inapplicable(images, spec, names, severities, device)
    if asked or len(problems) == len(names):
        _refuse(images, names, problems)
    for reason in problems.values():
        note(f"Left out: {reason}")
    return [name for name in names if name not in problems]


def _inapplicable(
    images: ImageSet, spec: Spec, corruptions: Sequence[str], severities: Sequence[int], device: str | torch.device
) -> dict[str, str]:
    """Returns the corruptions that cannot be applied, with the reason, such as images that are too small.

    Each is applied at every chosen severity to the first readable image, which stands for all: they have one shape.

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


def _refuse(images: ImageSet, corruptions: Sequence[str], problems: Mapping[str, str]) -> None:
    if not problems:
        return
    sentence = next(iter(problems.values())).rstrip(".")
    fitting = [name for name in corruptions if name not in problems]
    if not fitting:
        raise DataError(
            f"{sentence}; none of the chosen corruptions can be applied to {images.name}: choose others with "
            "--corruptions."
        )
    raise DataError(f"{sentence}; leave out {', '.join(problems)}: --corruptions {','.join(fitting)}.")
