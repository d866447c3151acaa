from __future__ import annotations

import base64
import csv
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import Adaptive, Scope
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Estimate, Table
from robustcsc.reports.cohorts.cohorts import total_score
from robustcsc.reports.comparisons.differences import by_severity, difference, difference_tables, on_the_mean
from robustcsc.reports.page.build import write_report
from robustcsc.reports.page.sections import Report
from tests.measurements.reading import read_records

RecordMaker = Callable[..., Record]
RESULTS = Path(__file__).parents[3] / "benchmarks/results"
FULL = RESULTS / "cifar10-jpeg-cpu/full"


def headings(table: Table) -> list[str]:
    return [column.heading for column in table.columns]


def rows_of(table: Table) -> dict[tuple[str, str], dict[str, str]]:
    """Rows as text by first, second and heading."""
    rows = (dict(zip(headings(table), row, strict=True)) for row in table.texts)
    return {(row["first"], row["second"]): row for row in rows}


def pair(corruption: RecordMaker, adaptive: int, train: int, **how: object) -> list[Record]:
    return [
        corruption(met=adaptive, policy="adaptive", lam=0.5, **how),
        corruption(met=train, policy="train", lam=0.1, **how),
    ]


OWN = ("sdnet, adaptive lambda", "sdnet, training lambda")


@pytest.mark.parametrize(
    ("adaptive", "train", "better"),
    [
        (7000, 6390, "first"),
        (6390, 7000, "second"),
        (6980, 7000, "neither"),
        (7020, 7000, "neither"),
    ],
)
def test_the_better_one_is_named_where_the_interval_leaves_zero_out(
    corruption: RecordMaker, adaptive: int, train: int, better: str
) -> None:
    (table,) = difference_tables(pair(corruption, adaptive, train))
    assert rows_of(table)[OWN]["shown better"] == better


def test_severities_stand_in_tables_of_their_own(records: list[Record]) -> None:
    tables = difference_tables(records)
    (apart,) = by_severity(tables)
    assert headings(apart) == ["first", "second", "images", *(f"severity {at}" for at in range(1, 6))]
    (whole,) = [it for it in tables if f"{it.name}-by-severity" == apart.name]
    assert headings(on_the_mean(whole)) + headings(apart)[3:] == headings(whole)


def test_differences_are_told_by_severity_and_on_the_mean(records: list[Record]) -> None:
    noisy = next(table for table in difference_tables(records) if "severity 1" in headings(table))
    against = rows_of(noisy)
    own = [against[OWN][f"severity {at}"].split()[0] for at in range(1, 6)]
    # 84.76 - 81.78, 74.87 - 63.50, 61.38 - 43.86, 54.77 - 35.84, 48.84 - 27.92; means 64.924 - 50.58
    assert own == ["+2.98", "+11.37", "+17.52", "+18.93", "+20.92"]
    assert against[OWN]["first minus second"].startswith("+14.34 [+")
    assert against[OWN]["severities"] == "1-5"
    assert against[OWN[0], "resnet, no lambda"]["first minus second"].startswith("+20.50 ")  # 64.924 - 44.428
    assert against[OWN[1], "resnet, no lambda"]["first minus second"].startswith("+6.15 ")


def test_without_single_outcomes_the_interval_is_that_of_independent_images(corruption: RecordMaker) -> None:
    (table,) = difference_tables(pair(corruption, 7000, 6390))
    found = table.rows[0][headings(table).index("first minus second")]
    assert isinstance(found, Estimate) and found.low is not None and found.high is not None
    # of two shares of 10000 images, Wald's interval is +-100 sqrt((0.7 x 0.3 + 0.639 x 0.361) / 10000) x 1.96
    assert (found.low, found.value, found.high) == pytest.approx((6.1 - 1.302, 6.1, 6.1 + 1.302), abs=0.005)
    assert "p" not in headings(table) and "p (Holm)" not in headings(table)
    assert any("independent" in note for note in table.notes)


def test_what_the_adaptive_lambda_costs_on_clean_images_is_said(records: list[Record]) -> None:
    clean = next(table for table in difference_tables(records) if table.title.startswith("Differences, clean"))
    assert rows_of(clean)[OWN]["shown better"] == "neither"
    assert not any(heading.startswith("severit") for heading in headings(clean))


def test_only_shared_severities_are_compared(corruption: RecordMaker) -> None:
    made = [*pair(corruption, 9000, 5000), corruption(severity=2, met=0, policy="adaptive")]
    (table,) = difference_tables(made)
    row = rows_of(table)[OWN]
    assert row["severities"] == "1" and row["first minus second"].startswith("+40.00 ")


