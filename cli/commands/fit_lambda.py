"""`robustcsc fit-lambda`."""

from __future__ import annotations

from typing import Annotated

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, choosing
from robustcsc.cli.console import note, print_json
from robustcsc.cli.render import print_tables, show_plan
from robustcsc.measurements.facts import to_plain


@choosing
def fit_lambda(
    *,
    noise: Annotated[
        str,
        options.in_lambda(
            metavar="LIST",
            help="gaussian, shot, speckle, impulse, pooled (all four together), blind (clean images, too, with an "
            "estimator for single images of unknown noise), with commas between several, or all.",
        ),
    ] = "gaussian",
    grid: Annotated[
        str | None,
        options.in_lambda(
            metavar="LIST",
            help="Lambdas to try, as numbers with commas, or FIRST:LAST:STEP; by default 1 to 15 times the training "
            "lambda, which is 0.1:1.5:0.1 for an SDNet.",
        ),
    ] = None,
    per_layer: Annotated[
        bool,
        options.in_lambda(help="Give each layer a lambda of its own, for networks with several CSC layers."),
    ] = False,
    chosen: Chosen,
    limit: Annotated[int, options.in_data(metavar="N", min=2, help="Use at most N held-out training images.")] = 5000,
    spec: options.Spec = None,
    as_published: options.AsPublished = True,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.AnyBatchSize = 250,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Fit the line from the residual of the CSC layers to the best lambda, on held-out training images.

    A fit of the same weights, images and settings that the run has is not measured again.
    """
    families, lambdas = options.noises(noise), None if grid is None else options.numbers("--grid", grid)
    options.check_corruptions(None, spec)
    with chosen.session(
        device, batch_size=batch_size, precision=precision, remeasure=remeasure, dry_run=dry_run
    ) as session:
        table = session.severity_table(spec)
        found = session.fit_lambdas(
            families,
            grid=lambdas,
            per_layer=per_layer,
            limit=limit,
            spec=table,
            as_published=as_published,
            seed=seed,
        )

    if found.plan is not None:
        show_plan(found.plan, as_json)
        return
    from robustcsc.reports.summary.lambda_fits import fit_tables
    from robustcsc.session.reporting import keep_fit_tables

    fits = list(found.values())
    keep_fit_tables(session.run)
    if as_json:
        print_json(list(map(to_plain, fits)))
        return
    print_tables(fit_tables(fits))
    note(f"Fits, tables and figures: {session.run.fit_path('any').parent}")
