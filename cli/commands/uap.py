"""`robustcsc uap` and `robustcsc random-noise`: how many predictions a perturbation changes."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, choosing
from robustcsc.cli.console import note
from robustcsc.cli.render import show_results
from robustcsc.measurements.policies import parse_policy

_of_uap = partial(typer.Option, rich_help_panel="Universal perturbation")
_of_noise = partial(typer.Option, rich_help_panel="Random noise")
_BATCH_SIZE = 250


@choosing
def uap(
    *,
    norm: Annotated[Literal["linf", "l2"], _of_uap(help="Norm of the perturbation.")] = "linf",
    xi: Annotated[
        str | None,
        _of_uap(
            metavar="LIST",
            help="Largest norms in pixel units of [0, 1], like 0.05 or 5/255,10/255; by default 0.05 (linf), 2 (l2).",
        ),
    ] = None,
    delta: Annotated[
        float, _of_uap(metavar="SHARE", help="Crafting ends once a share of 1 - SHARE of its images is fooled.")
    ] = 0.2,
    passes: Annotated[int, _of_uap(metavar="N", min=1, help="Passes over the crafting images at most.")] = 10,
    crafting_images: Annotated[
        int, _of_uap("--crafting-images", metavar="N", min=1, help="Training images to craft on, evenly spaced.")
    ] = 1000,
    seeds: Annotated[
        int,
        _of_uap(
            metavar="N",
            min=0,
            help="Random perturbations of the same norm beside it, of each kind, with seeds counted from --seed.",
        ),
    ] = 3,
    only_controls: Annotated[bool, _of_uap("--only-controls", help="Measure the random perturbations only.")] = False,
    protocols: Annotated[
        str,
        options.in_lambda(
            metavar="LIST",
            help="How crafting meets lambda: plain, static (crafted at the training lambda, scored at the tuned one) "
            "or adaptive (crafted through the per-image policy).",
        ),
    ] = "plain",
    chosen: Chosen,
    limit: options.Limit = 1000,
    device: options.Device = "auto",
    workers: options.Workers = None,
    precision: options.Precision = "fp32",
    batch_size: Annotated[
        int,
        options.in_compute(
            "--batch-size", metavar="N", min=1, help="Crafting images per step; 1 is the published order."
        ),
    ] = 25,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Craft one universal perturbation on training images: how many predictions does it change?"""
    from robustcsc.evaluation.fooling.plans import check_uap
    from robustcsc.measurements.perturbations import Crafting
    from robustcsc.measurements.threats import DEFAULT_XI, ThreatModel, parse_epsilon

    sizes = [DEFAULT_XI[norm]] if xi is None else map(parse_epsilon, options.some("--xi", xi))
    threats = [ThreatModel(norm, size) for size in sizes]
    crafting = Crafting(images="", count=crafting_images, delta=delta, passes=passes, batch_size=batch_size, seed=seed)
    met = options.protocols(protocols, ("plain", "static", "adaptive"))
    check_uap(threats, None if only_controls else crafting)
    with chosen.session(
        device,
        limit,
        batch_size=_BATCH_SIZE,
        precision=precision,
        remeasure=remeasure,
        workers=workers,
        dry_run=dry_run,
    ) as session:
        results = session.uap(
            threats=threats,
            crafting=None if only_controls else crafting,
            protocols=met,
            control_seeds=range(seed, seed + seeds),
        )
    if not only_controls and not dry_run:
        note(f"The perturbations, as safetensors and PNG: {session.run.folder / 'perturbations'}")
    show_results(session.run, results, as_json)


@choosing
def random_noise(
    *,
    rho: Annotated[
        str,
        _of_noise(
            metavar="LIST",
            help="Energies of the noise relative to that of the image, like 0.01,0.05 or FIRST:LAST:STEP.",
        ),
    ] = "0.01,0.02,0.05,0.1,0.2",
    seeds: Annotated[int, _of_noise(metavar="N", min=1, help="Seeds of the noise, counted from --seed.")] = 3,
    policies: options.LambdaPolicies = "",
    chosen: Chosen,
    limit: options.Limit = 1000,
    device: options.Device = "auto",
    workers: options.Workers = None,
    precision: options.Precision = "fp32",
    batch_size: options.AnyBatchSize = _BATCH_SIZE,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Add Gaussian noise of a given energy: how many predictions does it change?"""
    from robustcsc.evaluation.fooling.plans import check_noise

    rhos, asked = options.numbers("--rho", rho), options.policies(policies)
    check_noise(rhos, [parse_policy(word) for word in asked if word != "grid"])
    with chosen.session(
        device, limit, batch_size=batch_size, precision=precision, remeasure=remeasure, workers=workers, dry_run=dry_run
    ) as session:
        results = session.random_noise(rhos=rhos, policies=asked, seeds=range(seed, seed + seeds))
    show_results(session.run, results, as_json)
