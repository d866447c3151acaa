from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from robustcsc.attacks.sanity import FLAGS
from robustcsc.records import Record
from robustcsc.report import flag_tables
from robustcsc.report.flags import WORDS, flags_of

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
    assert flags_of(replace(attack, details=json.dumps({"converged": True}))) == []
