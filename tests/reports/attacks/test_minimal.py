from __future__ import annotations

import math
from collections.abc import Callable

from robustcsc.measurements.records import BudgetDetails, Cost, Record
from robustcsc.presentation.chart import MOST_LINES, Panel
from robustcsc.presentation.table import Worded
from robustcsc.reports.attacks.minimal import minimal_charts, minimal_tables

RecordMaker = Callable[..., Record]
COST = Cost(attacked=8, forward_calls=1, gradient_calls=1)


def searched(minimal: RecordMaker, levels: list[int], **how: object) -> Record:
    """The smallest budgets of images in sixteenths of 0.16."""
    details = BudgetDetails(levels=4, minimal=bytes(levels), cost=COST)
    about = {"epsilon": 0.16, "protocol": "adaptive", "policy": "adaptive-image", "details": details}
    return minimal(met=levels.count(255), total=len(levels), **(about | how))


def test_smallest_budgets_have_quartiles(minimal: RecordMaker) -> None:
    (table,) = minimal_tables([searched(minimal, [0, 1, 2, 4, 8, 16, 255, 255])])
    assert table.texts[0][4:7] == ("0.01", "0.04", "0.16")
    assert table.texts[0][-1].startswith("25.00")


def test_a_quartile_beyond_the_largest_budget_is_said(minimal: RecordMaker) -> None:
    (table,) = minimal_tables([searched(minimal, [1, 8, 255, 255])])
    assert table.texts[0][4:6] == ("0.01", "0.08")
    assert table.rows[0][6] == Worded(math.inf, "more than 0.16")


def test_the_curve_is_the_share_that_no_smaller_budget_broke(minimal: RecordMaker) -> None:
    (chart,) = minimal_charts([searched(minimal, [0, 1, 2, 4, 8, 16, 255, 255])])
    (panel,) = chart.panels
    assert isinstance(panel, Panel)
    curve = {round(100 * x, 6): y for x, y in zip(panel.lines[0].x, panel.lines[0].y, strict=True)}
    assert (curve[0], curve[1], curve[16]) == (87.5, 75.0, 25.0) and len(curve) == 17
    assert [it.label for it in chart.legend] == ["sdnet, adaptive lambda per image, PGD L∞ 0.16, 20 steps, adaptive"]


def test_of_several_searches_that_of_the_newest_fit_is_shown(minimal: RecordMaker) -> None:
    old = searched(minimal, [1, 1, 1, 1], fit="01d" * 4, created="2026-01-01")
    new = searched(minimal, [8, 8, 8, 8], fit="4ee" * 4, created="2026-02-01")
    (table,), (chart,) = minimal_tables([new, old]), minimal_charts([new, old])
    assert [row[5] for row in table.texts] == ["0.08"] and len(chart.legend) == 1


def test_of_many_searches_the_first_are_drawn(minimal: RecordMaker) -> None:
    made = [searched(minimal, [1, 8], run=f"run{at:02}", weights=f"{at:02}" * 32) for at in range(20)]
    (chart,), (table,) = minimal_charts(made), minimal_tables(made)
    assert len(chart.legend) == MOST_LINES < len(table.rows) == 20
    assert f"the first {MOST_LINES} of 20 lines" in chart.description and "run14" not in chart.description
