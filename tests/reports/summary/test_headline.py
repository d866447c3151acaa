from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import binomtest

from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import Dots
from robustcsc.presentation.table import Table
from robustcsc.reports.summary.headline import headline_charts, headline_tables

RecordMaker = Callable[..., Record]


def headings(table: Table) -> tuple[str, ...]:
    return tuple(column.heading for column in table.columns)


def cell(table: Table, column: str, *row: str) -> str:
    (found,) = [cells for cells in table.texts if cells[: len(row)] == row]
    return found[headings(table).index(column)]


def wilson(correct: int, total: int) -> str:
    ends = binomtest(correct, total).proportion_ci(method="wilson")
    return f"{100 * correct / total:.2f} [{100 * ends.low:.2f}, {100 * ends.high:.2f}]"


def attacked(attack: RecordMaker, norm: str, levels: dict[float, int], **how: Any) -> list[Record]:
    """PGD at budgets in grey levels, each with its number of right images out of 100."""
    return [attack(norm=norm, epsilon=level / 255, met=correct, total=100, **how) for level, correct in levels.items()]


@pytest.mark.parametrize(
    ("levels", "shown"), [({2: 40, 4: 20, 8: 10, 16: 0}, "8/255"), ({1: 50, 2: 40}, "2/255"), ({8: 10}, "8/255")]
)
def test_a_list_of_budgets_makes_one_headline_column(
    clean: RecordMaker, attack: RecordMaker, levels: dict[float, int], shown: str
) -> None:
    records = [clean(met=90, total=100), *attacked(attack, "linf", levels)]
    (table,) = headline_tables(records)
    assert headings(table)[3:] == (f"PGD L∞ {shown}, 20 steps, plain",)
    assert (len(levels) > 1) == any("other budgets" in note for note in table.notes)
    (chart,) = headline_charts(records)
    assert tuple(panel.title for panel in chart.panels) == headings(table)[2:]


def test_each_norm_and_set_of_images_has_its_own_budget(attack: RecordMaker) -> None:
    records = attacked(attack, "linf", {4: 20, 8: 10}) + attacked(attack, "l2", {255: 5, 510: 1})
    records += attacked(attack, "linf", {4: 30}, images="other")
    (table,) = headline_tables(records)
    assert [heading.partition(",")[0] for heading in headings(table)[2:]] == [
        *("PGD L2 2", "PGD L∞ 8/255", "PGD L∞ 4/255"),
    ]


def test_cells_have_n_and_interval(records: list[Record]) -> None:
    (table,) = headline_tables(records)
    # clean and corrupted on 10000 images, PGD on 1000: each in its own column
    assert cell(table, "clean", "sdnet", "training lambda") == f"{wilson(9520, 10000)} n=10000"
    assert cell(table, "gaussian noise", "sdnet", "adaptive lambda") == f"{wilson(6492, 10000)} n=10000"
    static = "PGD L∞ 8/255, 20 steps, static (a transfer test)"
    assert cell(table, static, "sdnet", "adaptive lambda") == f"{wilson(352, 1000)} n=1000"
    assert cell(table, "PGD L∞ 8/255, 20 steps, adaptive", "sdnet", "adaptive lambda") == f"{wilson(5, 1000)} n=1000"
    assert not any("fixed" in row[1] for row in table.texts)
    assert any("transfer test" in note for note in table.notes)


def test_the_chart_has_the_points_of_the_table(records: list[Record]) -> None:
    (chart,) = headline_charts(records)
    panels = [panel for panel in chart.panels if isinstance(panel, Dots)]
    # one corruption makes no mean, so that the panels are clean and the three protocols of PGD
    assert panels[0].title == "clean"
    assert len(panels) == 4
    shown = [dict(zip(panel.rows, panel.points, strict=True)) for panel in panels]
    points = {row: [it and it.value for panel in shown for it in [panel[row]]] for row in panels[0].rows}
    assert points["sdnet, training lambda"] == [0.952, 0.011, None, None]
    assert points["resnet, no lambda"] == [0.953, 0.001, None, None]
    assert headline_charts([it for it in records if it.total == 10000]) == []


def test_attacks_join_the_headline_of_every_source(attack: RecordMaker, corruption: RecordMaker) -> None:
    made = attack(met=7, total=10, norm="l2", epsilon=0.5)
    noisy = [corruption(met=5, total=10, source=source) for source in ("generated", "official")]
    tables = headline_tables([made, *noisy])
    assert ["official" in table.title for table in tables] == [False, True]
    assert all(table.texts[0][3].startswith("70.00") for table in tables)


def test_a_run_with_fixed_lambdas_only_keeps_its_rows(corruption: RecordMaker) -> None:
    (table,) = headline_tables([corruption(met=5000, policy="fixed=0.5", lam=0.5)])
    assert table.rows[0][:2] == ("sdnet", "fixed lambda 0.5")


def test_two_versions_of_published_files_have_columns_of_their_own(corruption: RecordMaker) -> None:
    made = [corruption(met=c, total=100, source="official", files=files) for c, files in ((80, "one"), (60, "two"))]
    (table,) = headline_tables(made)
    assert headings(table)[2:] == tuple(
        f"gaussian noise (100 images (0123456789abcdef, files {files}))" for files in ("one", "two")
    )
    assert [text.split()[0] for text in table.texts[0][2:]] == ["80.00", "60.00"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (
            ("gaussian_noise", "shot_noise", "spatter"),
            ("gaussian noise", "shot noise", "spatter", "mean of 2 noises"),
        ),
        (
            ("gaussian_noise", "shot_noise", "fog", "spatter"),
            ("gaussian noise", "shot noise", "spatter", "mean of 2 noises", "mean of 3 standard corruptions"),
        ),
        (("gaussian_noise", "fog", "spatter"), ("gaussian noise", "fog", "spatter", "mean of 2 standard corruptions")),
        (("fog", "spatter"), ("fog", "spatter")),
    ],
)
def test_a_corruption_that_no_mean_covers_has_a_column_of_its_own(
    corruption: RecordMaker, names: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    (table,) = headline_tables([corruption(name, met=60, total=100) for name in names])
    assert headings(table)[2:] == shown
    assert cell(table, "spatter", "sdnet").startswith("60.00 [")


def test_nothing_gives_no_headline(minimal: RecordMaker) -> None:
    assert headline_tables([]) == headline_tables([minimal(met=1)]) == []
    assert headline_charts([]) == []
