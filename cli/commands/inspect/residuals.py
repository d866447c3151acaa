"""`robustcsc inspect residuals`: the residual of each image as a detector of noise."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import FewImages, Layers, Out, opened, show


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
    from robustcsc.inspection.signals.residuals import inspect_residuals

    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with opened(chosen, out, batch_size, layers) as (session, specimen):
        found = inspect_residuals(
            specimen,
            definition,
            corruptions=corruptions,
            severities=severities,
            spec=session.severity_table(spec, frost_root),
            seed=seed,
        )
    show(found, out, as_json)
