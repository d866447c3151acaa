"""`robustcsc attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.attack_accuracy import Named, OfSuite, Score, Settings
from robustcsc.cli.attack_kinds import Attack, Common, Noise, Uap, chosen_attack
from robustcsc.cli.console import progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, note_unreadable, open_session
from robustcsc.cli.results import show

_ATTACKS, _ACCURACY, _UAP, _NOISE = "Which attack", "Attacks", "Universal perturbation", "Random noise"
_TO_NAMED, _TO_UAP, _TO_NOISE = ("--pgd", "--attack"), ("--uap",), ("--random-noise",)


def attack(
    pgd: Annotated[
        Literal["linf", "l2"] | None,
        typer.Option("--pgd", help="Projected gradient descent within this norm.", rich_help_panel=_ATTACKS),
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            "--attack",
            metavar="LIST",
            help="Attacks with commas between them: fgsm, pgd, apgd, apgd-t, square, fab, cw, deepfool, "
            "autoattack-port (not the original AutoAttack).",
            rich_help_panel=_ATTACKS,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="paper (PGD as in the SDNet paper, and through the adaptive policy), standard (stronger attacks, "
            "transfer, Square) or full (all protocols, an epsilon curve).",
            rich_help_panel=_ATTACKS,
        ),
    ] = None,
    score: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Score adversarial images of an earlier --save again.", rich_help_panel=_ATTACKS
        ),
    ] = None,
    uap: Annotated[
        bool,
        typer.Option(
            "--uap",
            help="One universal perturbation, crafted on training images: how many predictions does it change?",
            rich_help_panel=_ATTACKS,
        ),
    ] = False,
    random_noise: Annotated[
        bool,
        typer.Option(
            "--random-noise",
            help="Gaussian noise of a given energy: how many predictions does it change?",
            rich_help_panel=_ATTACKS,
        ),
    ] = False,
    epsilon: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Budgets in pixel units of [0, 1], like 8/255 or 0.25,0.5; by default 8/255 (linf), 0.5 (l2).",
            rich_help_panel=_ACCURACY,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Gradient steps, by default 20 (PGD).", rich_help_panel=_ACCURACY),
    ] = None,
    step_size: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Of PGD; by default 1/4 (linf) or 1/5 (l2) of the budget.", rich_help_panel=_ACCURACY
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Random restarts, by default 1; each image keeps its worst case.",
            rich_help_panel=_ACCURACY,
        ),
    ] = None,
    loss: Annotated[
        Literal["ce", "dlr"] | None,
        typer.Option(
            help="Loss that PGD and APGD raise: cross-entropy (default) or the difference of logits ratio, which "
            "scaled logits cannot hide.",
            rich_help_panel=_ACCURACY,
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Queries of Square, by default 5000.", rich_help_panel=_ACCURACY),
    ] = None,
    min_epsilon: Annotated[
        bool,
        typer.Option(
            "--min-epsilon",
            help="The smallest budget that breaks each image, by binary search up to --epsilon.",
            rich_help_panel=_ACCURACY,
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the adversarial images, for --score.", rich_help_panel=_ACCURACY),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Run or shipped model that transfer attacks are crafted on.",
            rich_help_panel=_ACCURACY,
        ),
    ] = None,
    norm: Annotated[
        Literal["linf", "l2"] | None,
        typer.Option(
            help="Norm of the perturbation (--attack, --uap: by default linf; --suite: both).",
            rich_help_panel=_ATTACKS,
        ),
    ] = None,
    xi: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Largest norms in pixel units of [0, 1], like 0.05 or 5/255,10/255; by default 0.05 (linf), 2 (l2).",
            rich_help_panel=_UAP,
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Crafting ends once a share of 1 - SHARE of its images is fooled; by default 0.2.",
            rich_help_panel=_UAP,
        ),
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Passes over the crafting images at most, by default 10.", rich_help_panel=_UAP
        ),
    ] = None,
    crafting_images: Annotated[
        int | None,
        typer.Option(
            "--crafting-images",
            metavar="N",
            min=1,
            help="Training images to craft on, evenly spaced; by default 1000.",
            rich_help_panel=_UAP,
        ),
    ] = None,
    rho: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Energies of the noise relative to that of the image, like 0.01,0.05 or FIRST:LAST:STEP; by default "
            "0.01,0.02,0.05,0.1,0.2.",
            rich_help_panel=_NOISE,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Seeds of random noise, and of the random controls beside a universal perturbation, counted from "
            "--seed; by default 3.",
            rich_help_panel=_NOISE,
        ),
    ] = None,
    protocols: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="How an attack meets lambda: plain, static (crafted at the training lambda, scored at the tuned one: "
            "a transfer test), tuned (the same at the best lambda by the test labels), fixed (each lambda of the "
            "grid), adaptive (crafted through the per-image policy), grid "
            "(against all lambdas at once), transfer (needs --from), black-box; by default plain, static and adaptive, "
            "for a UAP plain.",
            rich_help_panel=options.LAMBDA,
        ),
    ] = None,
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
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            help="Images per step, by default 250; to craft a universal perturbation 25, and 1 is the published order.",
            rich_help_panel=options.COMPUTE,
        ),
    ] = None,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure accuracy under attack, or how many predictions a perturbation changes; PGD (linf) if nothing is named."""
    chosen = chosen_attack(
        {
            "--pgd": pgd is not None,
            "--attack": attacks is not None,
            "--suite": suite is not None,
            "--score": score is not None,
            "--uap": uap,
            "--random-noise": random_noise,
        }
    )
    options.refuse_foreign(
        chosen,
        {
            _TO_NAMED: {
                "--epsilon": epsilon,
                "--steps": steps,
                "--step-size": step_size,
                "--restarts": restarts,
                "--loss": loss,
                "--queries": queries,
                "--min-epsilon": min_epsilon or None,
                "--save": save,
            },
            _TO_UAP: {"--xi": xi, "--delta": delta, "--passes": passes, "--crafting-images": crafting_images},
            _TO_NOISE: {"--rho": rho},
            (*_TO_NOISE, "--score"): {"--lambda": policies or None},
            (*_TO_UAP, *_TO_NOISE): {"--seeds": seeds},
            (*_TO_NAMED, *_TO_UAP): {"--protocols": protocols},
            (*_TO_NAMED, "--suite"): {"--from": source},
            ("--attack", "--suite", *_TO_UAP): {"--norm": norm},
        },
    )
    asked: Attack
    if uap:
        asked = Uap(norm or "linf", xi, delta, passes, crafting_images, "plain" if protocols is None else protocols)
    elif random_noise:
        asked = Noise(rho, policies)
    elif suite is not None:
        asked = OfSuite(suite, norm, source)
    elif score is not None:
        asked = Score(score, policies)
    else:
        settings = Settings(steps=steps, step_size=step_size, queries=queries, loss=loss, restarts=restarts)
        names = "pgd" if attacks is None else attacks
        asked = Named(names, pgd or norm or "linf", epsilon, settings, protocols or "", source, save, min_epsilon)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    asked.prepare(session, choice)
    images = choice.load(session.trained, "test", limit)
    common = Common(
        session=session, images=images, batch_size=batch_size, seed=seed, seeds=seeds or 3, remeasure=remeasure
    )
    with session.store() as store, progress_display() as progress:
        records = list(asked.measure(common, store, progress))
    note_unreadable(images)
    show(session.run, records, as_json)
