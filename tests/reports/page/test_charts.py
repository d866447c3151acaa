from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.presentation.chart import Chart
from robustcsc.presentation.html_chart import html_chart
from robustcsc.presentation.interactive import chart_data
from robustcsc.reports.attacks.tables import epsilon_charts
from robustcsc.reports.corruptions.charts import heat_maps, lambda_charts, severity_charts
from robustcsc.reports.summary.lambda_fits import residual_charts

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]


def read(made: Chart) -> dict[str, Any]:
    """The chart as the page gets it: JSON of plain types only."""
    found: dict[str, Any] = json.loads(json.dumps(chart_data(made), allow_nan=False))
    return found


def traces(drawn: dict[str, Any], panel: int = 0) -> dict[str, Any]:
    return {
        drawn["legend"][it["line"]]["label"]: it for it in drawn["panels"][panel]["traces"] if it["line"] is not None
    }


def test_lines_have_their_names_points_and_wilson_intervals(records: list[Record]) -> None:
    (made,) = severity_charts(records)
    drawn = read(made)
    line = traces(drawn)["sdnet, adaptive lambda"]
    assert line["x"] == [1, 2, 3, 4, 5]
    assert line["y"] == [84.76, 74.87, 61.38, 54.77, 48.84]
    ends = [wilson_interval(correct, 10000) for correct in (8476, 7487, 6138, 5477, 4884)]
    assert line["low"] == pytest.approx([100 * low for low, _ in ends], abs=1e-6)
    assert line["high"] == pytest.approx([100 * high for _, high in ends], abs=1e-6)
    assert set(traces(drawn)) == {
        "resnet, no lambda",
        "sdnet, training lambda",
        "sdnet, adaptive lambda",
        "sdnet, oracle lambda (uses test labels)",
    }
    assert len({(it["colour"], it["symbol"], it["dash"]) for it in drawn["legend"]}) == 4


def test_lambda_curves_mark_the_best_lambda(records: list[Record]) -> None:
    drawn = read(lambda_charts(records)[0])
    curves = [it for it in drawn["panels"][0]["traces"] if len(it["x"]) == 3]
    peaks = [it for it in drawn["panels"][0]["traces"] if len(it["x"]) == 1]
    assert [drawn["legend"][it["line"]]["label"] for it in curves] == [f"severity {at}" for at in range(1, 6)]
    assert [it["x"][0] for it in peaks][::2] == [0.1, 0.5, 0.9]
    assert [it["line"] for it in peaks] == [it["line"] for it in curves]


def test_the_residual_fit_has_points_and_an_unnamed_line(fit: FitMaker) -> None:
    (made,) = residual_charts([fit()])
    panel = read(made)["panels"][0]
    points, line = panel["traces"]
    assert (points["x"], points["y"]) == ([1, 5, 9], [0.1, 0.5, 0.9])
    assert (line["line"], line["colour"]) == (None, "#000000")
    assert line["y"] == pytest.approx([0.1, 0.9])


def test_a_heat_map_holds_percent_by_corruption_and_severity(corruption: RecordMaker) -> None:
    measured = [
        corruption(name, severity, met=10 * at + severity, total=100)
        for at, name in enumerate(("fog", "gaussian_noise"))
        for severity in (1, 2)
    ]
    measured.pop()  # gaussian noise at severity 2 was not measured
    (made,) = heat_maps(measured)
    page = html_chart(made)
    assert re.findall(r'scope="(?:row|col)">([^<]*)<', page) == ["1", "2", "gaussian noise", "fog"]
    assert re.findall(r">([\d.]*)</td>", page) == ["11.0", "", "1.0", "2.0"]


def test_one_corruption_makes_no_map(records: list[Record]) -> None:
    assert heat_maps(records) == []


def test_accuracy_over_epsilon(attack: RecordMaker) -> None:
    measured = [attack(met=n, total=100, epsilon=e, policy="train") for e, n in ((0.0, 90), (0.02, 40), (0.1, 0))]
    (made,) = epsilon_charts([*measured, attack("fgsm", met=5, total=100, epsilon=0.02, policy="train")])
    drawn = read(made)
    assert [it["label"] for it in drawn["legend"]] == ["sdnet, training lambda, PGD, 20 steps"]
    assert (drawn["panels"][0]["traces"][0]["x"], drawn["panels"][0]["traces"][0]["y"]) == ([0, 0.02, 0.1], [90, 40, 0])


def test_names_are_as_they_were_given(corruption: RecordMaker) -> None:
    name = r"_<b>$x$</b>"
    (made,) = severity_charts([corruption(met=1, total=2, run=name)])
    assert read(made)["legend"][0]["label"] == f"{name}, no lambda"


def test_many_rows_leave_a_chart_readable_and_say_so(corruption: RecordMaker) -> None:
    (made,) = severity_charts([corruption(met=at, total=100, run=f"run{at:02}") for at in range(40)])
    drawn = read(made)
    styles = {(it["colour"], it["symbol"], it["dash"]) for it in drawn["legend"]}
    assert len(styles) == len(drawn["legend"]) < 40
    assert f"the first {len(styles)} of 40 lines" in made.description
