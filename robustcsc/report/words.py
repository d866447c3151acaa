"""How policies, protocols, attacks and corruptions are called in tables and figures."""

from __future__ import annotations

import hashlib
import re
from functools import cache, lru_cache
from typing import Protocol

from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.measurements.statistics import Score, Spread
from robustcsc.records import THEN

MISSING = "\N{EN DASH}"
NOISE_FAMILIES = ("gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise")
"""The four additive noises of SDNet, in the order of its Table 3."""

_POLICIES = {
    "none": "no lambda",
    "train": "training lambda",
    "adaptive": "adaptive lambda",
    "adaptive-batch": "adaptive lambda (per batch)",
    "adaptive-image": "adaptive lambda (per image)",
    "oracle": "oracle lambda (uses test labels)",
}
_ATTACKS = {
    "pgd": "PGD",
    "fgsm": "FGSM",
    "apgd": "APGD",
    "apgd-t": "APGD-T",
    "square": "Square",
    "fab": "FAB",
    "cw": "C&W",
    "deepfool": "DeepFool",
    "autoattack-port": "AutoAttack port",
    "uap": "UAP",
    "random-sign": "random signs",
    "gaussian": "Gaussian noise",
}
_NORMS = {"linf": "L∞", "l2": "L2"}


class Attack(Protocol):
    """What `attack_words` reads: a `Condition` or a setting of one."""

    @property
    def name(self) -> str:
        """Name of the attack."""

    @property
    def norm(self) -> str | None:
        """``"linf"`` or ``"l2"``."""

    @property
    def epsilon(self) -> float | None:
        """Budget in pixel units of [0, 1]."""

    @property
    def steps(self) -> int | None:
        """Gradient steps."""

    @property
    def restarts(self) -> int | None:
        """Random restarts."""


@lru_cache(maxsize=2**16)  # the same counts come again and again
def score_words(score: Score, *, with_n: bool = False) -> str:
    """Returns ``"81.78 [81.01, 82.52]"`` (percent), with ``" n=10000"`` if asked."""
    if not score.total:
        return MISSING
    low, high = score.interval
    return f"{100 * score.accuracy:.2f} [{100 * low:.2f}, {100 * high:.2f}]" + (f" n={score.total}" if with_n else "")


def spread_words(spread: Spread) -> str:
    """Returns mean and standard deviation over training seeds in percent; for one seed the share with its interval."""
    if spread.std is None:
        return score_words(spread.scores[0])
    return f"{100 * spread.mean:.2f} ± {100 * spread.std:.2f}"


def policy_words(policy: str) -> str:
    """Returns a lambda policy in words, ``"fixed=0.5"`` as ``"fixed lambda 0.5"``."""
    if policy.startswith("fixed="):
        return f"fixed lambda {policy.removeprefix('fixed=')}"
    if policy.startswith("worst="):
        return f"worst lambda of {policy.removeprefix('worst=').replace(',', ', ')}"
    return _POLICIES.get(policy, policy)


def fixed_lambda(policy: str) -> float | None:
    """Returns the number in ``"fixed=<number>"``, or ``None`` for any other policy."""
    try:
        return float(policy.removeprefix("fixed=")) if policy.startswith("fixed=") else None
    except ValueError:
        return None


@cache
def policy_rank(policy: str) -> tuple[int, float, str]:
    """Returns a sorting key: the order of the rows of one run."""
    order = ["none", "train", "fixed", "adaptive", "adaptive-batch", "adaptive-image", "oracle"]
    name = "fixed" if policy.startswith("fixed=") else policy
    return (order.index(name) if name in order else len(order), fixed_lambda(policy) or 0.0, policy)


