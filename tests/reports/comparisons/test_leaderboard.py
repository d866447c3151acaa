from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev
from typing import Any

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.facts import tag_of
from robustcsc.measurements.policies import TrainingLambda, WorstOf
from robustcsc.measurements.records import Location, Record
from robustcsc.presentation.words import MISSING
from robustcsc.reports.cohorts.words import NOISES
from robustcsc.reports.comparisons.board import Board, By
from robustcsc.reports.comparisons.gaps import gaps
from robustcsc.reports.comparisons.leaderboard import leaderboards
from tests.reports.trained import run_of, training

RecordMaker = Callable[..., Record]


def order(board: Board) -> list[tuple[int | None, str, str]]:
    return [(it.rank, it.group.model, tag_of(it.policy)) for it in board.entries]


def headings(board: Board) -> list[str]:
    return [board.heading(it) for it in board.conditions]


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
    assert [cell.partition("]")[0] for cell in next(zip(*(row[::-1] for row in table.texts), strict=True))] == [
        "90.0 [82.6, 94.5", "90.0 [82.6, 94.5", "80.0 [71.1, 86.7", "70.0 [60.4, 78.1"
    ]  # fmt: skip
    assert "ranked by clean" in table.title


def test_seeds_of_one_recipe_are_a_row_and_other_recipes_are_not(clean: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in range(3)]
    known.append(training("resnet8", 0, weights="longer", epochs=99, recipe={"epochs": 99}))
    counts = (8000, 8100, 8300, 8200)
    (board,) = leaderboards([clean(met=it, **run_of(of)) for of, it in zip(known, counts, strict=True)], known)
    table = board.table()
    assert [row[1] for row in table.rows] == ["resnet8-0", "resnet8 (3 training seeds)"]
    assert table.texts[1][2] == f"81.3 ± {stdev([80, 81, 83]):.1f}"
    assert (
        "Training of resnet8-0, resnet8-1, resnet8-2 (resnet8): 45,000 images of imagefolder, 16 epochs." in table.notes
    )
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
    assert [row[1:] for row in table.texts] == [("b", "90.0 [78.6, 95.7] (n=50)"), ("a", "80.0 [77.4, 82.4] (n=1000)")]
    rows: Any = board.told()["rows"]
    assert [row["cells"]["clean"]["total"] for row in rows] == [50, 1000]


def test_each_figure_of_a_row_is_that_of_most_images(clean: RecordMaker, attack: RecordMaker) -> None:
    few = [clean(met=45, total=50, images="part" * 4), attack(met=5, total=50, images="part" * 4)]
    (board,) = leaderboards([clean(met=800, total=1000), *few], by="robust")
    table = board.table()
    assert [row[2:] for row in table.texts] == [("80.0", "10.0 [4.3, 21.4]")]
    assert {"Column 'clean': 1,000 images.", "Column 'attacks, L∞ 8/255': 50 images, 1 attack."} <= set(table.notes)


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
    assert headings(board) == ["4 noises", "15 corruptions"]
    assert order(board) == [(1, "a", "none"), (None, "b", "none")]
    assert [row[1:3] for row in board.table().texts] == [("a", "53.0"), ("b", "63.0")]
    assert [row[3][:6] for row in board.table().texts] == ["53.0 [", MISSING]
    (by_noise,) = leaderboards(made, by="noise")
    assert [it.group.model for it in by_noise.entries] == ["b", "a"]


def test_a_model_that_lacks_a_severity_has_no_mean(corruption: RecordMaker) -> None:
    made = corrupted(corruption, "a", 50, ("fog",)) + corrupted(corruption, "b", 60, ("fog",))[:-1]
    (board,) = leaderboards(made, by="corruptions")
    assert order(board) == [(1, "a", "none")]


def test_severity_tables_never_share_a_column(corruption: RecordMaker) -> None:
    made = corrupted(corruption, "a", 50, NOISES) + corrupted(corruption, "b", 60, NOISES, table="other@00000001")
    (board,) = leaderboards(made, by="noise")
    assert headings(board) == ["4 noises (cifar10_c)", "4 noises (other)"]
    assert all(len(it.results) == 1 for it in board.entries)


