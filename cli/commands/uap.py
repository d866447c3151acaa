"""`robustcsc uap` and `robustcsc random-noise`: how many predictions a perturbation changes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.console import note
from robustcsc.cli.render import show_results

_UAP, _NOISE = "Universal perturbation", "Random noise"
_BATCH_SIZE = 250


def uap(
    norm: Annotated[
        Literal["linf", "l2"], typer.Option(help="Norm of the perturbation.", rich_help_panel=_UAP)
    ] = "linf",
    xi: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Largest norms in pixel units of [0, 1], like 0.05 or 5/255,10/255; by default 0.05 (linf), 2 (l2).",
            rich_help_panel=_UAP,
        ),
    ] = None,
    delta: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Crafting ends once a share of 1 - SHARE of its images is fooled.",
            rich_help_panel=_UAP,
        ),
    ] = 0.2,
    passes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Passes over the crafting images at most.", rich_help_panel=_UAP)
    ] = 10,
    crafting_images: Annotated[
        int,
        typer.Option(
            "--crafting-images",
            metavar="N",
            min=1,
            help="Training images to craft on, evenly spaced.",
            rich_help_panel=_UAP,
        ),
    ] = 1000,
    seeds: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Random perturbations of the same norm beside it, of each kind, with seeds counted from --seed.",
            rich_help_panel=_UAP,
        ),
    ] = 3,
    only_controls: Annotated[
        bool,
        typer.Option("--only-controls", help="Measure the random perturbations only.", rich_help_panel=_UAP),
    ] = False,
    protocols: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="How crafting meets lambda: plain, static (crafted at the training lambda, scored at the tuned one) "
            "or adaptive (crafted through the per-image policy).",
            rich_help_panel=options.LAMBDA,
        ),
    ] = "plain",
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: options.Limit = 1000,
    device: options.Device = "auto",
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            help="Crafting images per step; 1 is the published order.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = 25,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Craft one universal perturbation on training images: how many predictions does it change?"""
    from robustcsc.measurements.perturbations import Crafting
    from robustcsc.measurements.threats import DEFAULT_XI, ThreatModel, parse_epsilon

    sizes = [DEFAULT_XI[norm]] if xi is None else map(parse_epsilon, options.some("--xi", xi))
    threats = [ThreatModel(norm, size) for size in sizes]
    crafting = Crafting(images="", count=crafting_images, delta=delta, passes=passes, batch_size=batch_size, seed=seed)
    met = options.protocols(protocols, ("plain", "static", "adaptive"))
    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with chosen.session(batch_size=_BATCH_SIZE, remeasure=remeasure) as session:
        results = session.uap(
            threats=threats,
            crafting=None if only_controls else crafting,
            protocols=met,
            control_seeds=range(seed, seed + seeds),
        )
    if not only_controls:
        note(f"The perturbations, as safetensors and PNG: {session.run.folder / 'perturbations'}")
    show_results(session.run, results, as_json)


def random_noise(
    rho: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Energies of the noise relative to that of the image, like 0.01,0.05 or FIRST:LAST:STEP.",
            rich_help_panel=_NOISE,
        ),
    ] = "0.01,0.02,0.05,0.1,0.2",
    seeds: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Seeds of the noise, counted from --seed.", rich_help_panel=_NOISE),
    ] = 3,
    policies: options.LambdaPolicies = "",
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: options.Limit = 1000,
    device: options.Device = "auto",
    batch_size: options.BatchSize = _BATCH_SIZE,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Add Gaussian noise of a given energy: how many predictions does it change?"""
    rhos = options.numbers("--rho", rho)
    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with chosen.session(batch_size=batch_size, remeasure=remeasure) as session:
        results = session.random_noise(rhos=rhos, policies=options.words(policies), seeds=range(seed, seed + seeds))
    show_results(session.run, results, as_json)
