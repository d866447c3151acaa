"""Where the images of a measurement come from, perturbed as it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from robustcsc.attacks.random_noise import CONTROLS, relative_noise
from robustcsc.attacks.threat import project
from robustcsc.corruptions import Spec, corrupt
from robustcsc.corruptions.manifest import load_corrupted, read_manifest
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import DataError
from robustcsc.evaluation.attacks.saved import AdversarialFile
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements import records
from robustcsc.measurements.perturbations import Corruption, Pixels, RandomControl, RandomNoise, Source
from robustcsc.measurements.records import Location
from robustcsc.measurements.threats import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that measurements may read besides the model.

    Attributes:
        images: Clean images; they are read in batches and none is kept.
        spec: Severity table of generated corruptions.
        corrupted_root: Folder of corrupted files, published or exported.
        surrogate: The model that transfer attacks are crafted on.
        crafting_images: Training images that universal perturbations are crafted on.
        perturbations: Folder where universal perturbations are kept.
        saved: Adversarial images from a file.
        location: Where all of it lies, for the records.
        unreadable: Paths of corrupted files that could not be decoded, as they are read.
    """

    images: ImageSet
    spec: Spec | None = None
    corrupted_root: Path | None = None
    surrogate: LoadedModel | None = None
    crafting_images: ImageSet | None = None
    perturbations: Path | None = None
    saved: AdversarialFile | None = None
    location: Location = field(default_factory=Location)
    unreadable: list[str] = field(default_factory=list)


def images_fact(images: ImageSet) -> records.Images:
    """Returns what records say of a set of images."""
    return records.Images(dataset=images.name, split=images.split, fingerprint=images.fingerprint, count=len(images))


def planned_corruptions(
    inputs: Inputs, names: Sequence[str], severities: Sequence[int], *, seed: int = 0, quantize: bool = False
) -> Iterator[Corruption]:
    """Yields each corruption at each severity as it will be applied, or as it lies in files.

    Args:
        inputs: The images, the severity table, and the folder of files if there is one.
        names: Names in the severity table.
        severities: 1 to 5.
        seed: Seed of generated corruptions.
        quantize: Whether generated images are truncated to 8 bits, as published files are.

    Raises:
        DataError: Files are missing or do not fit the images.
    """
    assert inputs.spec is not None
    exported = read_manifest(inputs.corrupted_root) if inputs.corrupted_root else None
    for name in names:
        for severity in severities:
            if exported is not None:
                yield exported.corruption(name, severity)
            elif inputs.corrupted_root is not None:
                files = load_corrupted(inputs.corrupted_root, name, severity, inputs.images)
                yield Corruption(
                    name=name,
                    severity=severity,
                    table=inputs.spec.table,
                    source=Source.OFFICIAL,
                    pixels=Pixels.BYTES,
                    files=files.fingerprint,
                )
            else:
                pixels = Pixels.BYTES if quantize else Pixels.FLOAT
                yield Corruption(name=name, severity=severity, table=inputs.spec.table, pixels=pixels, seed=seed)


def corrupted_batches(inputs: Inputs, made: Corruption, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Yields the images under a corruption, generated or from files.

    Raises:
        DataError: Files are missing or do not fit the images, or the corruption cannot be applied to them.
    """
    if made.source is not Source.GENERATED:
        if inputs.corrupted_root is None:
            raise DataError(f"The images of {made.name} are files: name their folder with --corrupted-root.")
        files = load_corrupted(inputs.corrupted_root, made.name, made.severity, inputs.images)
        yield from files.batches(batch_size, device=device)
        inputs.unreadable.extend(it for it in files.unreadable if it not in inputs.unreadable)
        return
    assert inputs.spec is not None
    quantize = made.pixels is Pixels.BYTES
    for batch in inputs.images.batches(batch_size, device=device):
        changed = corrupt(
            batch.images,
            inputs.spec,
            made.name,
            made.severity,
            seed=made.seed,
            indices=batch.indices,
            quantize=quantize,
        )
        yield batch._replace(images=changed)


def noisy(made: RandomNoise, batch: Batch) -> Tensor:
    """Returns the images of a batch with Gaussian noise, clamped to [0, 1]."""
    noise = relative_noise(batch.images, made.rho, seed=made.seed, indices=batch.indices)
    return (batch.images + noise).clamp_(0, 1)


def control(made: RandomControl, image_shape: tuple[int, int, int]) -> Tensor:
    """Returns the random perturbation of a control, ``(C, H, W)``."""
    return CONTROLS[made.name](image_shape, made.threat, made.seed)


def added(perturbation: Tensor, threat: ThreatModel, batch: Batch) -> Tensor:
    """Returns the images of a batch with one perturbation added, inside the ball and [0, 1]."""
    return project(batch.images + perturbation.to(batch.images), batch.images, threat)