def test_every_two_rows_meet_once_and_other_runs_at_their_baseline(corruption: RecordMaker) -> None:
    other = pair(corruption, 1000, 2000, run="other", weights="0" * 64)
    (table,) = difference_tables([*pair(corruption, 9000, 5000), *other])
    mine = {OWN, (OWN[0], "other, training lambda"), (OWN[1], "other, training lambda")}
    theirs = {("other, adaptive lambda", "other, training lambda"), ("other, adaptive lambda", OWN[1])}
    assert set(rows_of(table)) == mine | theirs


def test_of_many_runs_each_is_compared_with_the_first_only(corruption: RecordMaker) -> None:
    made = [it for at in range(7) for it in pair(corruption, 9000, 5000, run=f"run{at}", weights=f"{at}" * 64)]
    (table,) = difference_tables(made)
    assert {second for first, second in rows_of(table) if first == "run3, adaptive lambda"} == {
        "run3, training lambda",
        "run0, training lambda",
    }
    assert "Of more than 6 runs each is compared with the first only." in table.notes


def test_measurements_that_may_not_be_mixed_are_not_compared(corruption: RecordMaker) -> None:
    adaptive, _ = pair(corruption, 9000, 5000)
    _, train = pair(corruption, 9000, 5000, source="official")
    assert difference_tables([adaptive, train]) == []


def test_the_oracle_and_fixed_lambdas_compete_with_nobody(corruption: RecordMaker) -> None:
    policies = ("train", "oracle", "fixed=0.5", "adaptive")
    (table,) = difference_tables([corruption(policy=policy, outcomes=[True, False]) for policy in policies])
    assert set(rows_of(table)) == {OWN}


def test_kinds_of_images_have_tables_of_their_own(
    clean: RecordMaker, attack: RecordMaker, minimal: RecordMaker
) -> None:
    made = [make(run=run, outcomes=[True, run == "a"]) for run in ("a", "b") for make in (clean, attack, minimal)]
    first, second = difference_tables(made)
    assert first.title.startswith("Differences, clean: ") and second.title.startswith("Differences, attacked: ")
    assert first.name != second.name
    assert [row[2] for row in (*first.rows, *second.rows)] == [
        "clean",
        "PGD L∞ 8/255, 20 steps",
        "smallest budget of PGD L∞ 8/255, 20 steps",
    ]


def test_images_are_compared_one_by_one_and_holm_allows_for_the_number_of_comparisons(corruption: RecordMaker) -> None:
    right = [True] * 90 + [False] * 10
    worse = [False] * 20 + [True] * 70 + [False] * 10
    close = [False] + [True] * 89 + [False] * 10
    runs = {"a": right, "b": worse, "c": close}
    (table,) = difference_tables([corruption(run=run, outcomes=outcomes) for run, outcomes in runs.items()])
    rows = {(first[0], second[0]): row for (first, second), row in rows_of(table).items()}
    assert set(rows) == {("c", "a"), ("c", "b"), ("b", "a")}
    # 20 images only the second has right: 20 / sqrt(21 - 400 / 102) = 4.839 standard errors
    p = 2 * NormalDist().cdf(-20 / math.sqrt(21 - 400 / 102))
    assert rows["b", "a"]["first minus second"].startswith("-20.00 [-")
    assert (rows["b", "a"]["p"], rows["b", "a"]["p (Holm)"]) == (f"{p:.2g}", f"{3 * p:.2g}")
    assert rows["b", "a"]["shown better"] == "second"
    assert rows["c", "a"]["shown better"] == "neither"


def drawn(seed: int, count: int, share: float) -> list[bool]:
    generator = random.Random(seed)
    return [generator.random() < share for _ in range(count)]


def test_the_mean_of_severities_is_paired_over_all_of_them(corruption: RecordMaker) -> None:
    outcomes = {
        (policy, at): drawn(at, 300, share - 0.1 * at)
        for policy, share in (("train", 0.8), ("adaptive", 0.85))
        for at in (1, 2, 3)
    }
    made = [corruption(severity=at, policy=policy, outcomes=it) for (policy, at), it in outcomes.items()]
    (table,) = difference_tables(made)
    shares = {policy: np.mean([outcomes[policy, at] for at in (1, 2, 3)], axis=0) for policy in ("train", "adaptive")}
    own = shares["adaptive"] - shares["train"]  # the same numbers decide both: the difference hardly spreads
    found = table.rows[0][headings(table).index("first minus second")]
    assert isinstance(found, Estimate) and found.low is not None and found.high is not None
    assert found.value == pytest.approx(100 * own.mean())
    reach = 196 * own.std() / math.sqrt(300)
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.1)
    # as if the images were independent it would be several times as wide
    assert found.high - found.low < 0.5 * 2 * 196 * math.sqrt(2 * 0.2 / 300)


