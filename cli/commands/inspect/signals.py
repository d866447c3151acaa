"""`robustcsc inspect codes`, `reconstruction` and `residuals`: what a model does with images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.console import progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, note_unreadable, open_session
from robustcsc.cli.inspect_output import FewImages, Layers, Out, check_folder, show

if TYPE_CHECKING:
    from torch import Tensor, device

    from robustcsc.corruptions import Spec
    from robustcsc.data import ImageSet


def codes(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 1000,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how many values of the codes are exactly 0, and how the others are distributed (SDNet, figure 6)."""
    from robustcsc.inspection.codes import classes_table, codes_plot, codes_table, histogram_table, inspect_codes
    from robustcsc.inspection.layers import chosen, coding_layers

    check_folder(out)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    network = session.subject.model
    picked = chosen(coding_layers(network), options.words(layers or ""))
    images = choice.load(session.trained, "test", limit)
    batches = images.batches(batch_size, device=session.subject.device)
    found = inspect_codes(network, picked, ((it.images, it.labels) for it in batches), len(images.classes))
    note_unreadable(images)
    subject = f"{session.trained.spec.name} on {images.name} ({found[0].images} images)"
    by_class = classes_table(found, images.classes, subject)
    task_driven = [it for it in found if it.kind == "task-driven"]
    tables = [codes_table(found, subject)]
    more = [by_class, histogram_table(found, subject)]
    if task_driven and len(task_driven) == len(found):
        tables.append(more.pop(0))
    plots = [codes_plot(found, subject)] if out is not None else []
    show(found, tables, plots, out, as_json, more)


def reconstruction(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 200,
    pictures: Annotated[
        int,
        typer.Option(
            "--images", metavar="N", min=1, max=50, help="Images in the figure.", rich_help_panel=options.OUTPUT
        ),
    ] = 5,
    corruption: Annotated[
        str | None,
        typer.Option(
            "--corruption",
            metavar="NAME",
            help="Reconstruct images under this corruption, too; see `robustcsc corruptions`.",
            rich_help_panel=options.CORRUPTIONS,
        ),
    ] = None,
    severity: Annotated[
        int, typer.Option("--severity", metavar="N", min=1, max=5, help="1-5.", rich_help_panel=options.CORRUPTIONS)
    ] = 3,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 50,
    seed: options.Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Reconstruct images from the codes of each layer through the dictionaries (SDNet, equation 14 and figure 4).

    That goes as deep as the model is a plain chain of dictionaries: up to its first shortcut, and in an SDNet whose
    first layer alone is one of sparse coding, one layer deep.
    """
    import torch

    from robustcsc.cli.evaluate import chosen_corruptions, default_spec_name
    from robustcsc.corruptions import load_spec
    from robustcsc.inspection.reconstruction import measure, reconstruction_plot, reconstruction_table

    check_folder(out)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    network, place = session.subject.model, session.subject.device
    images = choice.load(session.trained, "test", limit)
    inputs: dict[str, tuple[str, int]] = {"clean": ("", 0)}
    table = load_spec(spec or default_spec_name(images.image_shape), frost_root)
    if corruption is not None:
        for name in chosen_corruptions(images, table, corruption, [severity], place):
            inputs[f"{name} {severity}"] = (name, severity)
    found = [measure(network, _pairs(images, table, it, seed, batch_size, place), name) for name, it in inputs.items()]
    note_unreadable(images)
    subject = f"{session.trained.spec.name} on {images.name} ({found[0].found[0].images} images)"
    plots = []
    if out is not None:
        few = images.subset(torch.arange(min(pictures, len(images))) * len(images) // min(pictures, len(images)))
        rows = [(name, next(_pairs(few, table, it, seed, pictures, place))[0]) for name, it in inputs.items()]
        plots = [reconstruction_plot(network, rows, subject)]
    result = [it for entry in found for it in entry.found]
    show(result, [reconstruction_table(found, subject)], plots, out, as_json)


def _pairs(
    images: ImageSet, table: Spec, corruption: tuple[str, int], seed: int, batch_size: int, place: device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images under a corruption of some severity (0: none), and the same without it."""
    from robustcsc.corruptions import corrupt

    name, severity = corruption
    for batch in images.batches(batch_size, device=place):
        given = batch.images
        if severity:
            given = corrupt(given, table, name, severity, seed=seed, indices=batch.indices)
        yield given, batch.images


def residuals(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 1000,
    corruptions: Annotated[
        str | None,
        typer.Option(
            "--corruptions",
            metavar="LIST",
            help="all, standard, a group, or names with commas between them; the noises if not given.",
            rich_help_panel=options.CORRUPTIONS,
        ),
    ] = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    definition: Annotated[
        Literal["squared", "norm", "relative"],
        typer.Option("--residual", help="Which residual, as in fit-lambda.", rich_help_panel=options.LAMBDA),
    ] = "squared",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how the residual of an image grows with noise, and how well it tells noisy images from clean ones (AUC)."""
    from robustcsc.cli.evaluate import chosen_corruptions, default_spec_name
    from robustcsc.corruptions import load_spec
    from robustcsc.inspection import residuals as inspection
    from robustcsc.report.words import NOISE_FAMILIES

    check_folder(out)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    network, place = session.subject.model, session.subject.device
    picked = inspection.residual_layers(network, options.words(layers or ""))
    images = choice.load(session.trained, "test", limit)
    table = load_spec(spec or default_spec_name(images.image_shape), frost_root)
    typed = corruptions or ",".join(name for name in NOISE_FAMILIES if name in table.corruptions)
    names = chosen_corruptions(images, table, typed, severities, place)

    def values(corruption: str, severity: int) -> inspection.Array:
        given = (pair[0] for pair in _pairs(images, table, (corruption, severity), seed, batch_size, place))
        return inspection.image_residuals(network, picked, given, definition)

    corrupted = []
    with progress_display() as progress:
        clean = values("", 0)
        cells = [(name, severity) for name in names for severity in severities]
        for done, (name, severity) in enumerate(cells, 1):
            entry = inspection.ImageResiduals(corruption=name, severity=severity, values=values(name, severity))
            corrupted.append(entry)
            progress("residuals", done, len(cells))
    note_unreadable(images)
    found = inspection.detections(clean, corrupted)
    subject = f"{session.trained.spec.name} on {images.name} ({len(clean)} images)"
    shown = inspection.residuals_table(found, definition, len(picked), subject)
    plots = [inspection.residuals_plot(clean, corrupted, definition, subject)] if out is not None else []
    show(found, [shown], plots, out, as_json)
