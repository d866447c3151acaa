from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.records import CraftingDetails, Record
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.presentation.chart import MOST_LINES, Chart, Panel
from robustcsc.presentation.table import Table
from robustcsc.reports.attacks.fooling import fooling_charts, fooling_tables

RecordMaker = Callable[..., Record]

DETAILS = CraftingDetails(converged=False, fooled=45, passes=4, file="uap.safetensors")
CRAFTING = {"images": "feed", "count": 60, "batch_size": 20}
CRAFTED = "crafted on 60 train images (feed), delta 0.2, batches of 20"
RUNS: dict[str, dict[str, Any]] = {
    "plainnet": {"run": "plainnet", "model": "plainnet3", "weights": "aa" * 32},
    "detrame": {"run": "detrame", "model": "detrame_plainnet3", "weights": "bb" * 32},
}


def both(make: RecordMaker, *words: Any, fooled: int, **how: Any) -> list[Record]:
    """The two metrics of one measurement: 200 images, of which 100 are correct."""
    counts = (("fooling rate", fooled, 200), ("fooling rate of correct images", fooled // 2, 100))
    return [make(*words, metric=metric, met=correct, total=total, **how) for metric, correct, total in counts]


def crafted(universal: RecordMaker, fooled: int, **how: Any) -> list[Record]:
    crafting = CRAFTING | how.pop("crafting", {})
    return both(universal, fooled=fooled, crafting=crafting, details=DETAILS, **(RUNS["plainnet"] | how))


@pytest.fixture
def measured(universal: RecordMaker, control: RecordMaker, random_noise: RecordMaker) -> list[Record]:
    found = []
    for run, factor in (("plainnet", 2), ("detrame", 1)):
        for xi, fooled in ((0.02, 20), (0.05, 50)):
            found += crafted(universal, factor * fooled, epsilon=xi, **RUNS[run])
            for seed in range(3):
                found += both(control, "random-sign", seed=seed, fooled=4 + 2 * seed, epsilon=xi, **RUNS[run])
        for rho, fooled in ((0.01, 10), (0.1, 40)):
            for seed in range(2):
                found += both(random_noise, rho, seed=seed, fooled=factor * fooled + seed, **RUNS[run])
    return found


def rows_of(table: Table) -> list[dict[str, str]]:
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, row, strict=True)) for row in table.texts]


def points_of(chart: Chart) -> list[tuple[tuple[float, ...], list[float]]]:
    (panel,) = chart.panels
    assert isinstance(panel, Panel)
    return [(line.x, [round(y, 6) for y in line.y]) for line in panel.lines]


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


def test_perturbations_crafted_in_different_ways_are_told_apart(universal: RecordMaker) -> None:
    (table,) = fooling_tables([*crafted(universal, 10), *crafted(universal, 20, crafting={"count": 90})])
    assert {row["crafting"]: row["fooling rate"] for row in rows_of(table)} == {
        CRAFTED: percent(10, 200),
        CRAFTED.replace("60", "90"): percent(20, 200),
    }


def test_seeds_of_a_perturbation_are_averaged(universal: RecordMaker) -> None:
    found = crafted(universal, 10, seconds=1.0) + crafted(universal, 30, seconds=3.0, crafting={"seed": 1})
    (table,) = fooling_tables(found)
    (row,) = rows_of(table)
    assert row["fooling rate"] == f"10.00 ± {math.sqrt(50):.2f} (2 seeds)"
    assert (row["passes"], row["seconds"]) == ("4", "1.0 / 3.0")


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


def test_the_newest_fit_of_a_change_counts(random_noise: RecordMaker) -> None:
    about = {"policy": "adaptive", **RUNS["plainnet"]}
    old = both(random_noise, 0.1, fit="01d" * 4, created="2026-01-01", fooled=10, **about)
    new = both(random_noise, 0.1, fit="4ee" * 4, created="2026-02-01", fooled=30, **about)
    (table,) = fooling_tables([*new, *old])
    assert [row["fooling rate"] for row in rows_of(table)] == [percent(30, 200)]


def test_curves_have_a_line_per_model_and_perturbation(measured: list[Record]) -> None:
    uap, noise = fooling_charts(measured)
    assert len(points_of(uap)) == len(uap.legend) == 4
    assert points_of(uap)[0][0] == (0.02, 0.05)
    assert sorted(heights for _, heights in points_of(noise)) == [[5.25, 20.25], [10.25, 40.25]]  # 10.5 of 200, ...
    assert "detrame" in uap.description and "random signs" in uap.description
    single = [it for it in measured if getattr(it.measurement.perturbation, "rho", None) == 0.01]
    assert fooling_charts(single) == []


def test_of_many_curves_the_first_are_drawn(random_noise: RecordMaker) -> None:
    runs = [{"run": f"run{at:02}", "weights": f"{at:02}" * 32} for at in range(20)]
    (chart,) = fooling_charts(
        [it for rho in (0.1, 0.2) for how in runs for it in both(random_noise, rho, fooled=4, **how)]
    )
    assert len(points_of(chart)) == len(chart.legend) == MOST_LINES < 20
    assert f"the first {MOST_LINES} of 20 lines" in chart.description and "run14" not in chart.description


def test_without_fooling_counts_there_is_nothing(records: list[Record]) -> None:
    assert fooling_tables(records) == [] and fooling_charts(records) == []
