from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev
from typing import Any

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.facts import tag_of
from robustcsc.measurements.policies import TrainingLambda, WorstOf
from robustcsc.measurements.records import Record
from robustcsc.presentation.words import MISSING
from robustcsc.reports.cohorts.words import NOISES
from robustcsc.reports.comparisons.leaderboard import Board, By, leaderboards
from tests.reports.trained import run_of, training

RecordMaker = Callable[..., Record]


def order(board: Board) -> list[tuple[int | None, str, str]]:
    return [(it.rank, it.group.model, tag_of(it.policy)) for it in board.entries]


def named(model: str) -> dict[str, str]:
    return {"run": model, "model": model, "weights": model}


def right(digits: str) -> list[bool]:
    return [digit == "1" for digit in digits]


def test_the_best_come_first_and_equals_share_a_rank(clean: RecordMaker) -> None:
    counts = {"a": 70, "b": 90, "c": 90, "d": 80}
    (board,) = leaderboards([clean(met=correct, total=100, **named(model)) for model, correct in counts.items()])
    assert order(board) == [(1, "b", "none"), (1, "c", "none"), (3, "d", "none"), (4, "a", "none")]
    table = board.table()
    assert table.cells(0) == [1, 1, 3, 4]
    assert table.texts[0][6].startswith("90.00 [")
    assert "ranked by clean" in table.title


def test_seeds_of_one_recipe_are_a_row_and_other_recipes_are_not(clean: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in range(3)]
    known.append(training("resnet8", 0, weights="longer", epochs=99, recipe={"epochs": 99}))
    counts = (8000, 8100, 8300, 8200)
    (board,) = leaderboards([clean(met=it, **run_of(of)) for of, it in zip(known, counts, strict=True)], known)
    first, second = board.table().texts
    assert (first[3], first[4]) == ("45000 images of imagefolder, 99 epochs", "1")
    assert second[6] == f"81.33 ± {stdev([80, 81, 83]):.2f}"
    assert (second[4], second[7]) == ("3", "resnet8-0, resnet8-1, resnet8-2")
    rows: Any = board.told()["rows"]
    cell = rows[1]["cells"]["clean"]
    assert (cell["mean"], cell["std"]) == (pytest.approx(0.8133, abs=1e-4), pytest.approx(0.0153, abs=1e-4))
    assert (cell["low"], cell["high"], cell["seeds"]) == (None, None, 3)


def test_the_ranking_as_plain_values(clean: RecordMaker) -> None:
    (board,) = leaderboards([clean(met=3, total=4, policy="adaptive-image", **named("sdnet18"))])
    told: Any = board.told()
    assert (told["dataset"], told["total"], told["by"], told["columns"]) == ("cifar10", 4, "clean", {"clean": "clean"})
    (row,) = told["rows"]
    assert (row["rank"], row["policy"], row["training"], row["runs"]) == (1, "adaptive-image", "not known", ["sdnet18"])
    assert (row["cells"]["clean"]["mean"], row["cells"]["clean"]["std"]) == (0.75, None)


@pytest.mark.parametrize("change", [{"images": "other"}, {"dataset": "svhn"}])
def test_other_images_have_a_table_of_their_own(clean: RecordMaker, change: dict[str, Any]) -> None:
    images = "00ff" * 4 if "dataset" in change else "0123456789abcdef"  # equal images are joined whatever their name
    other = clean(**({"met": 90, "total": 100, "images": images, **named("b")} | change))
    made = [clean(met=80, total=100, **named("a")), clean(met=70, total=100, **named("c")), other]
    boards = leaderboards(made)
    assert [[it.group.model for it in board.entries] for board in boards] == [["a", "c"], ["b"]]
    assert len({board.table().name for board in boards}) == 2


def test_rows_of_more_and_fewer_images_are_ranked_together_and_show_their_number(clean: RecordMaker) -> None:
    made = [clean(met=800, total=1000, **named("a")), clean(met=45, total=50, images="part" * 4, **named("b"))]
    (board,) = leaderboards(made)
    table = board.table()
    assert [(row[0], row[1], row[5]) for row in table.rows] == [(1, "b", 50), (2, "a", 1000)]
    assert table.columns[5].heading == "n" and any("another n" in note for note in table.notes)
    assert [row["total"] for row in board.told()["rows"]] == [50, 1000]  # type: ignore[attr-defined]


