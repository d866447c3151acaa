"""`robustcsc attack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, note_unreadable
from robustcsc.cli.console import note
from robustcsc.cli.render import show_results
from robustcsc.errors import AttackError

if TYPE_CHECKING:
    from robustcsc.evaluation.attacks.plans import AttackRequest
    from robustcsc.measurements.attacks import AttackStep, Value
    from robustcsc.measurements.threats import Norm, ThreatModel

_ATTACKS, _ACCURACY = "Which attack", "Attacks"
_TO_NAMED = ("--pgd", "--attack")


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
            "autoattack-port (not the original AutoAttack). Settings of one attack stand behind colons, like "
            "pgd:steps=40:restarts=5.",
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
    norm: Annotated[
        Literal["linf", "l2"] | None,
        typer.Option(
            help="Norm of the perturbation (--attack: by default linf; --suite: both).", rich_help_panel=_ATTACKS
        ),
    ] = None,
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
    in_turn: Annotated[
        bool,
        typer.Option(
            "--in-turn",
            help="Each attack gets only the images that the ones before it left, and all are counted together.",
            rich_help_panel=_ACCURACY,
        ),
    ] = False,
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
    protocols: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="How an attack meets lambda: plain, static (crafted at the training lambda, scored at the tuned one: "
            "a transfer test), tuned (the same at the best lambda by the test labels), fixed (each lambda of the "
            "grid), adaptive (crafted through the per-image policy), grid "
            "(against all lambdas at once), transfer (needs --from), black-box; by default plain, static and adaptive.",
            rich_help_panel=options.LAMBDA,
        ),
    ] = None,
    lambdas: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Lambdas of the protocols fixed and grid; by default 1 to 15 times the training lambda.",
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
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    remeasure: options.Remeasure = False,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under attack; PGD (linf) if nothing is named."""
    chosen = options.one_of({"--pgd": pgd, "--attack": attacks, "--suite": suite, "--score": score}, default="--pgd")
    settings = {"--steps": steps, "--step-size": step_size, "--loss": loss, "--queries": queries}
    more = {"--in-turn": in_turn or None, "--min-epsilon": min_epsilon or None, "--save": save, "--lambdas": lambdas}
    options.refuse_foreign(
        chosen,
        {
            _TO_NAMED: {"--epsilon": epsilon, **settings, "--restarts": restarts, **more, "--protocols": protocols},
            ("--score",): {"--lambda": policies or None},
            (*_TO_NAMED, "--suite"): {"--from": source},
            ("--attack", "--suite"): {"--norm": norm},
        },
    )
    request: AttackRequest | None = None
    if chosen in _TO_NAMED:
        from robustcsc.evaluation.attacks.plans import AttackRequest

        request = AttackRequest(
            steps=_steps("pgd" if attacks is None else attacks, settings, restarts),
            threats=_threats(pgd or norm or "linf", epsilon),
            protocols=options.protocols(protocols or ""),
            lambdas=None if lambdas is None else options.numbers("--lambdas", lambdas),
            in_turn=in_turn,
            smallest=min_epsilon,
            seed=seed,
        )
        _check_together(request, save, step_size)
    elif suite is not None:
        options.check_suite(suite)
    named = Chosen(run, model, weights, data, root, download, image_size, workers, device)
    with named.session(batch_size=batch_size, remeasure=remeasure) as session:
        if score is not None:
            show_results(session.run, session.score(score, policies=options.words(policies)), as_json)
            return
        surrogate = None if source is None else session.opened(source)
        images = session.images(limit=limit)
        if suite is not None:
            norms: tuple[Norm, ...] = ("linf", "l2") if norm is None else (norm,)
            results = session.suite(suite, images, norms=norms, surrogate=surrogate, seed=seed)
        else:
            results = session.attack(images, request, surrogate=surrogate, save=save)
    note_unreadable(images)
    if save is not None:
        note(f"The adversarial images: {save}")
    show_results(session.run, results, as_json)


def _steps(names: str, settings: dict[str, Value | None], restarts: int | None) -> tuple[AttackStep, ...]:
    """Returns the attacks; a setting goes to those that have it, and not to those that say it behind a colon.

    Raises:
        UnknownNameError: An attack is unknown.
        AttackError: No attack has a setting that was given, or its value makes no sense.
    """
    from robustcsc.measurements.attacks import ATTACKS, AttackStep, parse_step
    from robustcsc.measurements.threats import parse_epsilon

    steps = [parse_step(text) for text in options.some("--attack", names)]
    given = {option: value for option, value in settings.items() if value is not None}
    if "--step-size" in given:
        given["--step-size"] = parse_epsilon(str(given["--step-size"]))
        if not given["--step-size"]:
            raise AttackError("A step size of 0 moves no image: leave --step-size out or write a number such as 2/255.")
    for option in given:
        setting = option.removeprefix("--").replace("-", "_")
        if not any(setting in step.kind.settings for step in steps):
            having = ", ".join(name for name, kind in ATTACKS.items() if setting in kind.settings)
            raise AttackError(
                f"{option} is a setting of {having} and not of {', '.join(step.name for step in steps)}: leave it out."
            )
    if (restarts or 1) > 1 and not any(step.kind.random for step in steps):
        raise AttackError(
            f"Restarts of {', '.join(step.name for step in steps)} would all be the same: leave --restarts out."
        )
    made = []
    for step in steps:
        common = {option.removeprefix("--").replace("-", "_"): value for option, value in given.items()}
        own = {setting: value for setting, value in common.items() if setting in step.kind.settings}
        repeats = step.restarts if step.restarts > 1 or not step.kind.random else restarts or 1
        made.append(AttackStep.of(step.name, restarts=repeats, **{**dict(step.settings), **own, **step.changed}))
    return tuple(made)


def _check_together(request: AttackRequest, save: Path | None, step_size: str | None) -> None:
    """Refuses options that cannot go together.

    Raises:
        OptionError: There are such options.
    """
    alone = len(request.steps) == len(request.threats) == 1
    if save is not None and not alone:
        raise options.OptionError("--save keeps the images of one attack at one budget: name one of each.")
    if save is not None and save.exists():
        raise options.OptionError(f"{save} exists already: move it away or name another file.")
    if request.smallest and (len(request.threats) != 1 or not request.threats[0].epsilon):
        raise options.OptionError("--min-epsilon searches up to one budget: write one --epsilon above 0.")
    if request.smallest and save is not None:
        raise options.OptionError("--min-epsilon keeps no images: leave --save out.")
    if request.smallest and step_size is not None:
        raise options.OptionError("--min-epsilon chooses the step size by the budget: leave --step-size out.")


def _threats(norm: Norm, epsilon: str | None) -> tuple[ThreatModel, ...]:
    from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel, parse_epsilon

    sizes = [DEFAULT_EPSILON[norm]] if epsilon is None else map(parse_epsilon, options.some("--epsilon", epsilon))
    return tuple(ThreatModel(norm, size) for size in sizes)
