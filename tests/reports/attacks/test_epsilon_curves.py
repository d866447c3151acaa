from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import MOST_LINES, Panel
from robustcsc.presentation.words import MISSING
from robustcsc.reports.attacks.tables import epsilon_charts, epsilon_tables

RecordMaker = Callable[..., Record]


def curve(attack: RecordMaker, levels: dict[float, int], **how: Any) -> list[Record]:
    """PGD at budgets in grey levels, each with its number of right images out of 100."""
    return [attack(met=n, total=100, epsilon=level / 255, **how) for level, n in levels.items()]


def test_all_budgets_stand_in_the_table(attack: RecordMaker) -> None:
    records = curve(attack, {2: 40, 8: 10}) + curve(attack, {4: 20, 8: 11}, run="b")
    (table,) = epsilon_tables(records)
    assert [column.heading for column in table.columns[1:]] == ["2/255", "4/255", "8/255"]
    assert [[cell.split()[0] for cell in row[1:]] for row in table.texts] == [
        [MISSING, "20.00", "11.00"],
        ["40.00", MISSING, "10.00"],
    ]
    assert epsilon_tables(records[:1]) == []


def test_a_line_has_the_accuracy_at_every_budget(attack: RecordMaker) -> None:
    records = curve(attack, {0: 90, 8: 40, 16: 0}, policy="train")
    records += curve(attack, {8: 5}, policy="train", norm="l2")  # one budget: no line, and no panel
    records += curve(attack, {8: 30, 16: 10}, policy="adaptive", protocol="adaptive")
    (chart,) = epsilon_charts(records)
    (panel,) = chart.panels
    assert isinstance(panel, Panel) and panel.title == "L∞"
    plain, adaptive = panel.lines
    assert (plain.x, plain.y) == ((0, 8 / 255, 16 / 255), (90, 40, 0))
    assert plain.low[0] < 90 < plain.high[0]
    assert [series.label for series in chart.legend] == [
        "sdnet, training lambda, PGD, 20 steps",
        "sdnet, adaptive lambda, PGD, 20 steps, adaptive",
    ]
    assert adaptive.y == (30, 10)


def test_of_too_many_lines_the_first_are_drawn_and_that_is_said(attack: RecordMaker) -> None:
    records = [it for at in range(20) for it in curve(attack, {4: 50, 8: at}, run=f"run{at:02}")]
    (chart,) = epsilon_charts(records)
    assert len(chart.legend) == MOST_LINES < 20
    assert f"the first {MOST_LINES} of 20 lines" in chart.description
    assert len(epsilon_tables(records)[0].rows) == 20
