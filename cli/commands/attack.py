"""`robustcsc attack`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, Measured, choosing
from robustcsc.cli.console import note
from robustcsc.cli.options import completion
from robustcsc.cli.render import show_results
from robustcsc.errors import AttackError

if TYPE_CHECKING:
    from robustcsc.evaluation.attacks.plans import AttackRequest
    from robustcsc.measurements.attacks import AttackStep
    from robustcsc.measurements.threats import Norm, ThreatModel

_which = partial(typer.Option, rich_help_panel="Which attack")
_of_attack = partial(typer.Option, rich_help_panel="Attacks")
_TO_NAMED = ("--pgd", "--attack")


@choosing
def attack(
    *,
    pgd: Annotated[
        Literal["linf", "l2"] | None, _which("--pgd", help="Projected gradient descent within this norm.")
    ] = None,
    attacks: Annotated[
        str | None,
        _which(
            "--attack",
            metavar="LIST",
            autocompletion=completion.attack_lists,
            help="Attacks with commas between them: fgsm, pgd, apgd, apgd-t, square, fab, cw, deepfool, "
            "autoattack-port (not the original AutoAttack). Settings of one attack stand behind colons, like "
            "pgd:steps=40:restarts=5.",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        _which(
            metavar="NAME",
            help="paper (PGD as in the SDNet paper, and through the adaptive policy), standard (stronger attacks, "
            "transfer, Square) or full (all protocols, an epsilon curve).",
        ),
    ] = None,
    score: Annotated[
        Path | None, _which(metavar="FILE", help="Score adversarial images of an earlier --save again.")
    ] = None,
    norm: Annotated[
        Literal["linf", "l2"] | None,
        _which(help="Norm of the perturbation; by default linf, and for a --suite with its own budgets both."),
    ] = None,
    epsilon: Annotated[
        str | None,
        _of_attack(
            metavar="LIST",
            help="Budgets in pixel units of [0, 1], like 8/255 or 0.25,0.5; by default 8/255 (linf), 0.5 (l2), or "
            "those of the suite.",
        ),
    ] = None,
    steps: Annotated[int | None, _of_attack(metavar="N", min=1, help="Gradient steps, by default 20 (PGD).")] = None,
    step_size: Annotated[
        str | None, _of_attack(metavar="NUMBER", help="Of PGD; by default 1/4 (linf) or 1/5 (l2) of the budget.")
    ] = None,
    restarts: Annotated[
        int | None,
        _of_attack(metavar="N", min=1, help="Random restarts, by default 1; each image keeps its worst case."),
    ] = None,
    loss: Annotated[
        Literal["ce", "dlr"] | None,
        _of_attack(
            help="Loss that PGD and APGD raise: cross-entropy (default) or the difference of logits ratio, which "
            "scaled logits cannot hide."
        ),
    ] = None,
    queries: Annotated[int | None, _of_attack(metavar="N", min=1, help="Queries of Square, by default 5000.")] = None,
    in_turn: Annotated[
        bool,
        _of_attack(
            "--in-turn",
            help="Each attack gets only the images that the ones before it left, and all are counted together.",
        ),
    ] = False,
    min_epsilon: Annotated[
        bool,
        _of_attack(
            "--min-epsilon", help="The smallest budget that breaks each image, by binary search up to --epsilon."
        ),
    ] = False,
    save: Annotated[
        Path | None,
        _of_attack(
            metavar="FILE",
            callback=options.writable,
            help="Keep the adversarial images, for --score; of the policy that --lambda names, if there are several.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        _of_attack("--from", metavar="RUN", help="Run or shipped model that transfer attacks are crafted on."),
    ] = None,
    protocols: Annotated[
        str | None,
        options.in_lambda(
            metavar="LIST",
            help="How an attack meets lambda: plain, static (crafted at the training lambda, scored at the tuned one: "
            "a transfer test), tuned (the same at the best lambda by the test labels), fixed (each lambda of the "
            "grid), adaptive (crafted through the per-image policy), grid "
            "(against all lambdas at once), transfer (needs --from), black-box; by default plain, static and adaptive.",
        ),
    ] = None,
    lambdas: Annotated[
        str | None,
        options.in_lambda(
            metavar="LIST",
            help="Lambdas of the protocols fixed and grid; by default 1 to 15 times the training lambda.",
        ),
    ] = None,
    policies: options.LambdaPolicies = "",
    chosen: Chosen,
    limit: options.Limit = 1000,
    measured: Measured,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure the accuracy under attack; PGD (linf) if nothing is named."""
    kind = _one_of({"--pgd": pgd, "--attack": attacks, "--suite": suite, "--score": score}, default="--pgd")
    settings = {"--steps": steps, "--step-size": step_size, "--loss": loss, "--queries": queries}
    more = {"--in-turn": in_turn or None, "--min-epsilon": min_epsilon or None, "--save": save, "--lambdas": lambdas}
    _refuse_foreign(
        kind,
        {
            _TO_NAMED: {**settings, "--restarts": restarts, **more, "--protocols": protocols},
            ("--score",) if save is None else ("--score", *_TO_NAMED): {"--lambda": policies or None},
            (*_TO_NAMED, "--suite"): {"--epsilon": epsilon, "--from": source},
            ("--attack", "--suite"): {"--norm": norm},
        },
    )
    from robustcsc.evaluation.plan import counted_size

    request: AttackRequest | None = None
    threats = _threats(pgd or norm or "linf", epsilon)
    if kind in _TO_NAMED:
        from robustcsc.evaluation.attacks.plans import AttackRequest

        request = AttackRequest(
            steps=_steps("pgd" if attacks is None else attacks, settings, restarts),
            threats=threats,
            protocols=() if protocols is None else options.protocols(protocols),
            lambdas=None if lambdas is None else options.numbers("--lambdas", lambdas),
            in_turn=in_turn,
            smallest=min_epsilon,
            seed=seed,
        )
    if suite is not None:
        from robustcsc.evaluation.attacks.suites import suite_of

        suite_of(suite)  # a mistake is told before torch is imported
    if source is not None:
        runs.meant(source)
    counted_size(measured.batch_size)
    asked = options.policies(policies)
    with measured.session(chosen, limit) as session:
        if score is not None:
            results = session.score(score, policies=asked)
        elif suite is not None:
            sizes = [threat.epsilon for threat in threats] if epsilon else None
            results = session.suite(suite, norms=norm and [norm], epsilon=sizes, surrogate=source, seed=seed)
        else:
            results = session.attack(request=request, surrogate=source, save=save, saving=policies)
    if save is not None and not measured.dry_run:
        note(f"The adversarial images: {save}")
    show_results(session.run, results, as_json)