def bootstrapped(values: Sequence[float], seed: int = 0, samples: int = 4000) -> tuple[float, float]:
    """The 95 % interval of a mean: quantiles over samples of the images, drawn with replacement."""
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=samples)
    low, high = np.quantile(counts @ np.asarray(values) / len(values), (0.025, 0.975))
    return float(low), float(high)


def committed() -> dict[str, list[Record]]:
    """Both ends of Gaussian noise, the outcomes of which are kept for three rows."""
    rows: dict[str, list[Record]] = {}
    for record in read_records(FULL / "records.csv"):
        policy, made = record.measurement.policy, record.measurement.perturbation
        wanted = isinstance(made, Corruption) and made.name == "gaussian_noise" and made.severity in (1, 5)
        if record.outcomes and wanted and policy != Adaptive(scope=Scope.IMAGE, fit=getattr(policy, "fit", "")):
            rows.setdefault(f"{record.measurement.subject.run} {type(policy).__name__}", []).append(record)
    return rows


@pytest.mark.slow
def test_intervals_of_real_outcomes_agree_with_a_bootstrap_over_the_images() -> None:
    rows = committed()
    assert {name: len(records) for name, records in rows.items()} == dict.fromkeys(rows, 2) and len(rows) == 3
    shares = {
        name: np.mean([record.outcomes.to_list() for record in records if record.outcomes], axis=0)
        for name, records in rows.items()
    }
    for name, records in rows.items():
        ends = bootstrapped(shares[name])
        assert total_score(records).interval == pytest.approx(ends, abs=0.06 * (ends[1] - ends[0]))
    adaptive, others = "sdnet20 Adaptive", ("sdnet20 TrainingLambda", "resnet20 NoLambda")
    for other in others:
        found = difference(rows[adaptive], rows[other])
        low, high = (100 * end for end in bootstrapped(shares[adaptive] - shares[other]))
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))
        assert found.shown and found.p_value is not None and found.p_value < 1e-3


def outcomes_of(row: Mapping[str, str]) -> list[bool]:
    """One entry per image, by the documentation alone: base64, the first image is the highest bit of the first byte."""
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(row["outcomes"], validate=True))
    return [bit == "1" for bit in bits[: int(row["outcome_count"])]]


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("records.csv")), ids=lambda it: it.parent.name)
def test_committed_outcomes_agree_with_the_committed_counts(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("outcomes"):
                outcomes = outcomes_of(row)
                assert (sum(outcomes), len(outcomes)) == (int(row["met"]), int(row["total"]))


@pytest.mark.parametrize("count", [1, 8, 97, 1000])
def test_a_difference_of_a_report_follows_from_its_records_file_alone(
    clean: RecordMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("robustcsc.reports.page.build._figures", lambda *_: {})
    monkeypatch.setattr("robustcsc.reports.page.build.render_page", lambda *_, **__: "")
    kept = {"train": drawn(1, count, 0.75), "adaptive": drawn(2, count, 0.8)}
    made = [clean(policy=policy, outcomes=it) for policy, it in kept.items()]
    report = write_report(Report(title="Pairs", records=made), tmp_path / "report")
    with report.records.open(newline="", encoding="utf-8") as file:
        found = {row["policy"]: outcomes_of(row) for row in csv.DictReader(file)}
    assert found == kept
    (path,) = (path for path in report.tables if path.match("differences-*.csv"))
    with path.open(newline="", encoding="utf-8") as file:
        (told,) = csv.DictReader(file)
    assert (told["first"], told["second"]) == OWN
    gained = sum(one > other for one, other in zip(found["adaptive"], found["train"], strict=True))
    lost = sum(one < other for one, other in zip(found["adaptive"], found["train"], strict=True))
    middle = (gained - lost) / (count + 2)
    error = math.sqrt(gained + lost + 1 - (gained - lost) * middle) / (count + 2)
    assert float(told["p"]) == pytest.approx(2 * NormalDist().cdf(-abs(middle) / error), rel=1e-9)
    assert float(told["first minus second high"]) == pytest.approx(min(100, 100 * (middle + 1.959963985 * error)))
