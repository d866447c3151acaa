"""`robustcsc fit-lambda`."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.console import note, print_json, results_console
from robustcsc.cli.render import print_tables


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
    from robustcsc.reports.summary.lambda_fits import fit_tables, line_words
    from robustcsc.session.reporting import keep_fit_tables

    lambdas = None if grid is None else options.numbers("--grid", grid)
    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, device=device)
    with chosen.session(batch_size=batch_size) as session:
        table = session.severity_table(spec)
        found = session.fit_lambdas(options.noises(noise), grid=lambdas, limit=limit, spec=table, seed=seed)
    fits = list(found.values())
    keep_fit_tables(session.run, fits)
    if as_json:
        print_json(fits)
        return
    _, *levels = fit_tables(fits)  # the overview is too wide for a terminal
    print_tables(levels)
    for fit in fits:
        results_console().print(line_words(fit))
    note(f"Fits, tables and figures: {session.run.fit_path('any').parent}")