def _steps(names: str, options_given: Mapping[str, object], restarts: int | None) -> tuple[AttackStep, ...]:
    """Returns the attacks; an option goes to those that have this setting, unless they say it behind a colon.

    Raises:
        UnknownNameError: An attack is unknown.
        AttackError: No attack has a setting that was given, or its value makes no sense.
    """
    from robustcsc.measurements.attacks import ATTACKS, kind_of, parse_step
    from robustcsc.measurements.threats import parse_epsilon

    typed = [text.split(":") for text in options.some("--attack", names)]
    kinds = {name: kind_of(name) for name, *_ in typed}
    given = {_setting(option): value for option, value in options_given.items() if value is not None}
    if "step_size" in given and not parse_epsilon(str(given["step_size"])):
        raise AttackError("A step size of 0 moves no image: leave --step-size out or write a number such as 2/255.")
    for option in options_given:
        setting = _setting(option)
        if setting in given and not any(setting in kind.settings for kind in kinds.values()):
            having = ", ".join(name for name, kind in ATTACKS.items() if setting in kind.settings)
            raise AttackError(f"{option} is a setting of {having} and not of {', '.join(kinds)}: leave it out.")
    if (restarts or 1) > 1 and not any(kind.random for kind in kinds.values()):
        raise AttackError(f"Restarts of {', '.join(kinds)} would all be the same: leave --restarts out.")
    steps = []
    for name, *own in typed:
        common = {setting: value for setting, value in given.items() if setting in kinds[name].settings}
        if restarts is not None and kinds[name].random:
            common["restarts"] = restarts
        said = {_setting(word.partition("=")[0]) for word in own}
        more = [f"{setting}={value}" for setting, value in common.items() if setting not in said]
        steps.append(parse_step(":".join([name, *own, *more])))
    return tuple(steps)


def _setting(typed: str) -> str:
    return typed.removeprefix("--").replace("-", "_")


def _threats(norm: Norm, epsilon: str | None) -> tuple[ThreatModel, ...]:
    from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel, parse_epsilon

    sizes = [DEFAULT_EPSILON[norm]] if epsilon is None else map(parse_epsilon, options.some("--epsilon", epsilon))
    return tuple(ThreatModel(norm, size) for size in sizes)


def _one_of(given: Mapping[str, object], default: str) -> str:
    """Returns the option among several that was given, or the default.

    Raises:
        OptionError: Several were given.
    """
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise options.OptionError(f"{' and '.join(chosen)} exclude each other: run one after the other.")
    return chosen[0] if chosen else default


def _refuse_foreign(chosen: str, options_of: Mapping[tuple[str, ...], Mapping[str, object]]) -> None:
    """Refuses options that say nothing about what was chosen.

    Args:
        chosen: What was chosen, an attack for example.
        options_of: Values of options by the choices they belong to; ``None`` is an option that was not given.

    Raises:
        OptionError: An option of other choices was given.
    """
    for choices, values in options_of.items():
        for name, value in values.items():
            if value is not None and chosen not in choices:
                raise options.OptionError(f"{name} belongs to {' and '.join(choices)}, not to {chosen}: leave it out.")
