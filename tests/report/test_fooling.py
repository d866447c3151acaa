import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustcsc.measurements.statistics import wilson_interval
from robustcsc.records import Record
from robustcsc.report import Plot, fooling_frame, fooling_plots, fooling_tables, headline_tables, write_report
from robustcsc.report.table import Table

RecordMaker = Callable[..., Record]

DETAILS = json.dumps(
    {"converged": False, "crafting_fooled": 45, "crafting_images": 60, "passes": 4, "perturbation": "uap.safetensors"}
)
CRAFTED = "crafted on 60 train images (feed), delta 0.2, batches of 20"
RUNS: dict[str, dict[str, Any]] = {
    "plainnet": {"model": "plainnet3", "weights": "aa" * 32, "policy": "none"},
    "detrame": {"model": "detrame_plainnet3", "weights": "bb" * 32, "policy": "none"},
}


def make(record: RecordMaker, run: str, kind: str, **fields: Any) -> list[Record]:
    """The two metrics of one measurement: 200 images, of which 100 are correct."""
    fooled = fields.pop("fooled")
    details = fields.pop("details", "")
    counts = (("fooling rate", fooled, 200), ("fooling rate of correct images", fooled // 2, 100))
    made = []
    for metric, correct, total in counts:
        about = {"kind": kind, "source": "generated", "metric": metric, "run": run, **RUNS[run], **fields}
        one = record(correct=correct, total=total, **about)
        made.append(Record(**{**one.__dict__, "details": details}))
    return made


@pytest.fixture
def measured(record: RecordMaker) -> list[Record]:
    found = []
    for run, factor in (("plainnet", 2), ("detrame", 1)):
        for xi, fooled in ((0.02, 20), (0.05, 50)):
            about = {"norm": "linf", "epsilon": xi, "protocol": "plain"}
            uap = {"name": "uap", "steps": 10, "spec": CRAFTED, "details": DETAILS, "fooled": factor * fooled}
            found += make(record, run, "uap", **about, **uap)
            for seed in range(3):
                found += make(record, run, "uap-control", name="random-sign", seed=seed, fooled=4 + 2 * seed, **about)
        for rho, fooled in ((0.01, 10), (0.1, 40)):
            for seed in range(2):
                found += make(
                    record, run, "random-noise", name="gaussian", epsilon=rho, seed=seed, fooled=factor * fooled + seed
                )
    return found


def rows_of(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def points_of(plot: Plot) -> list[tuple[list[float], list[float]]]:
    lines = plot.figure.axes[0].lines
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines]


def percent(correct: int, total: int) -> str:
    low, high = wilson_interval(correct, total)
    return f"{100 * correct / total:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def test_universal_perturbations_stand_beside_their_controls(measured: list[Record]) -> None:
    table, _ = fooling_tables(measured)
    rows = {(row["run"], row["perturbation"], row["xi"]): row for row in rows_of(table)}
    assert len(rows) == 8
    uap = rows["plainnet", "UAP", "0.05"]
    assert uap["fooling rate"] == percent(100, 200)
    assert uap["fooling rate of correct images"] == percent(50, 100)
    assert (uap["norm"], uap["crafting images"], uap["fooled of them"]) == ("L∞", "60", "75.00")
    assert (uap["passes"], uap["converged"], uap["seconds"]) == ("4", "no", "1.5")
    # 4, 6 and 8 of 200: mean 3 %, standard deviation 1 %.
    assert rows["detrame", "random signs", "0.02"]["fooling rate"] == "3.00 ± 1.00 (3 seeds)"
    assert any(CRAFTED in note for note in table.notes) and "200 images" in table.title


def test_perturbations_crafted_in_different_ways_are_told_apart(record: RecordMaker) -> None:
    about = {"norm": "l2", "epsilon": 1.0, "name": "uap", "protocol": "plain", "details": DETAILS}
    found = make(record, "plainnet", "uap", spec=CRAFTED, fooled=10, **about)
    found += make(record, "plainnet", "uap", spec="crafted in another way", fooled=20, **about)
    (table,) = fooling_tables(found)
    assert {row["crafting"]: row["fooling rate"] for row in rows_of(table)} == {
        CRAFTED: percent(10, 200),
        "crafted in another way": percent(20, 200),
    }


def test_seeds_of_a_perturbation_are_averaged(record: RecordMaker) -> None:
    about = {"norm": "l2", "epsilon": 1.0, "name": "uap", "protocol": "plain", "details": DETAILS, "spec": CRAFTED}
    found = [it for seed in (0, 1) for it in make(record, "plainnet", "uap", seed=seed, fooled=10 + 20 * seed, **about)]
    (table,) = fooling_tables(found)
    (row,) = rows_of(table)
    assert row["fooling rate"] == f"10.00 ± {math.sqrt(50):.2f} (2 seeds)"
    assert row["passes"] == "4"


def test_random_noise_has_a_row_per_energy(measured: list[Record]) -> None:
    _, table = fooling_tables(measured)
    rates = {(row["run"], row["rho"]): row["fooling rate"] for row in rows_of(table)}
    spread = f"{100 * math.sqrt(0.5) / 200:.2f}"  # of n and n + 1 among 200
    assert rates == {
        ("plainnet", "0.01"): f"10.25 ± {spread} (2 seeds)",
        ("plainnet", "0.1"): f"40.25 ± {spread} (2 seeds)",
        ("detrame", "0.01"): f"5.25 ± {spread} (2 seeds)",
        ("detrame", "0.1"): f"20.25 ± {spread} (2 seeds)",
    }


def test_the_frame_has_every_point_of_every_curve(measured: list[Record]) -> None:
    frame = fooling_frame(measured)
    assert len(frame) == 2 * 2 * (2 + 2 + 2)
    point = frame[(frame.run == "plainnet") & (frame.name == "uap") & (frame.xi == 0.05)].set_index("metric")
    first = point.loc["fooling rate"]
    assert (first.rate, first.seeds, first.n) == (0.5, 1, 200) and pd.isna(first["std"])
    assert (first.low, first.high) == pytest.approx(wilson_interval(100, 200))
    noise = frame[(frame.run == "detrame") & (frame.rho == 0.1) & (frame.metric == "fooling rate")].iloc[0]
    assert noise.rate == pytest.approx(40.5 / 200) and noise["std"] == pytest.approx(math.sqrt(0.5) / 200)
    assert pd.isna(noise.xi)


def test_the_newest_fit_of_a_row_counts(record: RecordMaker) -> None:
    about = {"name": "gaussian", "epsilon": 0.1}
    old = make(record, "plainnet", "random-noise", fit="old", created="2026-01-01", fooled=10, **about)
    new = make(record, "plainnet", "random-noise", fit="new", created="2026-02-01", fooled=30, **about)
    (table,) = fooling_tables([*new, *old])
    assert [row["fooling rate"] for row in rows_of(table)] == [percent(30, 200)]


def test_curves_have_a_line_per_model_and_perturbation(measured: list[Record]) -> None:
    uap, noise = fooling_plots(measured)
    assert len(uap.figure.axes[0].lines) == 4
    assert points_of(uap)[0][0] == [0.02, 0.05]
    assert sorted(heights for _, heights in points_of(noise)) == [[5.0, 20.0], [10.0, 40.0]]
    assert "detrame" in uap.description and "random signs" in uap.description
    assert fooling_plots([it for it in measured if it.condition.epsilon in (0.02, 0.01)]) == []


def test_reports_hold_tables_figures_and_the_curves_as_csv(measured: list[Record], tmp_path: Path) -> None:
    paths = write_report(measured, [], tmp_path / "report", title="Fooling")
    curves = pd.read_csv(paths.folder / "fooling.csv")
    assert len(curves) == len(fooling_frame(measured))
    assert [path.suffix for path in paths.figures] == [".png", ".svg"] * 2
    assert "Universal perturbations" in paths.markdown.read_text() and "Random noise" in paths.page.read_text()


def test_fooling_rates_are_no_accuracies(measured: list[Record], record: RecordMaker) -> None:
    clean = record(correct=190, total=200, kind="clean", name="clean", run="plainnet", **RUNS["plainnet"])
    (table,) = headline_tables([clean, *measured])
    assert table.columns == ("run", "lambda policy", "clean")
    assert len(table.rows) == 1


def test_without_fooling_counts_there_is_nothing(records: list[Record], tmp_path: Path) -> None:
    assert fooling_tables(records) == [] and fooling_plots(records) == [] and fooling_frame(records).empty
    assert not (write_report(records, [], tmp_path / "report", title="None").folder / "fooling.csv").exists()
