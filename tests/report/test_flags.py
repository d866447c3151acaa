from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from robustcsc.attacks.catalog import ATTACKS
from robustcsc.attacks.sanity import FLAGS
from robustcsc.records import Record
from robustcsc.report import flag_tables
from robustcsc.report.flags import WITHOUT_GRADIENTS, WORDS, flags_by_condition

RecordMaker = Callable[..., Record]


def test_flags_have_the_words_of_those_who_raise_them() -> None:
    assert set(WORDS) == set(FLAGS)


def test_a_flag_stands_in_a_table_beside_its_attack(record: RecordMaker) -> None:
    attack = record(
        correct=1, kind="attack", name="pgd", norm="linf", epsilon=0.5, steps=2, protocol="plain", policy="train"
    )
    flagged = replace(attack, details=json.dumps({"flags": ["zero-gradients", "new-kind"], "attacked": 3}))
    (table,) = flag_tables([flagged, record(correct=1, severity=1)])
    row = ("sdnet", "training lambda", "PGD L∞ 0.5, 2 steps", "plain")
    assert table.rows == ((*row, "the gradient is exactly zero in many pixels"), (*row, "new kind"))


def test_without_flags_there_is_no_table(record: RecordMaker) -> None:
    attack = record(correct=1, kind="attack", name="pgd", norm="linf", epsilon=0.5, protocol="plain")
    assert flag_tables([attack, replace(attack, details=json.dumps({"flags": []}))]) == []
    other = replace(attack, details=json.dumps({"converged": True}))
    assert flags_by_condition([other]) == {other.condition: None}  # nothing was checked
    checked = replace(attack, details=json.dumps({"checks": {}, "flags": []}))
    assert flags_by_condition([checked]) == {checked.condition: []}


def test_attacks_without_gradients_are_those_of_the_catalog() -> None:
    assert set(WITHOUT_GRADIENTS) == {name for name, kind in ATTACKS.items() if not kind.gradients}


@pytest.mark.parametrize(
    ("name", "protocol", "correct", "flag"),
    [
        ("square", "black-box", 2, "black-box-beats-white-box"),
        ("square", "plain", 2, "black-box-beats-white-box"),
        ("pgd", "transfer from other@11111111", 2, "transfer-beats-white-box"),
        ("square", "black-box", 3, None),  # only as strong
        ("fgsm > square", "plain", 2, None),  # square got what FGSM left: together they must break more
    ],
)
def test_attacks_that_know_less_and_break_more_flag_those_that_they_beat(
    record: RecordMaker, name: str, protocol: str, correct: int, flag: str | None
) -> None:
    facts = {"kind": "attack", "norm": "linf", "epsilon": 0.1, "policy": "train"}
    white = [
        record(correct=3, name="pgd", protocol="plain", **facts),
        record(correct=4, name="fgsm", protocol="plain", **facts),
    ]
    weaker = record(correct=1, name="square", protocol="black-box", **{**facts, "policy": "adaptive"})  # another policy
    other = record(correct=correct, name=name, protocol=protocol, **facts)
    for order in ([*white, weaker, other], [other, weaker, *white]):
        found = flags_by_condition(order)
        assert [found[it.condition] for it in white] == [[WORDS[flag]] if flag else None] * 2
        assert found[other.condition] is None
