from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Pair
from robustcsc.reports.comparisons.paired import pair_of, paired_tables

RecordMaker = Callable[..., Record]


def test_images_are_compared_one_by_one(clean: RecordMaker) -> None:
    first = clean(outcomes=[True, True, True, False, False])
    second = clean(outcomes=[True, False, False, True, False])
    pair = pair_of(first, second)
    assert pair == Pair(only_first=2, only_second=1, total=5)
    assert pair.points == pytest.approx(20.0)


def test_without_single_outcomes_there_is_no_pair(clean: RecordMaker) -> None:
    kept = clean(outcomes=[True, False])
    assert pair_of(kept, clean(correct=1, total=2)) is None
    assert pair_of(kept, clean(outcomes=[True, False, True])) is None
    assert paired_tables([clean(correct=1, total=2, run=run) for run in ("a", "b")]) == []


def test_the_table_names_the_better_one_only_beyond_chance(corruption: RecordMaker) -> None:
    right = [True] * 90 + [False] * 10
    worse = [False] * 20 + [True] * 70 + [False] * 10  # 20 images only the first has right: p = 2 x 2^-20
    close = [False] + [True] * 89 + [False] * 10  # one image: p = 1
    runs = {"a": right, "b": worse, "c": close}
    (table,) = paired_tables([corruption(run=run, outcomes=outcomes) for run, outcomes in runs.items()])
    rows = {(row[0].split(",")[0], row[1].split(",")[0]): row for row in table.texts}
    assert set(rows) == {("c", "a"), ("c", "b"), ("b", "a")}  # every two once
    assert rows["b", "a"][2] == "gaussian noise, severity 1"
    assert rows["b", "a"][3].startswith("-20.00 [-")
    assert rows["b", "a"][4:8] == ("0", "20", "1.9e-06", "5.7e-06")  # the smallest of three times 3
    assert rows["b", "a"][8] == "a, no lambda"
    assert rows["c", "a"][8] == "no difference shown"


def test_kinds_of_images_have_tables_of_their_own(
    clean: RecordMaker, attack: RecordMaker, minimal: RecordMaker
) -> None:
    made = [make(run=run, outcomes=[True, run == "a"]) for run in ("a", "b") for make in (clean, attack, minimal)]
    first, second = paired_tables(made)
    assert first.title.startswith("Image by image, clean: ") and second.title.startswith("Image by image, attacked: ")
    assert first.name != second.name
    assert [row[2] for row in (*first.rows, *second.rows)] == [
        "clean",
        "PGD L∞ 8/255, 20 steps, plain",
        "smallest budget of PGD L∞ 8/255, 20 steps, plain",
    ]


def test_the_oracle_and_fixed_lambdas_compete_with_nobody(corruption: RecordMaker) -> None:
    policies = ("train", "oracle", "fixed=0.5", "adaptive")
    (table,) = paired_tables([corruption(policy=policy, outcomes=[True, False]) for policy in policies])
    assert [row[:2] for row in table.rows] == [("sdnet, adaptive lambda", "sdnet, training lambda")]
