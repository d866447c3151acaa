"""Suites: several attacks under several protocols, cheap ones first, each on the images that are still right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from robustcsc.errors import UnknownNameError
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import DEFAULT_EPSILON, Norm


@dataclass(frozen=True, kw_only=True)
class Round:
    """Attacks under one protocol.

    Attributes:
        protocol: How they meet lambda.
        attacks: The attacks, in turn where the protocol allows it; those that do not know a norm are left out there.
        multiples: The lambdas of the protocols ``fixed`` and ``grid``, as multiples of that of the training.
    """

    protocol: Protocol
    attacks: tuple[AttackStep, ...]
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
    epsilon: Mapping[Norm, float] = field(default_factory=DEFAULT_EPSILON.copy)
    curve: Mapping[Norm, tuple[float, ...]] = field(default_factory=dict)
    curve_rounds: tuple[Round, ...] = ()

    def budgets(self, norm: Norm, chosen: Sequence[float] = ()) -> list[tuple[float, tuple[Round, ...]]]:
        """Returns the budgets of a norm, and what is measured at each; those that were `chosen` stand for all."""
        if chosen:
            return [(epsilon, self.rounds) for epsilon in chosen]
        curve = [(epsilon, self.curve_rounds) for epsilon in self.curve.get(norm, ())]
        return [(self.epsilon[norm], self.rounds), *curve]

    def within(self, num_classes: int) -> tuple[Suite, tuple[AttackStep, ...]]:
        """Returns the suite without the attacks that need more classes, and those attacks."""

        def kept(rounds: tuple[Round, ...]) -> tuple[Round, ...]:
            left = ((each, tuple(it for it in each.attacks if it.classes <= num_classes)) for each in rounds)
            return tuple(replace(each, attacks=attacks) for each, attacks in left if attacks)

        steps = (it for each in (*self.rounds, *self.curve_rounds) for it in each.attacks)
        left_out = tuple(dict.fromkeys(it for it in steps if it.classes > num_classes))
        return replace(self, rounds=kept(self.rounds), curve_rounds=kept(self.curve_rounds)), left_out


def suite_of(name: str) -> Suite:
    """Returns the suite of a name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]


PGD = AttackStep.of("pgd")
WHITE = (PGD, AttackStep.of("apgd", steps=20), AttackStep.of("apgd-t", steps=20, targets=3))
THOROUGH = (
    PGD,
    AttackStep.of("apgd", steps=50),
    AttackStep.of("apgd", steps=50, loss="dlr"),
    AttackStep.of("apgd-t", steps=50),
    AttackStep.of("deepfool"),
    AttackStep.of("cw"),
    AttackStep.of("fab", steps=30),
)
BASE, THROUGH = (Round(protocol=it, attacks=(PGD,)) for it in (Protocol.PLAIN, Protocol.ADAPTIVE))
#: The paper's way: lambda is tuned once the images are crafted.
TUNED_AFTERWARDS = tuple(Round(protocol=it, attacks=(PGD,)) for it in (Protocol.STATIC, Protocol.TUNED))
#: Multiples of the training lambda, which itself is the protocol ``plain``.
LARGER = (3, 5, 7, 9, 11, 13, 15)

SUITES: dict[str, Suite] = {
    "paper": Suite(
        words="PGD as in Table 4 of the SDNet paper, and the same through the adaptive policy",
        rounds=(BASE, *TUNED_AFTERWARDS, THROUGH),
    ),
    "standard": Suite(
        words="stronger white-box attacks, transfer and Square",
        rounds=(
            Round(protocol=Protocol.PLAIN, attacks=WHITE),
            *TUNED_AFTERWARDS,
            Round(protocol=Protocol.ADAPTIVE, attacks=WHITE),
            Round(protocol=Protocol.TRANSFER, attacks=(PGD,)),
            Round(protocol=Protocol.BLACK_BOX, attacks=(AttackStep.of("square", queries=200),)),
        ),
    ),
    "full": Suite(
        words="all protocols and attacks, and an epsilon curve",
        rounds=(
            Round(protocol=Protocol.PLAIN, attacks=THOROUGH),
            *TUNED_AFTERWARDS,
            Round(protocol=Protocol.ADAPTIVE, attacks=THOROUGH),
            Round(protocol=Protocol.TRANSFER, attacks=(PGD,)),
            Round(protocol=Protocol.FIXED, attacks=(AttackStep.of("fgsm"), PGD), multiples=LARGER),
            Round(protocol=Protocol.GRID, attacks=(AttackStep.of("pgd", steps=10),), multiples=(1, 5, 10, 15)),
            Round(protocol=Protocol.BLACK_BOX, attacks=(AttackStep.of("square", queries=300),)),
        ),
        curve={"linf": (0.5 / 255, 1 / 255, 2 / 255, 4 / 255), "l2": (0.0625, 0.125, 0.25)},
        curve_rounds=(BASE, THROUGH),
    ),
}
