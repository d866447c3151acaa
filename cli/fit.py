"""`robustcsc fit-lambda`."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display, results_console
from robustcsc.cli.context import DataChoice, ModelChoice, open_subject


def fit_lambda(
    noise: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="gaussian, shot, speckle, impulse, pooled (all four together), or all, with commas."
        ),
    ] = "gaussian",
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    split: Annotated[str, typer.Option(help="Split to fit on; anything but train is refused.")] = "train",
    limit: Annotated[int, typer.Option(min=2, help="Use at most this many held-out training images.")] = 5000,
    spec: options.Spec = None,
    grid: Annotated[
        str, typer.Option(metavar="LIST", help="Lambdas to try, as numbers with commas, or FIRST:LAST:STEP.")
    ] = "0.1:1.5:0.1",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fit the line from the residual of the CSC layers to the best lambda, on held-out training images."""
    import torch

    from robustcsc.adaptive.fit import fit_lambda as fit
    from robustcsc.cli.evaluate import default_spec_name
    from robustcsc.corruptions import NOISE_KERNELS, load_spec
    from robustcsc.errors import PolicyError
    from robustcsc.report import fit_curve_plots, fit_tables, residual_plots
    from robustcsc.training.run import heldout_images

    if split != "train":
        raise PolicyError(
            f"--split {split}: the lambda fit takes training images only, so that no test image is ever used."
        )
    lambdas = options.numbers(grid)
    choice = DataChoice(data, root, download, image_size, workers)
    folder, trained, subject = open_subject(ModelChoice(run, model, weights), choice, device)
    images, known = heldout_images(choice.load(trained, "train"), trained)
    if limit < len(images):
        images = images.subset(
            torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
        )
    noises = (*NOISE_KERNELS, "pooled") if noise == "all" else options.words(noise)
    with progress_display() as progress:
        fits = fit(
            subject.model,
            images,
            model_name=trained.spec.name,
            weights=trained.weights,
            noises=noises,
            spec=load_spec(spec or default_spec_name(trained.spec.image_shape)),
            trained_on_images=known,
            grid=lambdas,
            seed=seed,
            batch_size=batch_size,
            device=subject.device,
            progress=progress,
        )
    for name, fitted in fits.items():
        fitted.save(folder.fit_path(name))
    fitted_all = list(fits.values())
    tables = fit_tables(fitted_all)
    out = folder.fit_path("any").parent
    for table in tables:
        (out / f"{table.name}.csv").write_text(table.to_csv())
    for plot in (*residual_plots(fitted_all), *fit_curve_plots(fitted_all)):
        (out / f"{plot.name}.png").write_bytes(plot.to_png())
    if as_json:
        print_json(fitted_all)
        return
    console = results_console()
    for table in tables:
        console.print(table.to_rich())
    for name, fitted in fits.items():
        line = fitted.lines[fitted.dataset_definition]
        console.print(f"{name}: lambda = {line.intercept:.3g} + {line.slope:.3g} x residual (R2 {line.r2:.3f})")
    note(f"Fits, tables and figures: {out}")
