from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from robustcsc.records import Record
from robustcsc.report import accuracy_frame, records_frame

RecordMaker = Callable[..., Record]
POLICIES = ("oracle", "train", "adaptive")


def test_a_row_holds_the_counts_and_the_interval_scipy_computes(record: RecordMaker) -> None:
    frame = records_frame([record(correct=8178, severity=1, policy="train", lam=0.1)])
    row = frame.iloc[0]
    expected = binomtest(8178, 10000).proportion_ci(method="wilson")
    assert (row["correct"], row["total"], row["severity"]) == (8178, 10000, 1)
    assert row["accuracy"] == 0.8178
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (row["run"], row["spec"], row["versions"].split(",")[0]) == (
        "sdnet",
        "cifar10_c@1a2b3c4d",
        "robustcsc 0.1.0",
    )


def test_without_records_all_columns_remain() -> None:
    frame = records_frame([])
    assert len(frame) == 0
    assert {"run", "severity", "lam", "correct", "accuracy", "low", "high"} <= set(frame.columns)
    assert {"seconds", "created"} <= set(records_frame([], timing=True).columns)
    assert "condition" not in frame.columns
    assert list(accuracy_frame([])["mean"]) == []


def test_missing_severities_stay_missing_and_others_stay_whole(record: RecordMaker) -> None:
    clean = record(correct=1, total=2, kind="clean", name="clean")
    text = records_frame([clean, record(correct=1, total=2, severity=3)])["severity"].to_csv(index=False)
    assert text.split() == ["severity", '""', "3"]


def test_two_measurements_of_the_same_cells_give_the_same_bytes(record: RecordMaker) -> None:
    def measured(created: str) -> list[Record]:
        noise = [
            record(correct=9 - s, total=10, severity=s, policy=p, created=created) for s in (1, 2) for p in POLICIES
        ]
        return [*noise, record(correct=9, total=10, kind="clean", name="clean", created=created)]

    first, second = measured("2026-01-01T00:00:00+00:00"), measured("2027-01-01T00:00:00+00:00")[::-1]
    assert records_frame(first).to_csv() == records_frame(second).to_csv()
    rows = records_frame(second)
    assert list(rows["kind"]) == ["clean"] + ["corruption"] * 6
    assert list(rows["severity"])[1:] == [1, 1, 1, 2, 2, 2]
    assert list(rows["policy"])[1:] == ["train", "adaptive", "oracle"] * 2
    assert list(records_frame(first, timing=True)["created"]) == ["2026-01-01T00:00:00+00:00"] * 7


def test_a_record_without_images_has_no_accuracy(record: RecordMaker) -> None:
    row = records_frame([record(correct=0, total=0, severity=1)]).iloc[0]
    assert row[["accuracy", "low", "high"]].isna().all()


def test_the_wide_frame_has_one_row_per_series_and_the_mean_of_its_severities(records: list[Record]) -> None:
    wide = accuracy_frame(records)
    (row,) = [row for _, row in wide.iterrows() if (row["run"], row["policy"]) == ("sdnet", "adaptive")]
    assert row["corruption"] == "gaussian_noise"
    assert [row[f"severity_{severity}"] for severity in range(1, 6)] == [0.8476, 0.7487, 0.6138, 0.5477, 0.4884]
    assert row["lambda_3"] == 0.75
    assert row["mean"] == pytest.approx(0.64924, abs=1e-12)
    assert (row["severities"], row["n"]) == ("1-5", 10000)
    assert len(wide) == 7  # resnet, train, adaptive, oracle, three fixed lambdas
