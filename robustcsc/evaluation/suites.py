"""Suites: several attacks under several protocols, cheap ones first, each on the images that are still right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from robustcsc.adaptive.fit import multiples_of
from robustcsc.attacks.catalog import Chosen
from robustcsc.measurements.threats import DEFAULT_EPSILON, Norm, ThreatModel
from robustcsc.evaluation.adversarial import attack_target
from robustcsc.evaluation.crafting import Bench, Workshop
from robustcsc.evaluation.protocols import PROTOCOLS, targets
from robustcsc.evaluation.subject import Subject
from robustcsc.records import Record


@dataclass(frozen=True, kw_only=True)
class Round:
    """Attacks under one protocol.

    Attributes:
        protocol: A key of `protocols.PROTOCOLS`.
        attacks: The attacks, in turn where the protocol allows it; those that do not know a norm are left out there.
        multiples: The lambdas of the protocols ``fixed`` and ``grid``, as multiples of that of the training.
    """

    protocol: str
    attacks: tuple[Chosen, ...]
    multiples: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What is measured, in this order.

    Attributes:
        words: What it is for.
        rounds: What is measured at each budget of `epsilon`.
        epsilon: Budget by norm, in pixel units of [0, 1].
        curve: Further budgets by norm, for `curve_rounds` only.
        curve_rounds: What is measured there.
    """

    words: str
    rounds: tuple[Round, ...]
    epsilon: Mapping[Norm, float]
    curve: Mapping[Norm, tuple[float, ...]]
    curve_rounds: tuple[Round, ...] = ()


PGD = Chosen("pgd")
WHITE = (PGD, Chosen("apgd", {"steps": 20}), Chosen("apgd-t", {"steps": 20, "targets": 3}))
THOROUGH = (
    PGD,
    Chosen("apgd", {"steps": 50}),
    Chosen("apgd", {"steps": 50, "loss": "dlr"}),
    Chosen("apgd-t", {"steps": 50}),
    Chosen("deepfool"),
    Chosen("cw"),
    Chosen("fab", {"steps": 30}),
)
#: Multiples of the training lambda, which itself is the protocol ``plain``.
LARGER = (3, 5, 7, 9, 11, 13, 15)

SUITES: dict[str, Suite] = {
    "paper": Suite(
        words="PGD as in Table 4 of the SDNet paper, and the same through the adaptive policy",
        rounds=tuple(Round(protocol=protocol, attacks=(PGD,)) for protocol in ("plain", "static", "tuned", "adaptive")),
        epsilon=DEFAULT_EPSILON,
        curve={},
    ),
    "standard": Suite(
        words="stronger white-box attacks, transfer and Square",
        rounds=(
            Round(protocol="plain", attacks=WHITE),
            Round(protocol="static", attacks=(PGD,)),
            Round(protocol="tuned", attacks=(PGD,)),
            Round(protocol="adaptive", attacks=WHITE),
            Round(protocol="transfer", attacks=(PGD,)),
            Round(protocol="black-box", attacks=(Chosen("square", {"queries": 200}),)),
        ),
        epsilon=DEFAULT_EPSILON,
        curve={},
    ),
    "full": Suite(
        words="all protocols and attacks, and an epsilon curve",
        rounds=(
            Round(protocol="plain", attacks=THOROUGH),
            Round(protocol="static", attacks=(PGD,)),
            Round(protocol="tuned", attacks=(PGD,)),
            Round(protocol="adaptive", attacks=THOROUGH),
            Round(protocol="transfer", attacks=(PGD,)),
            Round(protocol="fixed", attacks=(Chosen("fgsm"), PGD), multiples=LARGER),
            Round(protocol="grid", attacks=(Chosen("pgd", {"steps": 10}),), multiples=(1, 5, 10, 15)),
            Round(protocol="black-box", attacks=(Chosen("square", {"queries": 300}),)),
        ),
        epsilon=DEFAULT_EPSILON,
        curve={"linf": (0.5 / 255, 1 / 255, 2 / 255, 4 / 255), "l2": (0.0625, 0.125, 0.25)},
        curve_rounds=tuple(Round(protocol=protocol, attacks=(PGD,)) for protocol in ("plain", "adaptive")),
    ),
}


def sensible(suite: Suite, subject: Subject, source: Subject | None) -> tuple[list[str], list[str]]:
    """Returns which protocols of a suite suit the model, and which are left out.

    Args:
        suite: The suite.
        subject: The model.
        source: The model that transfer attacks are crafted on, if there is one.
    """
    kept: list[str] = []
    left_out: list[str] = []
    for protocol in dict.fromkeys(each.protocol for each in (*suite.rounds, *suite.curve_rounds)):
        needs_lambda, needs_fit = PROTOCOLS[protocol]
        suits = (subject.has_lambda or not needs_lambda) and (bool(subject.fits) or not needs_fit)
        (kept if suits and (source is not None or protocol != "transfer") else left_out).append(protocol)
    if not subject.has_lambda:
        left_out = [protocol for protocol in left_out if protocol == "transfer"]  # of the others nothing is missing
    return kept, left_out


def run_suite(
    bench: Bench, suite: Suite, *, norms: tuple[Norm, ...] = ("linf", "l2"), source: Subject | None = None
) -> Iterator[Record]:
    """Yields the records of a suite; what does not suit the model is left out (`sensible`).

    Args:
        bench: The model, the images and the store.
        suite: What is measured.
        norms: Norms of the suite to measure.
        source: The model that transfer attacks are crafted on; without one there is no transfer.

    Raises:
        PolicyError: `source` has the weights of the model.
    """
    kept, _ = sensible(suite, bench.subject, source)
    for norm in norms:
        planned = [(epsilon, suite.curve_rounds) for epsilon in suite.curve.get(norm, ())]
        for epsilon, rounds in [(suite.epsilon[norm], suite.rounds), *planned]:
            workshop = Workshop(bench, ThreatModel(norm, epsilon))
            for each in rounds:
                if each.protocol in kept:
                    yield from _run_round(workshop, each, norm, source)


def _run_round(workshop: Workshop, each: Round, norm: Norm, source: Subject | None) -> Iterator[Record]:
    attacks = [attack for attack in each.attacks if norm in attack.kind.norms]
    subject = workshop.bench.subject
    lambdas = multiples_of(subject.lam0, each.multiples)
    for target in targets(subject, each.protocol, lambdas=lambdas, source=source):
        yield from attack_target(workshop, target, attacks, in_turn=True)
