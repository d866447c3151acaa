"""Where the images of a measurement come from, perturbed as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from robustcsc.attacks.random_noise import relative_noise
from robustcsc.attacks.threat import project
from robustcsc.corruptions import Spec
from robustcsc.corruptions.apply import changed_and_stored, corrupt_unchecked
from robustcsc.corruptions.manifest import load_corrupted, read_manifest
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import DataError
from robustcsc.evaluation.attacks.saved import AdversarialFile
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements import records
from robustcsc.measurements.adaptations import Order, Reading
from robustcsc.measurements.perturbations import Corruption, Pixels, RandomNoise, Source
from robustcsc.measurements.records import Location
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress

T = TypeVar("T")
_KEPT = 1 << 27  # bytes of images: 10,000 of 3 x 32 x 32 pixels are 123 MB


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


def required(value: T | None, field_name: str) -> T:
    """Returns a field of `Inputs` that a measurement cannot do without, or raises a `DataError`."""
    if value is None:
        raise DataError(f"What is measured needs `{field_name}`, which its inputs lack: give Inputs({field_name}=...).")
    return value


def images_fact(images: ImageSet) -> records.Images:
    """Returns what records say of a set of images."""
    return records.Images(dataset=images.name, split=images.split, fingerprint=images.fingerprint, count=len(images))


def planned_corruptions(
    inputs: Inputs, names: Sequence[str], severities: Sequence[int], *, seed: int = 0, as_published: bool = True
) -> Iterator[Corruption]:
    """Yields each corruption at each severity (1 to 5) as it will be applied, or as it lies in files.

    The seed is that of generated corruptions, which are stored as the table says, or stay floats.

    Raises:
        DataError: Files are missing or do not fit the images.
    """
    spec, root = required(inputs.spec, "spec"), inputs.corrupted_root
    exported = read_manifest(root) if root else None
    for name, severity in product(names, severities):
        if exported is not None:
            yield exported.corruption(name, severity)
        elif root is not None:
            files = load_corrupted(root, name, severity, inputs.images).fingerprint
            source, pixels = Source.OFFICIAL, Pixels.BYTES
            yield Corruption(name=name, severity=severity, table=spec.table, source=source, pixels=pixels, files=files)
        else:
            pixels = spec.pixels if as_published else Pixels.FLOAT
            yield Corruption(name=name, severity=severity, table=spec.table, pixels=pixels, seed=seed)


def rows_of(labels: Tensor, reading: Reading) -> Tensor | None:
    """Returns the rows of labelled images in the order in which they are read; `None` for their own."""
    match reading.order:
        case Order.GIVEN:
            return None
        case Order.SHUFFLED:
            return torch.randperm(len(labels), generator=torch.Generator().manual_seed(reading.seed))
        case Order.CLASS:
            return labels.argsort(stable=True)


def corrupted_batches(
    inputs: Inputs, corruption: Corruption, batch_size: int, device: torch.device, rows: Tensor | None = None
) -> Iterator[Batch]:
    """Yields the images under a corruption, generated or from files; all, or some rows in their order.

    Raises:
        DataError: Files are missing or do not fit the images, or the corruption cannot be applied to them.
    """
    name, severity = corruption.name, corruption.severity
    if corruption.source is not Source.GENERATED:
        if inputs.corrupted_root is None:
            raise DataError(f"The images of {name} are files: name their folder with --corrupted-root.")
        files = load_corrupted(inputs.corrupted_root, name, severity, inputs.images)
        yield from files.batches(batch_size, order=rows, device=device)
        inputs.unreadable.extend(it for it in files.unreadable if it not in inputs.unreadable)
        return
    spec = required(inputs.spec, "spec")
    for batch in inputs.images.batches(batch_size, order=rows, device=device, as_bytes=True):
        change = partial(
            corrupt_unchecked,
            spec=spec,
            corruption=name,
            severity=severity,
            seed=corruption.seed,
            indices=batch.indices,
        )
        yield batch._replace(images=changed_and_stored(batch.images, corruption.pixels, change))


def kept(batches: Callable[[], Iterator[Batch]], most: int = _KEPT) -> Callable[[], Iterator[Batch]]:
    """Returns batches that may be read several times: from memory after a whole pass of at most `most` bytes of images.

    More images are read, and so corrupted, anew in each pass, so that memory does not grow with their number.
    """
    held: list[Batch] = []

    def again() -> Iterator[Batch]:
        if held:
            yield from held
            return
        size = 0
        passed: list[Batch] = []
        for batch in batches():
            size += batch.images.nbytes
            passed.append(batch)
            if size > most:
                passed.clear()
            yield batch
        held.extend(passed)

    return again


def told(batches: Iterator[Batch], label: str, total: int, progress: Progress) -> Iterator[Batch]:
    """Yields batches, and tells of each once it is used how many of `total` images that makes."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.labels)
        progress(label, done, total)


def noisy(noise: RandomNoise, batch: Batch) -> Tensor:
    """Returns the images of a batch with Gaussian noise, clamped to [0, 1]."""
    change = relative_noise(batch.images, noise.rho, seed=noise.seed, indices=batch.indices)
    return (batch.images + change).clamp_(0, 1)


def added(perturbation: Tensor, threat: ThreatModel, batch: Batch) -> Tensor:
    """Returns the images of a batch with one perturbation added, inside the ball and [0, 1]."""
    return project(batch.images + perturbation.to(batch.images), batch.images, threat)
