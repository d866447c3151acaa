"""How policies, protocols, attacks and corruptions are called in tables and charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from robustcsc.measurements.adaptations import typed_adaptation
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.corruptions import NOISE_KERNELS, STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    Perturbation,
    Pixels,
    RandomControl,
    RandomNoise,
    Source,
    Universal,
)
from robustcsc.measurements.policies import (
    Adapted,
    Adaptive,
    Blind,
    FixedLambda,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Answers, Precision
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.presentation.words import MISSING, About
from robustcsc.reports.cohorts.adaptations import GRADIENTS, adaptation_words

NOISES = tuple(NOISE_KERNELS.values())
"""The four additive noises of SDNet, in the order of its Table 3."""
THEN = " > "
"""Stands between attacks, each of which got the images that the ones before it left."""

_SCOPES = {Scope.DATASET: "adaptive lambda", Scope.BATCH: "adaptive lambda per batch"}
_SCOPES[Scope.IMAGE] = "adaptive lambda per image"
_THROUGH: Mapping[type[Policy], str] = {Adaptive: "the adaptive policy", Blind: "the blind policy"}
_NORMS: dict[Norm, str] = {"linf": "L∞", "l2": "L2"}
_CONTROLS = {"random-sign": "random signs", "gaussian": "Gaussian"}

Crafted = Attack | MinimalBudget | Universal | RandomControl
"""Perturbations that meet lambda in a way of their own: those with a protocol."""


def policy_words(policy: Policy) -> str:
    """Returns a policy in words."""
    match policy:
        case Adapted(by=by, policy=NoLambda()):
            return adaptation_words(by)
        case Adapted(by=by, policy=chosen):
            return f"{policy_words(chosen)}, {adaptation_words(by)}"
        case NoLambda():
            return "no lambda"
        case TrainingLambda():
            return "training lambda"
        case FixedLambda(values=values):
            several = "s" if len(values) > 1 else ""
            return f"fixed lambda{several} {', '.join(f'{value:g}' for value in values)}"
        case Adaptive(scope=scope):
            return _SCOPES[scope]
        case Blind():
            return "blind lambda per image"
        case Oracle():
            return "oracle lambda (uses test labels)"
        case WorstOf(values=values):
            return f"worst lambda of {', '.join(f'{value:g}' for value in values)}"


@cache
def policy_rank(policy: Policy) -> tuple[float, float, str]:
    """Returns a sorting key: the order of the rows of one run."""
    match policy:
        case Adapted(by=by, policy=chosen):
            first, value, words = policy_rank(chosen)
            return (8, 0.0, f"{type(by).__name__} {typed_adaptation(by)} {first} {value:012.6f} {words}")
        case FixedLambda(values=(first, *others)):
            return (2, first, " ".join(map(repr, others)))
        case Adaptive(scope=scope):
            return (3 + list(Scope).index(scope), 0.0, "")
        case Blind():
            return (5.5, 0.0, "")  # behind the adaptive ones, in whose place it stands
        case WorstOf():
            return (7, 0.0, policy_words(policy))
        case _:
            return ({NoLambda(): 0, TrainingLambda(): 1, Oracle(): 6}[policy], 0.0, "")


def protocol_name(made: Crafted) -> str:
    """Returns a protocol with the model that images were crafted on and the file they come from."""
    name = made.protocol.value
    if isinstance(made, Attack) and made.surrogate is not None:
        name = f"transfer from {made.surrogate.model}@{made.surrogate.weights[:8]}"
    if isinstance(made, Attack) and made.saved is not None:
        on = made.saved.crafted_on
        name = f"{name}, saved from {on.model}@{on.weights[:8]} as {made.saved.digest[:8]}"
    return name


def with_protocol(words: str, made: Perturbation) -> str:
    """Returns the words of a perturbation followed by its protocol, unless that is plain or there is none."""
    name = protocol_name(made) if isinstance(made, Crafted) else Protocol.PLAIN
    return words if name == Protocol.PLAIN else f"{words}, {name}"


def protocol_words(made: Crafted, policy: Policy) -> str:
    """Returns in words how an attack met lambda, so that nobody takes a transfer test for a white-box one."""
    if isinstance(made, Attack) and made.saved is not None:
        return protocol_name(made)
    if isinstance(policy, Adapted):
        words = protocol_words(made, policy.policy)
        blind = made.protocol in (Protocol.TRANSFER, Protocol.BLACK_BOX)
        return words if blind else f"{words}; {GRADIENTS[type(policy.by)]}"
    match made.protocol:
        case Protocol.STATIC:
            scored = "best lambda by the test labels" if policy == Oracle() else "fitted lambda"
            return f"crafted at the training lambda, scored at the {scored} (a transfer test)"
        case Protocol.ADAPTIVE:
            through = _THROUGH.get(type(policy), "the policy that scores it")
            return f"crafted through {through}"
        case Protocol.FIXED:
            return "crafted at and scored with this lambda"
        case Protocol.GRID:
            return "crafted against the mean loss over several lambdas, scored at the worst of them"
        case Protocol.BLACK_BOX:
            return "asks for logits only"
        case Protocol.TRANSFER:
            return f"crafted on {protocol_name(made).removeprefix('transfer from ')} (a transfer test)"
        case _:
            at = "on the model that is scored" if policy == NoLambda() else "at and scored with the training lambda"
            return f"crafted {at}"


def protocol_rank(made: Crafted) -> tuple[int, str]:
    """Returns a sorting key: plain, static, fixed, adaptive, grid, black-box, then all others."""
    order = (Protocol.PLAIN, Protocol.STATIC, Protocol.FIXED, Protocol.ADAPTIVE, Protocol.GRID, Protocol.BLACK_BOX)
    saved = isinstance(made, Attack) and made.saved is not None
    known = made.protocol in order and not saved
    return (order.index(made.protocol) if known else len(order), protocol_name(made))


def epsilon_words(epsilon: float) -> str:
    """Returns a budget as people read it.

    Examples:
        >>> epsilon_words(8 / 255), epsilon_words(0.5 / 255), epsilon_words(0.5)
        ('8/255', '0.5/255', '0.5')
    """
    levels = round(2 * epsilon * 255) / 2
    short = abs(epsilon - round(epsilon, 3)) < 1e-9
    return f"{levels:g}/255" if not short and abs(epsilon * 255 - levels) < 1e-6 else f"{epsilon:g}"


def norm_words(norm: Norm) -> str:
    """Returns a norm as it is written: ``"linf"`` as ``"L∞"``."""
    return _NORMS[norm]


def threat_words(threat: ThreatModel) -> str:
    """Returns norm and budget, e.g. ``"L∞ 8/255"``."""
    return f"{norm_words(threat.norm)} {epsilon_words(threat.epsilon)}"


def step_words(step: AttackStep, *, whole: bool) -> str:
    """Returns an attack with the settings that differ from their defaults; if `whole`, with steps and restarts, too."""
    effort = step.kind.effort
    more = [f"{step.effort} {effort}"] if whole and effort in step.changed else []
    more += [f"{step.restarts} restarts"] if whole and step.restarts > 1 else []
    more += [
        f"{setting.removesuffix('_size')} {value:g}" if isinstance(value, float) else f"{setting} {value}"
        for setting, value in step.changed.items()
        if setting != effort
    ]
    return f"{step.kind.words} ({', '.join(more)})" if more else step.kind.words


def attack_words(made: Crafted, *, budget: bool = True) -> str:
    """Returns name, norm, budget, steps and restarts of an attack, e.g. ``"PGD L∞ 8/255, 20 steps"``."""
    threat = [threat_words(made.threat)] if budget else []
    if isinstance(made, Universal | RandomControl):
        return " ".join(["UAP" if isinstance(made, Universal) else _CONTROLS[made.name], *threat])
    steps = steps_of(made)
    last = steps[-1]
    parts = [" ".join([_names(steps), *threat])]
    if last.effort is not None:
        parts.append(f"{last.effort} {last.kind.effort}" if last.effort != 1 else "1 step")
    if last.restarts > 1:
        parts.append(f"{last.restarts} restarts")
    return ", ".join(parts)


def steps_of(made: Attack | MinimalBudget) -> tuple[AttackStep, ...]:
    """Returns the attacks, each of which got the images that the ones before it left."""
    return made.steps if isinstance(made, Attack) else (made.step,)


def _names(steps: tuple[AttackStep, ...]) -> str:
    return THEN.join([*(step_words(step, whole=True) for step in steps[:-1]), step_words(steps[-1], whole=False)])


def perturbation_words(made: Perturbation) -> str:
    """Returns in words what was done to the images, but for the protocol: ``"fog, severity 3"``, or without a severity.

    Examples:
        >>> perturbation_words(Clean()), perturbation_words(RandomNoise(rho=0.1))
        ('clean', 'random noise, rho 0.1')
    """
    match made:
        case Clean():
            return "clean"
        case Corruption(name=name, severity=severity):
            return corruption_words(name) + (f", severity {severity}" if severity else "")
        case RandomNoise(rho=rho):
            return f"random noise, rho {rho:g}"
        case MinimalBudget():
            return f"smallest budget of {attack_words(made)}"
        case _:
            return attack_words(made)


def setting_rank(made: Perturbation) -> tuple[object, ...]:
    """Returns a sorting key of columns: kind, then name, norm, budget, steps, restarts and protocol."""
    kinds = (Clean, Corruption, Attack, MinimalBudget, Universal, RandomControl, RandomNoise)
    kind = kinds.index(type(made))
    match made:
        case Corruption(name=name):
            return (kind, corruption_rank(name))
        case Attack() | MinimalBudget():
            steps = steps_of(made)
            threat = (made.threat.norm, made.threat.epsilon)
            effort = (steps[-1].effort or -1, steps[-1].restarts)
            return (kind, _names(steps), threat, effort, protocol_rank(made), repr(steps))
        case Universal() | RandomControl():
            return (kind, (made.threat.norm, made.threat.epsilon), protocol_rank(made), repr(made))
        case RandomNoise(rho=rho):
            return (kind, rho)
        case _:
            return (kind,)


def corruption_words(name: str) -> str:
    """Returns a corruption as it is spoken: ``"gaussian_noise"`` as ``"gaussian noise"``."""
    return name.replace("_", " ")


def corruption_rank(name: str) -> tuple[int, str]:
    """Returns a sorting key: the four noises, then the benchmark's order, then all others by name."""
    order = (*NOISES, *(known for known in STANDARD_CORRUPTIONS if known not in NOISES))
    return (order.index(name) if name in order else len(order), name)


