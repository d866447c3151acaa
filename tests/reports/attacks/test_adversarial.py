from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import SavedImages, Surrogate
from robustcsc.measurements.records import AttackDetails, Cost, GradientChecks, Record
from robustcsc.presentation.table import Table
from robustcsc.presentation.words import MISSING
from robustcsc.reports.attacks.adversarial import (
    attack_list_tables,
    attacked_directly,
    worst_case_tables,
)
from robustcsc.reports.attacks.flags import FLAGS_NOTE
from robustcsc.reports.attacks.tables import usual_budget

RecordMaker = Callable[..., Record]


@pytest.fixture
def attacked(attack: RecordMaker) -> RecordMaker:
    """A record of an attack on eight images, of which those are right whose digit is 1."""

    def make(right: str, *steps: str, **how: Any) -> Record:
        fields = {"policy": "adaptive-image", "protocol": "adaptive"} | how
        return attack(*steps, outcomes=[digit == "1" for digit in right], **fields)

    return make


def left_by_all(table: Table) -> list[str]:
    return [row[-1].split()[0] for row in table.texts]


def test_the_lowest_number_is_counted_image_by_image(attacked: RecordMaker) -> None:
    records = [
        attacked("11110000"),
        attacked("00111100", "square", protocol="black-box"),
        attacked("11111100", policy="adaptive", protocol="static"),
        attacked("01100000", policy="train", protocol="plain"),
    ]
    (table,) = worst_case_tables(records)
    left = {row[2]: row[-1].split()[0] for row in table.texts}
    assert left == {
        "training lambda": "25.00",
        "adaptive lambda; transfer tests only": "75.00",
        "adaptive lambda per image": "25.00",  # 00110000
        "all of these": "12.50",  # 00100000
    }
    assert table.rows[-1][3:5] == (4, "PGD L∞ 8/255, 20 steps")


@pytest.mark.parametrize(
    ("levels", "usual"), [((2, 4, 8, 16), 8), ((1, 2), 2), ((8.0000001, 16), 8.0000001), ((8.1, 4), 8.1)]
)
def test_one_budget_stands_for_a_norm(levels: tuple[float, ...], usual: float) -> None:
    assert usual_budget("linf", [level / 255 for level in levels]) == usual / 255


def test_after_a_new_fit_older_records_of_the_policy_do_not_count(attacked: RecordMaker) -> None:
    old = attacked("11000000", fit="a" * 8, created="2026-01-01T00:00:00+00:00")
    new = [
        attacked("00111111", fit="b" * 8, created="2026-01-02T00:00:00+00:00"),
        attacked("01111110", "apgd", fit="b" * 8, created="2026-01-03T00:00:00+00:00"),
    ]
    for order in ([old, *new], [*new, old]):
        (table,) = worst_case_tables(order)
        assert [row[3] for row in table.rows] == [2] and left_by_all(table) == ["62.50"]


def test_of_fixed_lambdas_the_best_is_shown_and_none_enters_the_whole(attacked: RecordMaker) -> None:
    records = [
        attacked("11000000", policy="fixed=0.5", protocol="fixed"),
        attacked("00000111", policy="fixed=0.9", protocol="fixed"),
        attacked("11111111"),
    ]
    (table,) = worst_case_tables(records)
    assert [(row[2], left) for row, left in zip(table.rows, left_by_all(table), strict=True)] == [
        ("fixed lambda 0.9 (best of 2)", "37.50"),
        ("adaptive lambda per image", "100.00"),
        ("all of these", "100.00"),
    ]


def test_without_other_policies_there_is_no_whole(attacked: RecordMaker) -> None:
    fixed = attacked("11000000", policy="fixed=0.5", protocol="fixed")
    (table,) = worst_case_tables([fixed, attacked("11110000", policy="oracle", protocol="static")])
    assert [row[2] for row in table.rows] == [
        "fixed lambda 0.5",
        "oracle lambda (uses test labels); transfer tests only",
    ]


def test_models_budgets_and_images_do_not_meet(attacked: RecordMaker) -> None:
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
    assert {left for table in tables for left in left_by_all(table)} == {"50.00"}


def test_records_without_single_outcomes_are_left_out(attacked: RecordMaker) -> None:
    assert worst_case_tables([replace(attacked("11110000"), outcomes=None)]) == []


def test_images_from_a_file_are_a_transfer_test(attacked: RecordMaker) -> None:
    saved = SavedImages(crafted_on=Surrogate(model="resnet18", weights="4e" * 32), digest="ab" * 32)
    assert attacked_directly([attacked("1")]) and attacked_directly([attacked("1", "square", protocol="black-box")])
    assert not attacked_directly([attacked("1", saved=saved), attacked("1", protocol="black-box", saved=saved)])


def test_the_list_has_costs_and_flags(attacked: RecordMaker) -> None:
    cost = Cost(attacked=4, forward_calls=100, gradient_calls=82)
    checks = GradientChecks(
        images=4,
        zero_gradients=0.5,
        deterministic=True,
        one_step=1.0,
        all_steps=2.0,
        broken_in_one_step=0,
        right_at_large_budget=0,
    )
    records = [
        attacked("11110000", details=AttackDetails(cost=cost, rounded_correct=5, checks=checks)),
        attacked("11100000", "fgsm", details=AttackDetails(checks=replace(checks, zero_gradients=0.0))),
        attacked("11000000", "pgd", "square:queries=200", details=AttackDetails(cost=replace(cost, gradient_calls=0))),
    ]
    (table,) = attack_list_tables(records)
    headings = [column.heading for column in table.columns]
    fgsm, first, second = (dict(zip(headings, row, strict=True)) for row in table.texts)
    assert (first["forward calls"], first["gradient calls"], first["in 8 bits"]) == ("25.0", "20.5", "62.50")
    assert first["flags"] == "the gradient is exactly zero in many pixels"
    assert (fgsm["flags"], fgsm["attacked"], fgsm["forward calls"]) == ("none", MISSING, MISSING)
    assert (second["attack"], second["in 8 bits"]) == ("PGD > Square L∞ 8/255, 200 queries", MISSING)
    assert (second["gradient calls"], second["flags"]) == ("0.0", MISSING)  # nothing was checked
    assert FLAGS_NOTE in table.notes
    (harmless,) = attack_list_tables(records[1:2])
    assert FLAGS_NOTE not in harmless.notes


def test_attacks_name_the_protocol_in_words(records: list[Record]) -> None:
    (table,) = attack_list_tables(records)
    rows = {(row[0], row[2]): row[4].split()[0] for row in table.texts}
    transfer = "crafted at the training lambda, scored at the fitted lambda (a transfer test)"
    assert rows["sdnet", transfer] == "35.20"
    assert rows["sdnet", "crafted through the adaptive policy"] == "0.50"
    assert rows["resnet", "crafted on the model that is scored"] == "0.10"


def test_an_attack_scored_by_the_oracle_says_so(attack: RecordMaker) -> None:
    (table,) = attack_list_tables([attack(met=3, total=10, protocol="static", policy="oracle")])
    words = "crafted at the training lambda, scored at the best lambda by the test labels (a transfer test)"
    assert [row[2] for row in table.texts] == [words]


def test_fooling_rates_are_no_accuracies(attack: RecordMaker) -> None:
    made = [attack(met=correct, total=100, metric=it) for correct, it in ((30, "accuracy"), (60, "fooling rate"))]
    (table,) = attack_list_tables(made)
    assert [row[4].split()[0] for row in table.texts] == ["30.00"]
    assert "corruptions" not in table.title
