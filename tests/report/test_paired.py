from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from robustcsc.measurements.statistics import Pair
from robustcsc.records import Record, packed
from robustcsc.report import paired_tables
from robustcsc.report.paired import pair_of

RecordMaker = Callable[..., Record]


def with_outcomes(record: Record, right: Sequence[bool]) -> Record:
    return replace(record, correct=sum(right), total=len(right), outcomes=packed(list(right)))


def test_images_are_compared_one_by_one(record: RecordMaker) -> None:
    first = with_outcomes(record(correct=0), [True, True, True, False, False])
    second = with_outcomes(record(correct=0), [True, False, False, True, False])
    pair = pair_of(first, second)
    assert pair == Pair(only_first=2, only_second=1, total=5)
    assert pair.points == pytest.approx(20.0)


def test_without_single_outcomes_there_is_no_pair(record: RecordMaker) -> None:
    kept = with_outcomes(record(correct=0), [True, False])
    assert pair_of(kept, record(correct=1, total=2)) is None
    assert pair_of(kept, with_outcomes(record(correct=0), [True, False, True])) is None
    assert paired_tables([record(correct=1, total=2, severity=1, run=run) for run in ("a", "b")]) == []


def test_the_table_names_the_better_one_only_beyond_chance(record: RecordMaker) -> None:
    right = [True] * 90 + [False] * 10
    worse = [False] * 20 + [True] * 70 + [False] * 10  # 20 images only the first has right: p = 2 x 2^-20
    close = [False] + [True] * 89 + [False] * 10  # one image: p = 1
    made = [
        with_outcomes(record(correct=0, severity=1, run=run, policy="none", created=f"2026-01-0{at}"), outcomes)
        for at, (run, outcomes) in enumerate((("a", right), ("b", worse), ("c", close)), start=1)
    ]
    (table,) = paired_tables(made)
    rows = {(row[0].split(",")[0], row[1].split(",")[0]): row for row in table.rows}
    assert set(rows) == {("c", "a"), ("c", "b"), ("b", "a")}  # every two once
    assert rows["b", "a"][3] == "-20.00"
    assert rows["b", "a"][5:7] == ("0", "20")
    assert rows["b", "a"][9] == "a, no lambda"
    assert rows["c", "a"][9] == "no difference shown"


def test_the_oracle_and_fixed_lambdas_compete_with_nobody(record: RecordMaker) -> None:
    made = [
        with_outcomes(record(correct=0, severity=1, policy=policy), [True, False])
        for policy in ("train", "oracle", "fixed=0.5", "adaptive")
    ]
    (table,) = paired_tables(made)
    assert [row[:2] for row in table.rows] == [("sdnet, adaptive lambda", "sdnet, training lambda")]
