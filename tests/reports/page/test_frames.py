from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest

from robustcsc.measurements.frames import flat, records_frame
from robustcsc.measurements.records import Record
from robustcsc.reports.page.frames import (
    accuracy_columns,
    coded_csv,
    coded_records,
    columns_csv,
    fooling_columns,
    in_order,
)
from tests.measurements.reading import LISTS, read_records

RecordMaker = Callable[..., Record]
POLICIES = ("oracle", "train", "adaptive")


def test_a_row_holds_the_counts_and_the_interval_scipy_computes(corruption: RecordMaker) -> None:
    row = records_frame([corruption(met=8178, policy="train", lam=0.1)]).iloc[0]
    expected = binomtest(8178, 10000).proportion_ci(method="wilson")
    assert (row["met"], row["total"], row["severity"], row["rate"]) == (8178, 10000, 1, 0.8178)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (row["run"], row["table.name"], row["table.digest"], row["versions.torch"]) == (
        *("sdnet", "cifar10_c", "1a2b3c4d", "2.13.0"),
    )


def test_without_records_all_columns_remain() -> None:
    frame = records_frame([])
    assert len(frame) == 0
    assert {"run", "severity", "lambda", "met", "rate", "low", "high"} <= set(frame.columns)
    assert list(accuracy_columns([])["mean"]) == list(fooling_columns([])["rate"]) == []


def test_a_record_without_images_has_no_accuracy(corruption: RecordMaker, random_noise: RecordMaker) -> None:
    row = records_frame([corruption(met=0, total=0), corruption(met=1, total=2)]).iloc[0]
    assert row[["rate", "low", "high"]].isna().all()
    fooling = fooling_columns([random_noise(met=0, total=0)])
    assert [str(it) for name in ("rate", "low", "high") for it in fooling[name]] == ["nan"] * 3


def test_missing_severities_stay_missing_and_others_stay_whole(clean: RecordMaker, corruption: RecordMaker) -> None:
    columns = coded_records([clean(met=1, total=2), corruption(severity=3, met=1, total=2)])
    rows = list(csv.DictReader(io.StringIO(coded_csv(columns))))
    assert [row["severity"] for row in rows] == ["", "3"]


def test_files_hold_the_numbers_that_pandas_writes(every_kind: list[Record]) -> None:
    written = records_frame(every_kind).to_csv(index=False, lineterminator="\n")
    assert coded_csv(coded_records(every_kind)) == written


def test_records_of_every_kind_come_back_from_their_file(every_kind: list[Record], tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_text(coded_csv(coded_records(every_kind)), "utf-8")
    assert read_records(tmp_path / "records.csv") == every_kind


def test_columns_hold_the_rows_of_all_records(every_kind: list[Record]) -> None:
    columns = coded_records(every_kind * 2)
    for at, record in enumerate(every_kind * 2):
        row = {it.column.heading: it.cells[it.codes[at]] for it in columns}
        plain = {name: json.loads(str(it)) if name in LISTS else it for name, it in row.items() if it is not None}
        assert plain == json.loads(json.dumps(flat(record)))
    assert all(len(set(it.cells)) == len(it.cells) for it in columns)


def test_the_order_of_records_does_not_depend_on_how_they_came(every_kind: list[Record]) -> None:
    ordered = in_order(every_kind)
    shuffled = list(every_kind)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert in_order(shuffled) == ordered


def test_records_are_ordered_by_severity_then_policy(clean: RecordMaker, corruption: RecordMaker) -> None:
    made = [corruption(severity=s, met=9 - s, total=10, policy=p) for s in (2, 1) for p in POLICIES]
    rows = records_frame(in_order([*made, clean(met=9, total=10, policy="train")]))
    assert list(rows["kind"]) == ["clean"] + ["corruption"] * 6
    assert list(rows["severity"])[1:] == [1, 1, 1, 2, 2, 2]
    assert list(rows["policy"])[1:] == ["train", "adaptive", "oracle"] * 2


def test_two_measurements_of_the_same_cells_give_the_same_bytes(clean: RecordMaker, corruption: RecordMaker) -> None:
    def measured(created: str) -> list[Record]:
        noise = [corruption(severity=s, met=9, policy=p, created=created) for s in (1, 2) for p in POLICIES]
        return [*noise, clean(met=9, created=created)]

    first, second = measured("2026-01-01T00:00:00+00:00"), measured("2027-01-01T00:00:00+00:00")[::-1]
    one, other = (records_frame(in_order(it), timing=False).to_csv(index=False) for it in (first, second))
    assert one == other


def test_the_wide_frame_has_one_row_per_series_and_the_mean_of_its_severities(records: list[Record]) -> None:
    wide = pd.DataFrame(accuracy_columns(records))
    (row,) = [row for _, row in wide.iterrows() if (row["run"], row["policy"]) == ("sdnet", "adaptive")]
    assert row["corruption"] == "gaussian_noise"
    assert [row[f"severity_{severity}"] for severity in range(1, 6)] == [0.8476, 0.7487, 0.6138, 0.5477, 0.4884]
    assert row["lambda_3"] == 0.75
    assert row["mean"] == pytest.approx(0.64924, abs=1e-12)
    assert (row["n"], row["policy.scope"]) == (10000, "dataset")
    assert len(wide) == 7  # resnet, train, adaptive, oracle, three fixed lambdas


def test_the_rate_of_a_perturbation_is_the_mean_over_its_seeds(universal: RecordMaker, control: RecordMaker) -> None:
    made = [universal(met=n, total=100, crafting={"seed": seed}) for seed, n in enumerate((70, 80, 90))]
    frame = pd.DataFrame(fooling_columns([*made, control(met=10, total=100)]))
    assert list(frame["kind"]) == ["universal", "random-control"]
    row, alone = frame.iloc[0], frame.iloc[1]
    assert (row["seeds"], row["n"], row["xi"], row["crafting.count"]) == (3, 100, 10 / 255, 1000)
    assert (row["rate"], row["std"]) == pytest.approx((0.8, 0.1))
    expected = binomtest(80, 100).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert alone["rate"] == 0.1 and pd.isna(alone["std"])


def test_the_interval_of_a_mean_rate_is_around_the_mean_itself(universal: RecordMaker) -> None:
    made = [universal(met=n, total=10, crafting={"seed": n}) for n in (1, 2)]
    (row,) = pd.DataFrame(fooling_columns(made)).to_dict("records")
    # By hand with z = 1.96, 3 / 2 of 10: (0.15 + 0.19207 -+ 1.95996 sqrt(0.01275 + 0.0096037)) / 1.38415
    assert (row["rate"], row["low"], row["high"]) == pytest.approx((0.15, 0.03543, 0.45884), abs=2e-5)


def test_of_two_lambda_fits_the_newer_one_is_shown(universal: RecordMaker) -> None:
    old = [universal(met=1, total=100, policy="adaptive", fit="01d", crafting={"seed": at}) for at in range(2)]
    new = universal(met=60, total=100, policy="adaptive", fit="e3", created="2026-06-01T00:00:00+00:00")
    (row,) = pd.DataFrame(fooling_columns([*old, new])).to_dict("records")
    assert (row["rate"], row["seeds"]) == (0.6, 1)


def test_equal_numbers_of_other_types_keep_their_form() -> None:
    assert columns_csv({"a": [1, 1.0, True, None, 1]}).splitlines() == ["a", "1", "1.0", "True", "", "1"]
