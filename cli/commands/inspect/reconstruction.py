"""`robustcsc inspect reconstruction`: images, reconstructed from the codes of each layer."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import FewImages, Out, opened, show


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
    first layer is the only sparse-coding layer, one layer deep.
    """
    from robustcsc.inspection.signals.reconstruction import inspect_reconstruction

    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with opened(chosen, out, batch_size) as (session, specimen):
        found = inspect_reconstruction(
            specimen,
            corruption,
            severity,
            spec=session.severity_table(spec, frost_root),
            seed=seed,
            pictures=pictures,
        )
    show(found, out, as_json)
