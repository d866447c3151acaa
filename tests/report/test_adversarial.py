from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from robustcsc.records import Record, packed
from robustcsc.report.adversarial import attack_list_tables, robust_columns, worst_case_tables
from robustcsc.report.headline import headline_tables
from robustcsc.report.words import MISSING

RecordMaker = Callable[..., Record]


@pytest.fixture
def attacked(record: RecordMaker) -> Callable[..., Record]:
    """A record of an attack on eight images, of which those are right whose digit is 1."""

    def make(right: str, *, name: str = "pgd", details: dict[str, object] | None = None, **condition: Any) -> Record:
        fields: dict[str, Any] = {"norm": "linf", "epsilon": 8 / 255, "steps": 20, "restarts": 1, "source": "generated"}
        fields |= {"kind": "attack", "policy": "adaptive-image", "protocol": "adaptive", "name": name, "total": 8}
        made = record(correct=right.count("1"), **(fields | condition))
        text = json.dumps(details) if details else ""
        return replace(made, outcomes=packed([digit == "1" for digit in right]), details=text)

    return make


def test_the_lowest_number_is_counted_image_by_image(attacked: Callable[..., Record]) -> None:
    records = [
        attacked("11110000"),
        attacked("00111100", name="square", protocol="black-box"),
        attacked("11111100", policy="adaptive", protocol="static"),
        attacked("01100000", policy="train", protocol="plain"),
    ]
    (table,) = worst_case_tables(records)
    left = {row[2]: row[-1].split()[0] for row in table.rows}
    assert left == {
        "training lambda": "25.00",
        "adaptive lambda; transfer tests only": "75.00",
        "adaptive lambda (per image)": "25.00",  # 00110000
        "all of these": "12.50",  # 00100000
    }
    assert table.rows[-1][3:5] == ("4", "PGD L∞ 8/255, 20 steps")
    ((heading, scores),) = robust_columns(records)
    assert heading == "under all attacks, L∞ 8/255"
    assert {it.policy: score.correct for it, score in scores.items()} == {
        "train": 2,
        "adaptive-image": 2,
    }  # nobody attacked the other policy itself
    assert robust_columns(records[2:]) == []  # each row was attacked once
    (headline,) = headline_tables(records)
    column = headline.columns.index("under all attacks, L∞ 8/255")
    assert [row[column].split()[0] for row in headline.rows] == ["25.00", MISSING, "25.00"]
    assert not any("Square" in heading or "black-box" in heading for heading in headline.columns)


def test_after_a_new_fit_older_records_of_the_policy_do_not_count(attacked: Callable[..., Record]) -> None:
    old = replace(attacked("11000000", fit="a" * 8), created="2026-01-01T00:00:00+00:00")
    new = [
        replace(attacked("00111111", fit="b" * 8), created="2026-01-02T00:00:00+00:00"),
        replace(attacked("01111110", fit="b" * 8, name="apgd"), created="2026-01-03T00:00:00+00:00"),
    ]
    for order in ([old, *new], [*new, old]):
        (table,) = worst_case_tables(order)
        assert [(row[3], row[-1].split()[0]) for row in table.rows] == [("2", "62.50")]


def test_of_fixed_lambdas_the_best_is_shown_and_none_enters_the_whole(attacked: Callable[..., Record]) -> None:
    records = [
        attacked("11000000", policy="fixed=0.5", protocol="fixed"),
        attacked("00000111", policy="fixed=0.9", protocol="fixed"),
        attacked("11111111"),
    ]
    (table,) = worst_case_tables(records)
    assert [(row[2], row[-1].split()[0]) for row in table.rows] == [
        ("fixed lambda 0.9 (best of 2)", "37.50"),
        ("adaptive lambda (per image)", "100.00"),
        ("all of these", "100.00"),
    ]


def test_models_budgets_and_images_do_not_meet(attacked: Callable[..., Record]) -> None:
    records = [
        attacked("11110000"),
        attacked("00001111", epsilon=4 / 255),
        attacked("00001111", norm="l2", epsilon=0.5),
        attacked("00001111", weights="4e" * 32, run="other"),
        attacked("00001111", images="fedcba9876543210"),
        attacked("00001111", seed=1),
    ]
    tables = worst_case_tables(records)
    assert len(tables) == 3
    assert {row[-1].split()[0] for table in tables for row in table.rows} == {"50.00"}


def test_records_without_single_outcomes_are_left_out(attacked: Callable[..., Record]) -> None:
    assert worst_case_tables([replace(attacked("11110000"), outcomes="")]) == []


def test_the_list_has_costs_and_flags(attacked: Callable[..., Record]) -> None:
    told = {"attacked": 4, "forward_calls": 100, "gradient_calls": 82, "rounded_correct": 5}
    records = [
        attacked("11110000", details={**told, "flags": ["zero-gradients"]}),
        attacked(
            "11000000", name="pgd > square", steps=200, details={"attacked": 4, "forward_calls": 9, "gradient_calls": 0}
        ),
    ]
    (table,) = attack_list_tables(records)
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (first["forward calls"], first["gradient calls"], first["in 8 bits"]) == ("25.0", "20.5", "62.50")
    assert first["flags"] == "the gradient is exactly zero in many pixels"
    assert (second["attack"], second["in 8 bits"]) == ("PGD > Square L∞ 8/255, 200 queries", MISSING)
    assert second["flags"] == MISSING  # nothing was checked