def protocol_words(protocol: str, policy: str) -> str:
    """Returns in words how an attack met lambda, so that nobody takes a transfer test for a white-box one."""
    if protocol == "static":
        return "crafted at lambda_0, scored at the tuned lambda (a transfer test)"
    if protocol == "adaptive":
        through = "the adaptive policy" if policy.startswith("adaptive") else "the policy that scores it"
        return f"crafted through {through}"
    if protocol == "fixed":
        return "crafted at and scored with this lambda"
    if protocol == "grid":
        return "crafted against the mean loss over several lambdas, scored at the worst of them"
    if protocol == "black-box":
        return "asks for logits only"
    if protocol.startswith("transfer from "):
        return f"crafted on {protocol.removeprefix('transfer from ')} (a transfer test)"
    if protocol == "plain":
        at = "on the model that is scored" if policy == "none" else "at and scored with the training lambda"
        return f"crafted {at}"
    return protocol or MISSING


def epsilon_words(epsilon: float) -> str:
    """Returns a budget as people type it.

    >>> epsilon_words(8 / 255), epsilon_words(0.5 / 255), epsilon_words(0.5)
    ('8/255', '0.5/255', '0.5')
    """
    levels = round(2 * epsilon * 255) / 2
    short = abs(epsilon - round(epsilon, 3)) < 1e-9
    return f"{levels:g}/255" if not short and abs(epsilon * 255 - levels) < 1e-6 else f"{epsilon:g}"


def norm_words(norm: str) -> str:
    """Returns a norm as it is written: ``"linf"`` as ``"L∞"``."""
    return _NORMS.get(norm, norm)


def attack_words(attack: Attack) -> str:
    """Returns name, norm, budget, steps and restarts of an attack, e.g. ``"PGD L∞ 8/255, 20 steps"``."""
    words = [THEN.join(map(_attack_name, attack.name.split(THEN)))]
    if attack.norm is not None:
        words.append(norm_words(attack.norm))
    if attack.epsilon is not None:
        words.append(epsilon_words(attack.epsilon))
    parts = [" ".join(words)]
    if attack.steps is not None:
        unit = "queries" if attack.name.split(THEN)[-1].startswith("square") else "steps"
        parts.append(f"{attack.steps} {unit}" if attack.steps != 1 else "1 step")
    if attack.restarts is not None and attack.restarts > 1:
        parts.append(f"{attack.restarts} restarts")
    return ", ".join(parts)


def _attack_name(label: str) -> str:
    """Returns an attack as it is written, with its settings: ``"pgd (loss dlr)"`` as ``"PGD (loss dlr)"``."""
    name, bracket, settings = label.partition(" (")
    return f"{_ATTACKS.get(name, name)}{bracket}{settings}"


def corruption_words(name: str) -> str:
    """Returns a corruption as it is spoken: ``"gaussian_noise"`` as ``"gaussian noise"``."""
    return name.replace("_", " ")


def corruption_rank(name: str) -> tuple[int, str]:
    """Returns a sorting key: the four noises, then the benchmark's order, then all others by name."""
    order = (*NOISE_FAMILIES, *(known for known in STANDARD_CORRUPTIONS if known not in NOISE_FAMILIES))
    return (order.index(name) if name in order else len(order), name)


def severities_words(severities: set[int]) -> str:
    """Returns ``"1-5"`` for a full run of severities and ``"1, 3"`` for others."""
    ordered = sorted(severities)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered))


def slug(*parts: str, key: tuple[str, ...] = ()) -> str:
    """Returns a short file name: the readable `parts`, and six hex digits over them and `key` that tell names apart."""
    readable = re.sub(r"[^a-z0-9_]+", "-", "-".join(filter(None, parts)).lower()).strip("-")[:80]
    return f"{readable}-{hashlib.sha256(repr((parts, key)).encode()).hexdigest()[:6]}"


def protocol_rank(protocol: str) -> tuple[int, str]:
    """Returns a sorting key: plain, static, fixed, adaptive, grid, black-box, then all others."""
    order = ("plain", "static", "fixed", "adaptive", "grid", "black-box")
    return (order.index(protocol) if protocol in order else len(order), protocol)