def test_robustness_is_counted_image_by_image_at_one_budget(attack: RecordMaker) -> None:
    made = [
        attack("pgd", outcomes=right("11110000"), **named("a")),
        attack("square", protocol="black-box", outcomes=right("00111100"), **named("a")),
        attack("pgd", epsilon=1 / 255, outcomes=right("11111111"), **named("a")),
        attack("pgd", outcomes=right("11100000"), **named("b")),
    ]
    (board,) = leaderboards(made, by="robust")
    assert headings(board) == ["attacks, L∞ 8/255"]
    assert order(board) == [(1, "b", "none"), (2, "a", "none")]
    assert [row[2] for row in board.table().texts] == ["37.5 [13.7, 69.4] (1 attack)", "25.0 [7.1, 59.1] (2 attacks)"]
    assert any(note.startswith("Rows that met fewer attacks") for note in board.table().notes)


def test_an_attack_without_a_budget_makes_no_column(attack: RecordMaker, clean: RecordMaker) -> None:
    made = [clean(met=1, total=2), attack(epsilon=0.0, met=1, total=2)]
    (board,) = leaderboards(made)
    assert headings(board) == ["clean"]


def test_transfer_tests_alone_rank_nobody(attack: RecordMaker) -> None:
    made = [
        attack(policy="train", outcomes=right("11000000")),
        attack(policy="adaptive", protocol="static", outcomes=right("11111111")),
    ]
    (board,) = leaderboards(made, by="robust")
    assert [(it.policy, it.rank) for it in board.entries] == [(TrainingLambda(), 1)]
    assert gaps(board) == []


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


def lacking(records: Sequence[Record], by: By = "clean") -> list[tuple[str, tuple[str, ...], str]]:
    (board,) = leaderboards(records, by=by)
    return [(it.column, it.runs, it.typed) for it in gaps(board)]


def test_what_is_missing_has_a_command_that_measures_it_on_the_images_of_the_others(
    clean: RecordMaker, corruption: RecordMaker, attack: RecordMaker
) -> None:
    few = Location(limit=100)
    made = [clean(met=at, total=100, policy="train", **named(model)) for at, model in enumerate("abc")]
    made += [
        corruption(name, severity, met=50, total=100, policy="train", location=few, **named("a"))
        for name in STANDARD_CORRUPTIONS
        for severity in (3, 4, 5)
    ]
    made += [attack("pgd", met=0, total=100, policy="train", location=few, **named("b"))]
    made += [clean(met=50, total=100, policy="adaptive", **named("b"))]
    sweep = "robustcsc sweep --run {} --limit 100 --spec cifar10_c --corruptions {} --severities 3,4,5 --lambda {}"
    assert lacking(made, by="corruptions") == [
        ("15 corruptions", ("b", "c"), sweep.format("b", "standard", "train,adaptive")),
        ("attacks, L∞ 8/255", ("a", "c"), "robustcsc attack --run a --pgd linf --epsilon 8/255 --limit 100"),
    ]
    by_noise, others, _ = lacking(made, by="noise")
    assert by_noise[2] == sweep.format("b", "gaussian_noise,shot_noise,impulse_noise", "train,adaptive")
    assert others[0] == "15 corruptions"


@pytest.mark.parametrize(
    ("by", "command"),
    [
        ("noise", "sweep --run a --corruptions noise"),
        ("corruptions", "sweep --run a --corruptions standard"),
        ("robust", "attack --run a --pgd linf"),
    ],
)
def test_what_nobody_has_to_rank_by_has_a_command(clean: RecordMaker, by: By, command: str) -> None:
    ((_, runs, typed),) = lacking([clean(met=at, total=100, **named(model)) for at, model in enumerate("ba")], by=by)
    assert (runs, typed) == (("a", "b"), f"robustcsc {command}")


def test_clean_accuracy_that_is_missing_is_measured_alone(clean: RecordMaker, attack: RecordMaker) -> None:
    made = [clean(met=9, total=10, **named("a")), *(attack(met=0, total=10, **named(it)) for it in "ab")]
    assert lacking(made) == [("clean", ("b",), "robustcsc evaluate --run b")]
