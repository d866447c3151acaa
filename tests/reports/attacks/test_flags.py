from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.measurements.records import AttackDetails, Flag, GradientChecks, Record
from robustcsc.reports.attacks.flags import FLAG_WORDS, flag_tables, flags_by_measurement

RecordMaker = Callable[..., Record]


def checked(**found: float) -> AttackDetails:
    """Checks that raise nothing, but for what is given."""
    facts = {"images": 20, "zero_gradients": 0.0, "deterministic": True, "one_step": 1.0, "all_steps": 2.0}
    facts |= {"broken_in_one_step": 5, "right_at_large_budget": 0}
    return AttackDetails(checks=GradientChecks(**(facts | found)))  # type: ignore[arg-type]


def test_every_flag_has_words() -> None:
    assert set(FLAG_WORDS) == set(Flag)


def test_a_flag_stands_in_a_table_beside_its_attack(attack: RecordMaker, corruption: RecordMaker) -> None:
    details = checked(zero_gradients=0.2, right_at_large_budget=1)
    flagged = attack("pgd:steps=2", met=1, epsilon=0.5, policy="train", details=details)
    (table,) = flag_tables([flagged, corruption(met=1)])
    row = ("sdnet", "training lambda", "PGD L∞ 0.5, 2 steps", "plain")
    assert table.rows == (
        (*row, "the gradient is exactly zero in many pixels"),
        (*row, "some images stay right at a budget that allows any image"),
    )


def test_without_flags_there_is_no_table(attack: RecordMaker) -> None:
    unchecked = attack(met=1, epsilon=0.5)
    harmless = attack("fgsm", met=1, epsilon=0.5, details=checked())
    assert flag_tables([unchecked, harmless]) == []
    assert flags_by_measurement([unchecked, harmless]) == {unchecked.measurement: None, harmless.measurement: ()}


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
