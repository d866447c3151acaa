"""`robustcsc fit-lambda`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display, results_console
from robustcsc.cli.context import DataChoice, ModelChoice, Session, note_unreadable, open_session, written
from robustcsc.cli.results import print_tables
from robustcsc.files import write_whole
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.data import ImageSet
    from robustcsc.measurements.fits import LambdaFit


def fit_lambda(
    noise: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="gaussian, shot, speckle, impulse, pooled (all four together), with commas between several, or all.",
            rich_help_panel=options.LAMBDA,
        ),
    ] = "gaussian",
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Lambdas to try, as numbers with commas, or FIRST:LAST:STEP; by default 1 to 15 times the training "
            "lambda, which is 0.1:1.5:0.1 for an SDNet.",
            rich_help_panel=options.LAMBDA,
        ),
    ] = None,
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    split: Annotated[
        str, typer.Option(help="Split to fit on; anything but train is refused.", rich_help_panel=options.DATA)
    ] = "train",
    limit: Annotated[
        int,
        typer.Option(metavar="N", min=2, help="Use at most N held-out training images.", rich_help_panel=options.DATA),
    ] = 5000,
    spec: options.Spec = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fit the line from the residual of the CSC layers to the best lambda, on held-out training images."""
    from robustcsc.errors import PolicyError

    if split != "train":
        raise PolicyError(f"--split {split}: lambda is fitted on training images only, never on those of a test.")
    lambdas = None if grid is None else options.numbers(grid)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    images = choice.load(session.trained, "train")
    fits = measure_fits(session, images, noise, grid=lambdas, limit=limit, spec=spec, batch_size=batch_size, seed=seed)
    note_unreadable(images)
    _show(session.run, fits, as_json)


def measure_fits(
    session: Session,
    images: ImageSet,
    noise: str,
    *,
    grid: Sequence[float] | None = None,
    limit: int = 5000,
    spec: str | None = None,
    batch_size: int = 250,
    seed: int = 0,
) -> list[LambdaFit]:
    """Returns the lambda fits and keeps them in the run.

    Args:
        session: The model and its run.
        images: The whole training split.
        noise: Noise families, as typed by the user.
        grid: Lambdas to try; 1 to 15 times the training lambda, as in the paper, if ``None``.
        limit: Number of held-out images to use at most.
        spec: Severity table that the noise levels bracket; the one for the image size if ``None``.
        batch_size: Images at a time.
        seed: Seed of the noise, and of the choice of images if there are more than `limit`.
    """
    import torch

    from robustcsc.adaptive.fit import fit_lambda as fit
    from robustcsc.cli.evaluate import default_spec_name
    from robustcsc.corruptions import load_spec
    from robustcsc.measurements.noises import NOISE_KERNELS
    from robustcsc.training.run import heldout_images

    heldout, known = heldout_images(images, session.trained)
    if limit < len(heldout):
        order = torch.randperm(len(heldout), generator=torch.Generator().manual_seed(seed))
        heldout = heldout.subset(order[:limit].sort().values)
    with progress_display() as progress:
        fits = fit(
            session.subject.model,
            heldout,
            model_name=session.trained.spec.name,
            weights=session.trained.weights,
            noises=(*NOISE_KERNELS, "pooled") if noise == "all" else options.words(noise),
            spec=load_spec(spec or default_spec_name(images.image_shape)),
            trained_on_images=known,
            grid=grid,
            seed=seed,
            batch_size=batch_size,
            device=session.subject.device,
            progress=progress,
        )
    session.keep()
    with written(session.run) as run:
        for name, fitted in fits.items():
            fitted.save(run.fit_path(name))
        _keep_tables(run, list(fits.values()))
    return list(fits.values())


def line_words(fit: LambdaFit) -> str:
    """Returns the line of a fit as one line of text."""
    line = fit.lines[fit.dataset_definition]
    if len({level.best_lam for level in fit.levels}) == 1:
        return f"{fit.noise}: lambda = {fit.levels[0].best_lam:g}, the best at every noise level"
    sign = "-" if line.slope < 0 else "+"
    return f"{fit.noise}: lambda = {line.intercept:.3g} {sign} {abs(line.slope):.3g} x residual (R2 {line.r2:.3f})"


def _keep_tables(run: Run, fits: Sequence[LambdaFit]) -> None:
    """Writes the tables as CSV and the figures as PNG beside the fits."""
    from robustcsc.report import fit_curve_plots, fit_tables, residual_plots

    folder = run.fit_path("any").parent
    for table in fit_tables(fits):
        write_whole(folder / f"{table.name}.csv", table.to_csv().encode())
    for plot in (*residual_plots(fits), *fit_curve_plots(fits)):
        write_whole(folder / f"{plot.name}.png", plot.to_png())


def _show(run: Run, fits: Sequence[LambdaFit], as_json: bool) -> None:
    from robustcsc.report import fit_tables

    if as_json:
        print_json(fits)
        return
    _, *levels = fit_tables(fits)  # the overview is too wide for a terminal
    print_tables(levels)
    for fit in fits:
        results_console().print(line_words(fit))
    note(f"Fits, tables and figures: {run.fit_path('any').parent}")
