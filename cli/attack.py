"""`robustcsc attack`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, open_subject
from robustcsc.cli.results import show


def attack(
    pgd: Annotated[
        Literal["linf", "l2"], typer.Option("--pgd", help="Projected gradient descent within this norm.")
    ] = "linf",
    epsilon: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Budget in pixel units of [0, 1], like 8/255; by default 8/255 (linf), 0.5 (l2)."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 20,
    step_size: Annotated[str | None, typer.Option(metavar="NUMBER", help="By default 2/255 (linf), 0.1 (l2).")] = None,
    restarts: Annotated[int, typer.Option(min=1, help="Random restarts; each image keeps its worst case.")] = 1,
    protocols: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="plain, static (crafted at the training lambda, scored at the tuned one: a transfer test), adaptive "
            "(crafted through the per-image policy); all that make sense if not given.",
        ),
    ] = "",
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
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under an adversarial attack on 1,000 test images, or as many as --limit says."""
    from robustcsc.attacks.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
    from robustcsc.evaluation.adversarial import attack_pgd, default_protocols
    from robustcsc.evaluation.sweep import evaluate_clean
    from robustcsc.store import ResultStore

    threat = ThreatModel(pgd, DEFAULT_EPSILON[pgd] if epsilon is None else parse_epsilon(epsilon))
    choice = DataChoice(data, root, download, image_size, workers)
    folder, trained, subject = open_subject(ModelChoice(run, model, weights), choice, device)
    chosen = options.words(protocols) or default_protocols(subject)
    if not protocols and subject.has_lambda and not subject.fits:
        note(
            f"Only the training lambda is attacked, as there is no fit: run `robustcsc fit-lambda --run {folder.name}`."
        )
    images = choice.load(trained, "test", limit)
    with ResultStore(folder.store_path) as store, progress_display() as progress:
        policies = subject.policies(("train",) if subject.has_lambda else ())
        records = evaluate_clean(subject, images, store, policies=policies, batch_size=batch_size, progress=progress)
        records += attack_pgd(
            subject,
            images,
            store,
            threat=threat,
            protocols=chosen,
            steps=steps,
            step_size=None if step_size is None else parse_epsilon(step_size),
            restarts=restarts,
            seed=seed,
            batch_size=batch_size,
            remeasure=remeasure,
            progress=progress,
        )
    show(folder, records, as_json)