def corrupted(corruption: RecordMaker, model: str, correct: int, names: Sequence[str], **how: Any) -> list[Record]:
    return [
        corruption(name, severity, met=correct + severity, total=100, **named(model), **how)
        for name in names
        for severity in range(1, 6)
    ]


def test_means_are_over_what_everyone_in_the_column_has(corruption: RecordMaker) -> None:
    made = corrupted(corruption, "a", 50, (*STANDARD_CORRUPTIONS, "speckle_noise"))
    made += corrupted(corruption, "b", 60, NOISES)
    (board,) = leaderboards(made, by="corruptions")
    assert list(board.headings) == ["mean of 4 noises", "mean of 15 standard corruptions"]
    assert order(board) == [(1, "a", "none"), (None, "b", "none")]
    rows = {row[1]: row[6:8] for row in board.table().texts}
    assert [cell[:5] for cell in rows["a"]] == ["53.00", "53.00"]
    assert (rows["b"][0][:5], rows["b"][1]) == ("63.00", MISSING)
    (by_noise,) = leaderboards(made, by="noise")
    assert [it.group.model for it in by_noise.entries] == ["b", "a"]


def test_a_model_that_lacks_a_severity_has_no_mean(corruption: RecordMaker) -> None:
    made = corrupted(corruption, "a", 50, ("fog",)) + corrupted(corruption, "b", 60, ("fog",))[:-1]
    (board,) = leaderboards(made, by="corruptions")
    assert order(board) == [(1, "a", "none")]


def test_severity_tables_never_share_a_column(corruption: RecordMaker) -> None:
    made = corrupted(corruption, "a", 50, NOISES) + corrupted(corruption, "b", 60, NOISES, table="other@00000001")
    (board,) = leaderboards(made, by="noise")
    assert len(board.headings) == 2 and all("generated" in heading for heading in board.headings)
    assert all(len(it.results) == 1 for it in board.entries)


def test_robustness_is_counted_image_by_image_at_one_budget(attack: RecordMaker) -> None:
    made = [
        attack("pgd", outcomes=right("11110000"), **named("a")),
        attack("square", protocol="black-box", outcomes=right("00111100"), **named("a")),
        attack("pgd", epsilon=1 / 255, outcomes=right("11111111"), **named("a")),
        attack("pgd", outcomes=right("11100000"), **named("b")),
    ]
    (board,) = leaderboards(made, by="robust")
    assert list(board.headings) == ["under all attacks, L∞ 8/255"]
    assert order(board) == [(1, "b", "none"), (2, "a", "none")]
    assert [row[6] for row in board.table().texts] == [
        "37.50 [13.68, 69.43] (1 attack)",
        "25.00 [7.15, 59.07] (2 attacks)",
    ]


def test_an_attack_without_a_budget_makes_no_column(attack: RecordMaker, clean: RecordMaker) -> None:
    made = [clean(met=1, total=2), attack(epsilon=0.0, met=1, total=2)]
    (board,) = leaderboards(made)
    assert list(board.headings) == ["clean"]


def test_transfer_tests_alone_rank_nobody(attack: RecordMaker) -> None:
    made = [
        attack(policy="train", outcomes=right("11000000")),
        attack(policy="adaptive", protocol="static", outcomes=right("11111111")),
    ]
    (board,) = leaderboards(made, by="robust")
    assert [(it.policy, it.rank) for it in board.entries] == [(TrainingLambda(), 1)]


def test_oracle_and_fixed_lambdas_are_not_ranked(clean: RecordMaker) -> None:
    policies = ("train", "adaptive", "oracle", "fixed=0.5", WorstOf((0.1, 0.5)))
    made = [clean(met=50 + at, total=100, policy=policy) for at, policy in enumerate(policies)]
    (board,) = leaderboards(made)
    assert [tag_of(it.policy) for it in board.entries] == ["adaptive", "train"]
    with pytest.raises(StoreError, match="nothing to rank"):
        leaderboards(made[2:])


@pytest.mark.parametrize("by", ["noise", "corruptions", "robust"])
def test_a_column_that_nobody_has_ranks_nobody(clean: RecordMaker, by: By) -> None:
    (board,) = leaderboards([clean(met=at, total=100, **named(model)) for at, model in enumerate("ba")], by=by)
    assert order(board) == [(None, "a", "none"), (None, "b", "none")]
    assert "not ranked" in board.table().title
