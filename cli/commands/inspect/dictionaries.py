"""`robustcsc inspect atoms`, `classifier` and `metric`: what a model has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcsc.cli import options
from robustcsc.cli.context import DataChoice, ModelChoice, Session, note_unreadable, open_session
from robustcsc.cli.inspect_output import FewImages, Layers, Out, check_folder, show

if TYPE_CHECKING:
    from torch import nn

    from robustcsc.inspection.task_driven import AtomUses
    from robustcsc.layers.task_driven import ElasticNetCode
    from robustcsc.report import Plot


def atoms(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Show the dictionaries: their atoms as pictures (SDNet, figure 5), norms and mutual coherence.

    Images are needed only for a task-driven model whose features are not linear: its atoms are shown as the average of
    the test images they are used for.
    """
    from robustcsc.inspection.atoms import atoms_plot, atoms_table, dictionaries, facts

    check_folder(out)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    network, name = session.subject.model, session.trained.spec.name
    chosen = dictionaries(network, options.words(layers or ""))
    found = [facts(it) for it in chosen]
    plots: list[Plot] = []
    for it in chosen if out is not None else ():
        if it.kind == "task-driven":
            layer = _code_layer(network, it.layer)
            plots += _vector_plots(session, choice, layer, it.layer, limit, batch_size)
        else:
            plots.append(atoms_plot(it, name))
    show(found, [atoms_table(found, name)], plots, out, as_json)


def _code_layer(network: nn.Module, name: str) -> ElasticNetCode:
    """Returns a task-driven layer by the name it is shown with."""
    from robustcsc.inspection.layers import shown
    from robustcsc.layers.task_driven import ElasticNetCode

    named = network.named_modules()
    return next(layer for it, layer in named if shown(it) == name and isinstance(layer, ElasticNetCode))


def _vector_plots(
    session: Session, choice: DataChoice, layer: ElasticNetCode, name: str, limit: int, batch_size: int
) -> list[Plot]:
    """Returns the atoms of a task-driven layer as pictures, and the projection before it if the features are linear."""
    from robustcsc.inspection.task_driven import backprojected_plot, linear_features, projection_plot, uses_plot
    from robustcsc.report.words import slug

    spec = session.trained.spec
    file = slug("atoms", name)
    projection = linear_features(session.subject.model)
    if projection is None:
        uses = _uses(session, choice, layer, limit, batch_size)
        return [uses_plot(uses, file, f"What the atoms of {name} stand for: {spec.name}")]
    atoms, shape = layer.dictionary.detach().T, spec.image_shape
    return [
        backprojected_plot(atoms, projection, shape, file, f"Atoms of {name}: {spec.name}"),
        projection_plot(projection, shape, spec.name),
    ]


def _uses(session: Session, choice: DataChoice, layer: ElasticNetCode, limit: int, batch_size: int) -> AtomUses:
    """Returns what the atoms of a task-driven layer are used for in test images."""
    from robustcsc.inspection.task_driven import study_atoms

    images = choice.load(session.trained, "test", limit)
    batches = images.batches(batch_size, device=session.subject.device)
    uses = study_atoms(session.subject.model, layer, (batch.images for batch in batches))
    note_unreadable(images)
    return uses


def classifier(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Show which atoms speak for each class of a task-driven model (TDDL-CNN, figure 2), and the pictures they make."""
    from robustcsc.inspection import classifier as inspection
    from robustcsc.inspection.task_driven import linear_features, task_driven

    check_folder(out)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    network, spec = session.subject.model, session.trained.spec
    layer = task_driven(network).code
    classes = choice.load(session.trained, "test").classes
    found = inspection.class_weights(network, classes)
    plots = []
    if out is not None:
        linear = linear_features(network) is not None
        uses = None if linear else _uses(session, choice, layer, limit, batch_size)
        pictures = inspection.class_pictures(network, spec.image_shape, uses)
        plots = [
            inspection.weights_plot(network, classes, spec.name),
            inspection.pictures_plot(pictures, classes, linear, spec.name),
        ]
    show(found, [inspection.classifier_table(found, spec.name)], plots, out, as_json)


def metric(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    device: options.Device = "auto",
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Show the learned metrics of a DeTraMe-Net: W~ as a picture, its spectrum, how far it is from a plain ReLU, h, b.

    No image is looked at; --data and --root are for a model from elsewhere only.
    """
    from robustcsc.inspection import metric as inspection
    from robustcsc.inspection.layers import chosen
    from robustcsc.layers.qmetric import QMetricReLU

    check_folder(out)
    session = open_session(ModelChoice(run, model, weights), DataChoice(data, root, download, image_size), device)
    network, name = session.subject.model, session.trained.spec.name
    named = chosen(inspection.metric_layers(network), options.words(layers or ""))
    units = {title: unit for title, unit in named.items() if isinstance(unit, QMetricReLU)}
    found = [inspection.describe(title, unit) for title, unit in units.items()]
    drawn = units if out is not None else {}
    plots = [inspection.metric_plot(title, unit, name) for title, unit in drawn.items()]
    show(found, [inspection.metric_table(found, name)], plots, out, as_json)
