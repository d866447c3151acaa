"""`robustcsc inspect coding`: how each layer codes its input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, note_unreadable, open_session
from robustcsc.cli.inspect_output import check_folder, show

if TYPE_CHECKING:
    from robustcsc.inspection.coding import LayerCoding
    from robustcsc.report import Table

_SIMULATION = "Simulation"


def coding(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Use N test images, evenly spaced.", rich_help_panel=options.DATA),
    ] = 200,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Instead of a model, train two small networks on made-up signals, with and without the dense "
            "connection (the simulated experiment of MSD-CSC).",
            rich_help_panel=_SIMULATION,
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Epochs of the simulation, by default 10.", rich_help_panel=_SIMULATION),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write the table as CSV there, and the figure of a simulation as SVG and PNG.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tell how each layer of sparse coding codes its input: residual, zeros, unsuccessful dimensions, coherence."""
    of_a_model = {"--run": run, "--model": model, "--weights": weights, "--data": data, "--root": root}
    options.refuse_foreign(
        "--simulate" if simulate else "a model", {("a model",): of_a_model, ("--simulate",): {"--epochs": epochs}}
    )
    check_folder(out)
    if simulate:
        _simulate(epochs or 10, seed, out, as_json)
        return
    from robustcsc.inspection.coding import inspect_coding

    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    images = choice.load(session.trained, "test", limit)
    place = session.subject.device
    layers = inspect_coding(session.subject.model, (it.images.to(place) for it in images.batches(batch_size)))
    note_unreadable(images)
    table = _coding_table(layers, f"{session.trained.spec.name} on {images.name} ({layers[0].images} images)")
    show(layers, [table], (), out, as_json)


def _coding_table(layers: list[LayerCoding], subject: str) -> Table:
    from robustcsc.report import Table

    rows = tuple(
        (
            it.layer.removeprefix("network."),
            it.kind,
            "x".join(map(str, it.signal)),
            "x".join(map(str, it.codes)),
            f"{it.relative_residual:.3g}",
            f"{100 * it.zeros:.1f}",
            f"{it.beta:.3g}",
            f"{100 * it.negative_thresholds:.0f}",
            f"{it.unsuccessful:.1f}",
            str(it.dimensions),
            f"{it.convergence:.3g}",
            f"{it.coherence:.3f}",
            f"{it.coherence_with_identity:.3f}",
        )
        for it in layers
    )
    columns = (
        "layer",
        "kind",
        "signal",
        "codes",
        "residual",
        "zeros (%)",
        "beta",
        "thresholds < 0 (%)",
        "unsuccessful",
        "of",
        "step x L",
        "coherence",
        "with I",
    )
    notes = (
        "residual: ||X - Dz||² / ||X||². unsuccessful: dimensions of the signal with |Dz - X| > 2 beta, mean over the "
        "images. step x L: steps converge below 2. coherence: of the atoms, and with the identity of the dictionary.",
    )
    return Table(name="coding", title=f"Coding: {subject}", columns=columns, rows=rows, notes=notes)


def _simulate(epochs: int, seed: int, out: Path | None, as_json: bool) -> None:
    """Runs the simulated experiment and shows it."""
    from robustcsc.inspection.simulation import simulate, simulation_plot, simulation_table

    with progress_display() as progress:
        points = simulate(epochs=epochs, seed=seed, progress=progress)
    table, plot = simulation_table(points, seed), simulation_plot(points, seed)
    show(points, [table], [plot], out, as_json)
