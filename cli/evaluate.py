"""`robustcsc evaluate` and `robustcsc sweep`."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.console import progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, open_subject
from robustcsc.cli.results import show


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
    from robustcsc.store import ResultStore

    choice = DataChoice(data, root, download, image_size, workers)
    folder, trained, subject = open_subject(ModelChoice(run, model, weights), choice, device)
    chosen = subject.policies(options.words(policies))
    images = choice.load(trained, "test", limit)
    with ResultStore(folder.store_path) as store, progress_display() as progress:
        records = evaluate_clean(
            subject, images, store, policies=chosen, batch_size=batch_size, remeasure=remeasure, progress=progress
        )
    show(folder, records, as_json)


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
    spec: options.Spec = None,
    corruptions: options.Corruptions = "all",
    severities: options.Severities = options.ALL_SEVERITIES,
    policies: options.LambdaPolicies = "",
    corrupted_root: options.CorruptedRoot = None,
    quantize: options.Quantize = False,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under corruptions at five severities, and on clean images.

    Every cell is stored as soon as it is measured: a sweep that was stopped goes on where it was.
    """
    from robustcsc.corruptions import load_spec, select
    from robustcsc.evaluation.sweep import evaluate_clean
    from robustcsc.evaluation.sweep import sweep as sweep_cells
    from robustcsc.store import ResultStore

    choice = DataChoice(data, root, download, image_size, workers)
    folder, trained, subject = open_subject(ModelChoice(run, model, weights), choice, device)
    chosen = subject.policies(options.words(policies))
    table = load_spec(spec or default_spec_name(trained.spec.image_shape))
    names = select(table, corruptions)
    images = choice.load(trained, "test", limit)
    with ResultStore(folder.store_path) as store, progress_display() as progress:
        records = evaluate_clean(
            subject, images, store, policies=chosen, batch_size=batch_size, remeasure=remeasure, progress=progress
        )
        for record in sweep_cells(
            subject,
            images,
            table,
            store,
            corruptions=names,
            severities=severities,
            policies=chosen,
            seed=seed,
            batch_size=batch_size,
            quantize=quantize,
            official_root=corrupted_root,
            remeasure=remeasure,
            progress=progress,
        ):
            records.append(record)
    show(folder, records, as_json)


def default_spec_name(image_shape: tuple[int, int, int]) -> str:
    """Returns the severity table for images of this shape: CIFAR-10-C's below 96 pixels, ImageNet-C's from there on."""
    return "imagenet_c" if min(image_shape[1:]) >= 96 else "cifar10_c"
