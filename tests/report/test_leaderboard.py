from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import stdev
from typing import Any

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.records import Record, packed
from robustcsc.report.leaderboard import Board, By, leaderboards
from robustcsc.report.words import MISSING, NOISE_FAMILIES

from .test_trainings import measured, training

RecordMaker = Callable[..., Record]
PGD: dict[str, Any] = {"kind": "attack", "name": "pgd", "norm": "linf", "epsilon": 8 / 255, "protocol": "plain"}


def order(board: Board) -> list[tuple[int | None, str, str]]:
    return [(it.rank, it.group.model, it.policy) for it in board.entries]


def clean(record: RecordMaker, model: str, correct: int, **changes: Any) -> Record:
    about = {"run": model, "model": model, "weights": model, "policy": "none"}
    return record(correct=correct, total=100, kind="clean", name="clean", **(about | changes))


def test_the_best_come_first_and_equals_share_a_rank(record: RecordMaker) -> None:
    made = [clean(record, model, correct) for model, correct in (("a", 70), ("b", 90), ("c", 90), ("d", 80))]
    (board,) = leaderboards(made)
    assert order(board) == [(1, "b", "none"), (1, "c", "none"), (3, "d", "none"), (4, "a", "none")]
    table = board.table()
    assert [row[0] for row in table.rows] == ["1", "1", "3", "4"]
    assert table.rows[0][5].startswith("90.00 [")
    assert "ranked by clean" in table.title


def test_seeds_of_one_recipe_are_a_row_and_other_recipes_are_not(record: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in range(3)]
    known.append(training("resnet8", 0, weights="longer", epochs=99, recipe={"epochs": 99}))
    made = [measured(record, it, correct) for it, correct in zip(known, (8000, 8100, 8300, 8200), strict=True)]
    (board,) = leaderboards(made, known)
    first, second = board.table().rows
    assert (first[3], first[4]) == ("45000 images of imagefolder, 99 epochs", "1")
    assert second[5] == f"81.33 ± {stdev([80, 81, 83]):.2f}"
    assert (second[4], second[6]) == ("3", "resnet8-0, resnet8-1, resnet8-2")
    rows: Any = board.told()["rows"]
    cell = rows[1]["cells"]["clean"]
    assert (cell["mean"], cell["std"], cell["seeds"]) == (
        pytest.approx(0.8133, abs=1e-4),
        pytest.approx(0.0153, abs=1e-4),
        3,
    )


@pytest.mark.parametrize("change", [{"images": "other"}, {"total": 50, "correct": 40}, {"dataset": "svhn"}])
def test_other_images_have_a_table_of_their_own(record: RecordMaker, change: dict[str, Any]) -> None:
    other = clean(record, "b", 90)
    values = {key: value for key, value in change.items() if key in ("total", "correct")}
    other = replace(other, **values)
    told = {key: value for key, value in change.items() if key not in values}
    made = [clean(record, "a", 80), clean(record, "c", 70), replace(other, condition=replace(other.condition, **told))]
    boards = leaderboards(made)
    assert [[it.group.model for it in board.entries] for board in boards] == [["a", "c"], ["b"]]
    assert len({board.table().name for board in boards}) == 2


def corrupted(record: RecordMaker, model: str, correct: int, names: tuple[str, ...], **changes: Any) -> list[Record]:
    about = {"run": model, "model": model, "weights": model, "policy": "none"} | changes
    return [
        record(correct=correct + severity, total=100, name=name, severity=severity, **about)
        for name in names
        for severity in range(1, 6)
    ]


def test_means_are_over_what_everyone_in_the_column_has(record: RecordMaker) -> None:
    made = corrupted(record, "a", 50, (*STANDARD_CORRUPTIONS, "speckle_noise"))
    made += corrupted(record, "b", 60, NOISE_FAMILIES)
    (board,) = leaderboards(made, by="corruptions")
    assert list(board.headings) == ["mean of 4 noises", "mean of 15 standard corruptions"]
    assert order(board) == [(1, "a", "none"), (None, "b", "none")]
    rows = {row[1]: row[5:7] for row in board.table().rows}
    assert [cell[:5] for cell in rows["a"]] == ["53.00", "53.00"]
    assert (rows["b"][0][:5], rows["b"][1]) == ("63.00", MISSING)
    (by_noise,) = leaderboards(made, by="noise")
    assert [it.group.model for it in by_noise.entries] == ["b", "a"]


def test_severity_tables_never_share_a_column(record: RecordMaker) -> None:
    made = corrupted(record, "a", 50, NOISE_FAMILIES) + corrupted(record, "b", 60, NOISE_FAMILIES, spec="other@1")
    (board,) = leaderboards(made, by="noise")
    assert len(board.headings) == 2 and all("generated" in heading for heading in board.headings)
    assert all(len(it.cells) == 1 for it in board.entries)


def test_robustness_is_counted_image_by_image_at_one_budget(record: RecordMaker) -> None:
    def attacked(model: str, right: str, **changes: Any) -> Record:
        about = {"run": model, "model": model, "weights": model, "policy": "none", "steps": 20}
        made = record(correct=right.count("1"), total=8, **{**PGD, **about, **changes})
        return replace(made, outcomes=packed([digit == "1" for digit in right]))

    made = [
        attacked("a", "11110000"),
        attacked("a", "00111100", name="square", protocol="black-box"),
        attacked("a", "11111111", epsilon=1 / 255),
        attacked("b", "11100000"),
    ]
    (board,) = leaderboards(made, by="robust")
    assert list(board.headings) == ["under all attacks, L∞ 8/255"]
    assert order(board) == [(1, "b", "none"), (2, "a", "none")]
    assert [row[5] for row in board.table().rows] == [
        "37.50 [13.68, 69.43], 1 attack",
        "25.00 [7.15, 59.07], 2 attacks",
    ]


def test_transfer_tests_alone_rank_nobody(record: RecordMaker) -> None:
    about = {"run": "a", "model": "a", "weights": "a", "steps": 20, "total": 8}
    made = [
        replace(
            record(correct=right.count("1"), **{**PGD, **about, **changes}),
            outcomes=packed([digit == "1" for digit in right]),
        )
        for right, changes in (
            ("11000000", {"policy": "train"}),
            ("11111111", {"policy": "adaptive", "protocol": "static"}),
        )
    ]
    (board,) = leaderboards(made, by="robust")
    assert [(it.policy, it.rank) for it in board.entries] == [("train", 1)]


def test_oracle_and_fixed_lambdas_are_not_ranked(record: RecordMaker) -> None:
    policies = ("train", "adaptive", "oracle", "fixed=0.5", "worst=0.1,0.5")
    made = [clean(record, "sdnet18", 50 + at, policy=policy) for at, policy in enumerate(policies)]
    (board,) = leaderboards(made)
    assert [it.policy for it in board.entries] == ["adaptive", "train"]
    with pytest.raises(StoreError, match="nothing to rank"):
        leaderboards(made[2:])


@pytest.mark.parametrize("by", ["noise", "corruptions", "robust"])
def test_a_column_that_nobody_has_ranks_nobody(record: RecordMaker, by: By) -> None:
    (board,) = leaderboards([clean(record, "b", 1), clean(record, "a", 2)], by=by)
    assert order(board) == [(None, "a", "none"), (None, "b", "none")]
    assert "not ranked" in board.table().title
