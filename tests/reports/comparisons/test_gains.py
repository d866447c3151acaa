from collections.abc import Callable

import pytest

from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Estimate, Table
from robustcsc.reports.comparisons.gains import gain_tables

RecordMaker = Callable[..., Record]
VERDICT = 5  # column


def pair(corruption: RecordMaker, adaptive: int, train: int, **how: object) -> list[Record]:
    return [
        corruption(met=adaptive, policy="adaptive", lam=0.5, **how),
        corruption(met=train, policy="train", lam=0.1, **how),
    ]


def headings(table: Table) -> list[str]:
    return [column.heading for column in table.columns]


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
def test_the_verdict_says_which_way(corruption: RecordMaker, adaptive: int, train: int, verdict: str) -> None:
    (table,) = gain_tables(pair(corruption, adaptive, train))
    assert [row[VERDICT] for row in table.rows] == [verdict]


def test_gains_are_differences_by_severity_and_on_the_mean(records: list[Record]) -> None:
    noisy = next(table for table in gain_tables(records) if "severity 1" in headings(table))
    against = {row[2]: row for row in noisy.texts}
    # 84.76 - 81.78, 74.87 - 63.50, 61.38 - 43.86, 54.77 - 35.84, 48.84 - 27.92; means 64.924 - 50.58
    assert against["training lambda"][7:] == ("+2.98", "+11.37", "+17.52", "+18.93", "+20.92")
    assert against["training lambda"][4].startswith("+14.34 [+")
    assert against["training lambda"][6] == "1-5"
    assert against["training lambda"][VERDICT] == "adaptive lambda beats the training lambda by 14.3 points"
    # 64.924 - 44.428
    assert against["resnet"][VERDICT] == "adaptive lambda beats resnet by 20.5 points"


def test_the_interval_of_a_gain_lies_around_it(corruption: RecordMaker) -> None:
    (table,) = gain_tables(pair(corruption, 7000, 6390))
    gain = table.rows[0][headings(table).index("mean gain")]
    assert isinstance(gain, Estimate) and gain.low is not None and gain.high is not None
    # of two shares of 10000 images, Wald's interval is +-100 sqrt((0.7 x 0.3 + 0.639 x 0.361) / 10000) x 1.96
    assert (gain.low, gain.value, gain.high) == pytest.approx((6.1 - 1.302, 6.1, 6.1 + 1.302), abs=0.005)


def test_what_the_adaptive_lambda_costs_on_clean_images_is_said(records: list[Record]) -> None:
    clean = next(table for table in gain_tables(records) if "severity 1" not in headings(table))
    verdicts = {row[2]: row[VERDICT] for row in clean.rows}
    assert verdicts["training lambda"] == "no gain: -0.2 points, within the interval"


def test_only_shared_severities_are_compared(corruption: RecordMaker) -> None:
    made = [*pair(corruption, 9000, 5000), corruption(severity=2, met=0, policy="adaptive")]
    (table,) = gain_tables(made)
    row = dict(zip(headings(table), table.texts[0], strict=True))
    assert row["severities"] == "1" and row["mean gain"].startswith("+40.00 ")


def test_another_run_with_lambda_is_met_at_its_training_lambda(corruption: RecordMaker) -> None:
    other = pair(corruption, 1000, 2000, run="other", weights="0" * 64)
    (table,) = gain_tables([*pair(corruption, 9000, 5000), *other])
    mine = {row[2]: row[VERDICT] for row in table.rows if row[0] == "sdnet"}
    assert mine["other at its training lambda"] == "adaptive lambda beats other at its training lambda by 70.0 points"


def test_a_run_keeps_its_article(corruption: RecordMaker) -> None:
    other = corruption(met=1000, run="the best", weights="0" * 64)
    (table,) = gain_tables([*pair(corruption, 9000, 5000), other])
    assert {row[2]: row[VERDICT] for row in table.rows} == {
        "training lambda": "adaptive lambda beats the training lambda by 40.0 points",
        "the best": "adaptive lambda beats the best by 80.0 points",
    }


def test_of_many_runs_each_is_compared_with_the_first_only(corruption: RecordMaker) -> None:
    made = [it for at in range(7) for it in pair(corruption, 9000, 5000, run=f"run{at}", weights=f"{at}" * 64)]
    (table,) = gain_tables(made)
    assert [row[2] for row in table.rows if row[0] == "run3"] == ["training lambda", "run0 at its training lambda"]
    assert "Of more than 6 runs each is compared with the first only." in table.notes


def test_measurements_that_may_not_be_mixed_are_not_compared(corruption: RecordMaker) -> None:
    adaptive, _ = pair(corruption, 9000, 5000)
    _, train = pair(corruption, 9000, 5000, source="official")
    assert gain_tables([adaptive, train]) == []


def test_the_oracle_makes_no_gain(corruption: RecordMaker) -> None:
    _, train = pair(corruption, 9000, 5000)
    assert gain_tables([train, corruption(met=9000, policy="oracle")]) == []
