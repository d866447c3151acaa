from collections.abc import Callable

import pytest

from robustcsc.records import Record
from robustcsc.report import gain_tables

RecordMaker = Callable[..., Record]
VERDICT = 6  # column


def pair(record: RecordMaker, adaptive: int, train: int, **condition: object) -> list[Record]:
    return [
        record(correct=adaptive, severity=1, policy="adaptive", lam=0.5, **condition),
        record(correct=train, severity=1, policy="train", lam=0.1, **condition),
    ]


@pytest.mark.parametrize(
    ("adaptive", "train", "verdict"),
    [
        (7000, 6390, "adaptive lambda beats the training lambda by 6.1 points"),
        (6390, 7000, "adaptive lambda loses to the training lambda by 6.1 points"),
        (6980, 7000, "no gain: -0.2 points, within the interval"),
        (7020, 7000, "no gain: +0.2 points, within the interval"),
        (6999, 7000, "no gain: +0.0 points, within the interval"),
    ],
)
def test_the_verdict_says_which_way(record: RecordMaker, adaptive: int, train: int, verdict: str) -> None:
    (table,) = gain_tables(pair(record, adaptive, train))
    assert [row[VERDICT] for row in table.rows] == [verdict]


def test_gains_are_differences_by_severity_and_on_the_mean(records: list[Record]) -> None:
    noisy = next(table for table in gain_tables(records) if "severity 1" in table.columns)
    against = {row[2]: row for row in noisy.rows}
    # 84.76 - 81.78, 74.87 - 63.50, 61.38 - 43.86, 54.77 - 35.84, 48.84 - 27.92; means 64.924 - 50.58
    assert against["training lambda"][8:] == ("+2.98", "+11.37", "+17.52", "+18.93", "+20.92")
    assert against["training lambda"][4] == "+14.34"
    assert against["training lambda"][7] == "1-5"
    assert against["training lambda"][VERDICT] == "adaptive lambda beats the training lambda by 14.3 points"
    # 64.924 - 44.428
    assert against["resnet"][VERDICT] == "adaptive lambda beats resnet by 20.5 points"


def test_what_the_adaptive_lambda_costs_on_clean_images_is_said(records: list[Record]) -> None:
    clean = next(table for table in gain_tables(records) if "severity 1" not in table.columns)
    verdicts = {row[2]: row[VERDICT] for row in clean.rows}
    assert verdicts["training lambda"] == "no gain: -0.2 points, within the interval"


def test_only_shared_severities_are_compared(record: RecordMaker) -> None:
    made = [*pair(record, 9000, 5000), record(correct=0, severity=2, policy="adaptive")]
    (table,) = gain_tables(made)
    assert table.rows[0][table.columns.index("severities")] == "1"
    assert table.rows[0][table.columns.index("mean gain")] == "+40.00"


def test_another_run_with_lambda_is_met_at_its_training_lambda(record: RecordMaker) -> None:
    other = pair(record, 1000, 2000, run="other", weights="0" * 64)
    (table,) = gain_tables([*pair(record, 9000, 5000), *other])
    mine = {row[2]: row[VERDICT] for row in table.rows if row[0] == "sdnet"}
    assert mine["other at its training lambda"] == "adaptive lambda beats other at its training lambda by 70.0 points"


def test_measurements_that_may_not_be_mixed_are_not_compared(record: RecordMaker) -> None:
    adaptive, _ = pair(record, 9000, 5000)
    _, train = pair(record, 9000, 5000, source="official")
    assert gain_tables([adaptive, train]) == []


def test_the_oracle_makes_no_gain(record: RecordMaker) -> None:
    _, train = pair(record, 9000, 5000)
    assert gain_tables([train, record(correct=9000, severity=1, policy="oracle")]) == []
