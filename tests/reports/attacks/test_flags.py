from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.measurements.records import AttackDetails, Flag, GradientChecks, Record
from robustcsc.reports.attacks.flags import FLAG_WORDS, flags_by_measurement

RecordMaker = Callable[..., Record]


def checked(**found: float) -> AttackDetails:
    """Checks that raise nothing, but for what is given."""
    facts = {"images": 20, "zero_gradients": 0.0, "deterministic": True, "one_step": 1.0, "all_steps": 2.0}
    facts |= {"broken_in_one_step": 5, "right_at_large_budget": 0}
    return AttackDetails(checks=GradientChecks(**(facts | found)))  # type: ignore[arg-type]


def test_every_flag_has_words() -> None:
    assert set(FLAG_WORDS) == set(Flag)


def test_each_check_that_fails_is_a_flag(attack: RecordMaker) -> None:
    flagged = attack(met=1, epsilon=0.5, details=checked(zero_gradients=0.2, right_at_large_budget=1))
    unchecked = attack(met=1, epsilon=0.25)
    harmless = attack("fgsm", met=1, epsilon=0.5, details=checked())
    assert flags_by_measurement([flagged, unchecked, harmless]) == {
        flagged.measurement: (Flag.ZERO_GRADIENTS, Flag.NOT_ZERO_AT_A_LARGE_BUDGET),
        unchecked.measurement: None,
        harmless.measurement: (),
    }


@pytest.mark.parametrize(
    ("steps", "protocol", "correct", "flag"),
    [
        (("square",), "black-box", 2, Flag.BLACK_BOX_BEATS_WHITE_BOX),
        (("square",), "plain", 2, Flag.BLACK_BOX_BEATS_WHITE_BOX),
        (("pgd",), "transfer", 2, Flag.TRANSFER_BEATS_WHITE_BOX),
        (("square",), "black-box", 3, None),  # only as strong
        (("fgsm", "square"), "plain", 2, None),  # square got what FGSM left: together they must break more
    ],
)
def test_attacks_that_know_less_and_break_more_flag_those_that_they_beat(
    attack: RecordMaker, steps: tuple[str, ...], protocol: str, correct: int, flag: Flag | None
) -> None:
    white = [
        attack("pgd", met=3, epsilon=0.1, policy="train"),
        attack("fgsm", met=4, epsilon=0.1, policy="train"),
    ]
    weaker = attack("square", met=1, epsilon=0.1, protocol="black-box", policy="adaptive")  # another policy
    other = attack(*steps, met=correct, epsilon=0.1, protocol=protocol, policy="train")
    for order in ([*white, weaker, other], [other, weaker, *white]):
        found = flags_by_measurement(order)
        assert [found[it.measurement] for it in white] == [(flag,) if flag else None] * 2
        assert found[other.measurement] is None
