"""`robustcsc evaluate` and `robustcsc sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc.cli import options
from robustcsc.cli.console import note, progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, Session, note_unreadable, open_session
from robustcsc.cli.results import show

if TYPE_CHECKING:
    import torch

    from robustcsc.corruptions import Spec
    from robustcsc.data import ImageSet
    from robustcsc.records import Record


def evaluate(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: options.Limit = None,
    policies: options.LambdaPolicies = "",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy on uncorrupted test images."""
    from robustcsc.evaluation.sweep import evaluate_clean

    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    chosen = session.subject.policies(options.words(policies))
    images = choice.load(session.trained, "test", limit)
    with session.store() as store, progress_display() as progress:
        records = evaluate_clean(
            session.subject,
            images,
            store,
            policies=chosen,
            batch_size=batch_size,
            remeasure=remeasure,
            progress=progress,
        )
    note_unreadable(images)
    show(session.run, records, as_json)


def sweep(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: options.Limit = None,
    corruptions: options.Corruptions = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    corrupted_root: options.CorruptedRoot = None,
    quantize: options.Quantize = False,
    policies: options.LambdaPolicies = "",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under corruptions at five severities, and on clean images.

    Every cell is stored as soon as it is measured: a sweep that was stopped goes on where it was.
    """
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    records = measure_sweep(
        session,
        choice.load(session.trained, "test", limit),
        corruptions=corruptions,
        severities=severities,
        spec=spec,
        frost_root=frost_root,
        official_root=corrupted_root,
        quantize=quantize,
        policies=options.words(policies),
        batch_size=batch_size,
        seed=seed,
        remeasure=remeasure,
    )
    show(session.run, records, as_json)


def measure_sweep(
    session: Session,
    images: ImageSet,
    *,
    corruptions: str | None,
    severities: Sequence[int] = options.ALL_SEVERITIES,
    spec: str | None = None,
    frost_root: Path | None = None,
    official_root: Path | None = None,
    quantize: bool = False,
    policies: tuple[str, ...] = (),
    batch_size: int = 250,
    seed: int = 0,
    remeasure: bool = False,
) -> list[Record]:
    """Returns the records of clean and corrupted images, once all that was asked for has been checked.

    Args:
        session: The model and its run.
        images: Clean test images.
        corruptions: As typed by the user; all that can be applied to the images if ``None``.
        severities: 1-5.
        spec: Severity table; the one for the image size if ``None``.
        frost_root: Folder with the original photographs of frost.
        official_root: Folder of published or exported corrupted files to read instead of corrupting.
        quantize: Whether corrupted images are truncated to 8 bits.
        policies: As typed by the user; empty for every sensible one.
        batch_size: Images at a time.
        seed: Seed of the corruptions.
        remeasure: Whether to measure again what the store has.

    Raises:
        RobustCSCError: If a corruption is unknown or cannot be applied to these images, or files are missing.
    """
    from robustcsc.corruptions import load_spec, select
    from robustcsc.evaluation.sweep import evaluate_clean
    from robustcsc.evaluation.sweep import sweep as sweep_cells

    if official_root is not None and frost_root is not None:
        raise options.OptionError("--frost-root is for generated frost: leave it out where --corrupted-root is given.")
    chosen = session.subject.policies(policies)
    table = load_spec(spec or default_spec_name(images.image_shape), frost_root)
    if official_root is None:
        names = chosen_corruptions(images, table, corruptions, severities, session.subject.device)
    else:
        names = select(table, corruptions or "all")
        _check_files(official_root, images, table, names, severities)
    with session.store() as store, progress_display() as progress:
        records = evaluate_clean(
            session.subject,
            images,
            store,
            policies=chosen,
            batch_size=batch_size,
            remeasure=remeasure,
            progress=progress,
        )
        records += sweep_cells(
            session.subject,
            images,
            table,
            store,
            corruptions=names,
            severities=severities,
            policies=chosen,
            seed=seed,
            batch_size=batch_size,
            quantize=quantize,
            official_root=official_root,
            remeasure=remeasure,
            progress=progress,
        )
    note_unreadable(images)
    return records


def chosen_corruptions(
    images: ImageSet, table: Spec, typed: str | None, severities: Sequence[int], device: torch.device
) -> list[str]:
    """Returns the corruptions that were asked for, or all that can be applied to the images, with a note on the others.

    Raises:
        RobustCSCError: If one that was asked for is unknown or cannot be applied to these images.
    """
    from robustcsc.corruptions import select
    from robustcsc.corruptions.trial import check_applicable, inapplicable

    names = select(table, typed or "all")
    if typed:
        check_applicable(images, table, names, severities, device=device)
        return names
    left_out = inapplicable(images, table, names, severities, device=device)
    if len(left_out) == len(names):
        check_applicable(images, table, names, severities, device=device)
    for reason in left_out.values():
        note(f"Left out: {reason}")
    return [name for name in names if name not in left_out]


def _check_files(root: Path, images: ImageSet, table: Spec, names: Sequence[str], severities: Sequence[int]) -> None:
    """Reports missing files now and not after hours."""
    from robustcsc.corruptions.manifest import load_corrupted

    for name in names:
        load_corrupted(root, name, severities[0], images)


def default_spec_name(image_shape: tuple[int, int, int]) -> str:
    """Returns the severity table for images of this shape: CIFAR-10-C's below 96 pixels, ImageNet-C's from there on."""
    return "imagenet_c" if min(image_shape[1:]) >= 96 else "cifar10_c"
