"""`robustcsc attack`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, progress_display
from robustcsc.cli.context import DataChoice, ModelChoice, Session, note_unreadable, open_session
from robustcsc.cli.results import show

if TYPE_CHECKING:
    from robustcsc.evaluation.subject import Subject

_ATTACKS, _BUDGET = "Which attack", "How hard"


def attack(
    pgd: Annotated[
        Literal["linf", "l2"],
        typer.Option("--pgd", help="Projected gradient descent within this norm.", rich_help_panel=_ATTACKS),
    ] = "linf",
    epsilon: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Budget in pixel units of [0, 1], like 8/255 or 0.5; by default 8/255 (linf), 0.5 (l2).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Gradient steps.", rich_help_panel=_BUDGET)] = 20,
    step_size: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="By default 2/255 (linf), 0.1 (l2).", rich_help_panel=_BUDGET),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Random restarts; each image keeps its worst case.", rich_help_panel=_BUDGET
        ),
    ] = 1,
    protocols: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="How the attack meets lambda: plain, static (crafted at the training lambda, scored at the tuned one: "
            "a transfer test), adaptive (crafted through the per-image policy); all that make sense if not given.",
            rich_help_panel=options.LAMBDA,
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
    """Measure the accuracy under an adversarial attack; PGD in the linf norm if no other is named."""
    from robustcsc.attacks.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
    from robustcsc.evaluation.adversarial import attack_pgd
    from robustcsc.evaluation.sweep import evaluate_clean

    threat = ThreatModel(pgd, DEFAULT_EPSILON[pgd] if epsilon is None else parse_epsilon(epsilon))
    step = _step_size(step_size)
    choice = DataChoice(data, root, download, image_size, workers)
    session = open_session(ModelChoice(run, model, weights), choice, device)
    subject = session.subject
    chosen = _protocols(session, options.words(protocols))
    images = choice.load(session.trained, "test", limit)
    with session.store() as store, progress_display() as progress:
        baseline = subject.policies(("train",))
        records = evaluate_clean(
            subject, images, store, policies=baseline, batch_size=batch_size, remeasure=remeasure, progress=progress
        )
        records += attack_pgd(
            subject,
            images,
            store,
            threat=threat,
            protocols=chosen,
            steps=steps,
            step_size=step,
            restarts=restarts,
            seed=seed,
            batch_size=batch_size,
            remeasure=remeasure,
            progress=progress,
        )
    note_unreadable(images)
    show(session.run, records, as_json)


def _step_size(text: str | None) -> float | None:
    from robustcsc.attacks.threat import parse_epsilon
    from robustcsc.errors import AttackError

    size = None if text is None else parse_epsilon(text)
    if size == 0:
        raise AttackError("A step size of 0 moves no image: leave --step-size out or write a number such as 2/255.")
    return size


def _protocols(session: Session, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the protocols, checked before anything is measured; without any asked for, all that make sense."""
    from robustcsc.errors import PolicyError, UnknownNameError
    from robustcsc.evaluation.adversarial import PROTOCOLS, default_protocols

    subject: Subject = session.subject
    for protocol in asked:
        if protocol not in PROTOCOLS:
            raise UnknownNameError("attack protocol", protocol, PROTOCOLS)
        if protocol != "plain" and not subject.has_lambda:
            raise PolicyError(f"{subject.model_name} has no CSC layer: only the protocol plain makes sense for it.")
        if protocol != "plain":
            subject.fit_for(None)
    if not asked and subject.has_lambda and not subject.fits:
        note(
            "Only the training lambda is attacked: for the adaptive one, first run "
            f"`robustcsc fit-lambda --run {subject.run}`."
        )
    return asked or default_protocols(subject)
