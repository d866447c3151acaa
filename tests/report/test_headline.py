from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.threats import DEFAULT_EPSILON
from robustcsc.records import Record
from robustcsc.report.epsilon_curves import epsilon_tables
from robustcsc.report.headline import HEADLINE_BUDGETS, headline_plots, headline_tables
from robustcsc.report.words import MISSING

RecordMaker = Callable[..., Record]
ATTACK: dict[str, Any] = {"kind": "attack", "name": "pgd", "steps": 20, "policy": "none", "protocol": "plain"}


def attacked(record: RecordMaker, norm: str, levels: dict[float, int], **changes: Any) -> list[Record]:
    """PGD at budgets in grey levels, each with its number of right images out of 100."""
    return [
        record(correct=correct, total=100, norm=norm, epsilon=level / 255, **(ATTACK | changes))
        for level, correct in levels.items()
    ]


def test_the_headline_has_the_budgets_that_attacks_have_by_default() -> None:
    assert HEADLINE_BUDGETS == DEFAULT_EPSILON


@pytest.mark.parametrize(
    ("levels", "shown"), [({2: 40, 4: 20, 8: 10, 16: 0}, "8/255"), ({1: 50, 2: 40}, "2/255"), ({8: 10}, "8/255")]
)
def test_a_list_of_budgets_makes_one_headline_column(record: RecordMaker, levels: dict[float, int], shown: str) -> None:
    records = [record(correct=90, total=100, kind="clean", name="clean", policy="none")]
    records += attacked(record, "linf", levels)
    (table,) = headline_tables(records)
    assert table.columns[3:] == (f"PGD L∞ {shown}, 20 steps, plain",)
    assert (len(levels) > 1) == any("other budgets" in note for note in table.notes)
    (plot,) = headline_plots(records)
    assert len(plot.figure.axes[0].get_xticks()) == 2


def test_each_norm_and_set_of_images_has_its_own_budget(record: RecordMaker) -> None:
    records = attacked(record, "linf", {4: 20, 8: 10}) + attacked(record, "l2", {255: 5, 510: 1})
    records += attacked(record, "linf", {4: 30}, images="other")
    (table,) = headline_tables(records)
    assert [heading.partition(",")[0] for heading in table.columns[2:]] == ["PGD L2 2", "PGD L∞ 8/255", "PGD L∞ 4/255"]


def test_all_budgets_stand_in_the_table_over_epsilon(record: RecordMaker) -> None:
    records = attacked(record, "linf", {2: 40, 8: 10}) + attacked(record, "linf", {4: 20, 8: 11}, run="b")
    (table,) = epsilon_tables(records)
    assert table.columns[1:] == ("2/255", "4/255", "8/255")
    cells = [[cell.split()[0] for cell in row[1:]] for row in table.rows]
    assert cells == [[MISSING, "20.00", "11.00"], ["40.00", MISSING, "10.00"]]
    assert epsilon_tables(records[:1]) == []
