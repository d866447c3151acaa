"""Clean accuracy and corruption sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from robustcsc.corruptions import Spec, corrupt
from robustcsc.corruptions.manifest import Manifest, load_corrupted, read_manifest
from robustcsc.data import Batch, ImageSet
from robustcsc.evaluation.cells import measure_cell
from robustcsc.evaluation.subject import Subject
from robustcsc.progress import Progress, silent
from robustcsc.records import Condition, Record
from robustcsc.measurements.store import ResultStore


def evaluate_clean(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    *,
    policies: Sequence[str],
    batch_size: int = 250,
    remeasure: bool = False,
    progress: Progress = silent,
) -> list[Record]:
    """Measures the accuracy on uncorrupted images and returns one record per policy."""
    cell = clean_condition(subject, images)

    def stream() -> Iterator[Batch]:
        return _counted(images, batch_size, subject, "clean", progress)

    classes = len(images.classes)
    return measure_cell(
        subject, cell, policies, stream, store, num_classes=classes, batch_size=batch_size, remeasure=remeasure
    )


def sweep(
    subject: Subject,
    images: ImageSet,
    spec: Spec,
    store: ResultStore,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    policies: Sequence[str],
    seed: int = 0,
    batch_size: int = 250,
    quantize: bool = False,
    official_root: Path | None = None,
    remeasure: bool = False,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yields the accuracy of every (corruption, severity, policy); cells that the store has are not measured again.

    Images are read in batches and no batch is kept, so memory does not grow with their number. A corruption that cannot
    be applied raises when its turn comes; `robustcsc.corruptions.trial.check_applicable` tells beforehand.

    Args:
        subject: The model.
        images: Clean test images.
        spec: Severity table.
        store: Where records are kept as soon as a cell is done, so that a stopped sweep loses one cell at most.
        corruptions: Names in `spec`.
        severities: 1-5.
        policies: As `Subject.policies` returns them.
        seed: Seed of the corruptions.
        batch_size: Images at a time; results depend on it only where lambda does, and then the record says so.
        quantize: Whether corrupted images are truncated to 8 bits, as the published files are.
        official_root: Folder of corrupted files to read instead of corrupting: published (CIFAR-10-C, ImageNet-C) or
            exported by `robustcsc.corruptions.export`, which records tell apart.
        remeasure: Whether to measure again what the store has.
        progress: Told after each batch.

    Raises:
        DataError: If corrupted files are missing or do not fit the images, or a corruption cannot be applied to them.
    """
    exported = read_manifest(official_root) if official_root else None
    for corruption in corruptions:
        for severity in severities:
            label = f"{corruption} {severity}"
            official = load_corrupted(official_root, corruption, severity, images) if official_root else None
            cell = corruption_condition(
                subject,
                images,
                spec,
                corruption,
                severity,
                seed,
                quantize=quantize,
                official=official,
                exported=exported,
            )

            def stream(
                corruption: str = corruption,
                severity: int = severity,
                label: str = label,
                official: ImageSet | None = official,
            ) -> Iterator[Batch]:
                if official is not None:
                    yield from _counted(official, batch_size, subject, label, progress)
                    return
                for batch in _counted(images, batch_size, subject, label, progress):
                    corrupted = corrupt(
                        batch.images, spec, corruption, severity, seed=seed, indices=batch.indices, quantize=quantize
                    )
                    yield batch._replace(images=corrupted)

            yield from measure_cell(
                subject,
                cell,
                policies,
                stream,
                store,
                num_classes=len(images.classes),
                batch_size=batch_size,
                remeasure=remeasure,
            )


def clean_condition(subject: Subject, images: ImageSet) -> Condition:
    """Returns the condition of clean images, without a policy."""
    return Condition(
        run=subject.run,
        model=subject.model_name,
        weights=subject.weights,
        dataset=images.name,
        split=images.split,
        images=images.fingerprint,
        kind="clean",
        name="clean",
    )


def corruption_condition(
    subject: Subject,
    images: ImageSet,
    spec: Spec,
    corruption: str,
    severity: int,
    seed: int,
    *,
    quantize: bool,
    official: ImageSet | None,
    exported: Manifest | None = None,
) -> Condition:
    """Returns the condition of one corruption at one severity, without a policy.

    Published files are named by their own fingerprint, followed by that of the clean images they belong to. Those that
    robustcsc exported are not: their manifest says which table and seed made them.
    """
    source, table = "generated, 8 bit" if quantize else "generated", spec.identity
    fingerprint = images.fingerprint
    if exported is not None:
        source, seed, table = exported.source, exported.seed, exported.spec
    elif official is not None:
        source, seed, fingerprint = "official", 0, f"{official.fingerprint}/{fingerprint}"
    return Condition(
        run=subject.run,
        model=subject.model_name,
        weights=subject.weights,
        dataset=images.name,
        split=images.split,
        images=fingerprint,
        kind="corruption",
        name=corruption,
        severity=severity,
        spec=table,
        source=source,
        seed=seed,
    )


def _counted(images: ImageSet, batch_size: int, subject: Subject, label: str, progress: Progress) -> Iterator[Batch]:
    done = 0
    for batch in images.batches(batch_size, device=subject.device):
        yield batch
        done += len(batch.labels)
        progress(label, done, len(images))