def source_words(made: Corruption) -> str:
    """Returns where corrupted images come from in words, with how the pixels were stored."""
    if made.source is Source.OFFICIAL:
        return "official corrupted files"
    from_files = ", from files" if made.source is Source.EXPORTED else ""
    return f"generated corruptions, {stored_words(made.pixels)}{from_files}"


def stored_words(pixels: Pixels) -> str:
    """Returns how corrupted images were stored in words."""
    return "floats" if pixels is Pixels.FLOAT else pixels.value


#: What answers were chosen from, where the class folders are only some of the model's classes.
ANSWERS_WORDS: Mapping[Answers, str] = {
    "all": "answers among all classes of the model",
    "folder": "answers among the classes of the folder",
}


def precision_words(precision: Precision) -> tuple[str, ...]:
    """Returns what models compute in, as a part of a list in words; nothing for float32, which goes without saying."""
    return () if precision == "fp32" else (f"computed in {precision}",)


def about_precision(precision: Precision) -> About:
    """Returns what a title says of what models compute in."""
    return About("precision", f"computed in {precision}", "".join(precision_words(precision)))


def severities_words(severities: Iterable[int]) -> str:
    """Returns ``"1-5"`` for a full run of severities, ``"1, 3"`` for others, and a dash for none."""
    ordered = sorted(severities)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered)) or MISSING
