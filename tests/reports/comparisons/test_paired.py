from __future__ import annotations

import base64
import csv
import math
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Pair
from robustcsc.reports.comparisons.paired import pair_of, paired_tables
from robustcsc.reports.page.build import write_report
from robustcsc.reports.page.sections import Report
from tests.measurements.reading import read_records

RecordMaker = Callable[..., Record]
RESULTS = Path(__file__).parents[3] / "benchmarks/results"


def outcomes_of(row: Mapping[str, str]) -> list[bool]:
    """One entry per image, by the documentation alone: base64, the first image is the highest bit of the first byte."""
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(row["outcomes"], validate=True))
    return [bit == "1" for bit in bits[: int(row["outcome_count"])]]


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Fraction:
    """Twice the smaller tail of as many throws of a coin as there are images on which the two differ."""
    wins = sum(one and not other for one, other in zip(first, second, strict=True))
    losses = sum(other and not one for one, other in zip(first, second, strict=True))
    tail = sum(math.comb(wins + losses, at) for at in range(min(wins, losses) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2 ** (wins + losses)))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drawn(seed: int, count: int, share: float) -> list[bool]:
    generator = random.Random(seed)
    return [generator.random() < share for _ in range(count)]


def test_images_are_compared_one_by_one(clean: RecordMaker) -> None:
    first = clean(outcomes=[True, True, True, False, False])
    second = clean(outcomes=[True, False, False, True, False])
    pair = pair_of(first, second)
    assert pair == Pair(only_first=2, only_second=1, total=5)
    assert pair.points == pytest.approx(20.0)


def test_without_single_outcomes_there_is_no_pair(clean: RecordMaker) -> None:
    kept = clean(outcomes=[True, False])
    assert pair_of(kept, clean(met=1, total=2)) is None
    assert pair_of(kept, clean(outcomes=[True, False, True])) is None
    assert paired_tables([clean(met=1, total=2, run=run) for run in ("a", "b")]) == []


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


@pytest.mark.parametrize("count", [1, 8, 97, 1000])
def test_the_p_value_of_a_report_follows_from_its_records_file_alone(
    clean: RecordMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("robustcsc.reports.page.build._figures", lambda *_: {})
    monkeypatch.setattr("robustcsc.reports.page.build.render_page", lambda *_, **__: "")
    kept = {"train": drawn(1, count, 0.75), "adaptive": drawn(2, count, 0.8)}
    made = [clean(policy=policy, outcomes=outcomes) for policy, outcomes in kept.items()]
    report = write_report(Report(title="Pairs", records=made), tmp_path / "report")
    found = {row["policy"]: outcomes_of(row) for row in rows_of(report.records)}
    assert found == kept
    ((told,),) = (rows_of(path) for path in report.tables if path.match("paired-*.csv"))
    assert (told["first"], told["second"]) == ("sdnet, adaptive lambda", "sdnet, training lambda")
    assert float(told["p"]) == pytest.approx(float(mcnemar(found["adaptive"], found["train"])), rel=1e-9)
    first, second = sorted(
        read_records(report.records), key=lambda it: it.measurement.policy != made[1].measurement.policy
    )
    pair = pair_of(first, second)
    assert pair is not None and pair.p_value == float(told["p"])


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("records.csv")), ids=lambda it: it.parent.name)
def test_committed_outcomes_agree_with_the_committed_counts(path: Path) -> None:
    for row in rows_of(path):
        if row.get("outcomes"):
            outcomes = outcomes_of(row)
            assert (sum(outcomes), len(outcomes)) == (int(row["met"]), int(row["total"]))


def test_committed_p_values_follow_from_the_committed_records() -> None:
    folder = RESULTS / "cifar10-jpeg-cpu/full"
    policies = {"train": "training lambda", "none": "no lambda", "adaptive": "adaptive lambda"}
    found = {}
    for row in rows_of(folder / "records.csv"):
        if row["kind"] == "corruption" and row["outcomes"] and row["policy.scope"] != "image":
            words = f"{row['name'].replace('_', ' ')}, severity {row['severity']}"
            found[f"{row['run']}, {policies[row['policy']]}", words] = outcomes_of(row)
    ((*told,),) = (rows_of(path) for path in (folder / "tables").glob("paired-corrupted-*.csv"))
    mine = [it for it in told if {(it["first"], it["images"]), (it["second"], it["images"])} <= set(found)]
    assert mine
    for row in mine:
        p = mcnemar(found[row["first"], row["images"]], found[row["second"], row["images"]])
        assert float(row["p"]) == pytest.approx(float(p), rel=1e-9)
