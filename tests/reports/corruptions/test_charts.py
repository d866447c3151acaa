from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import Chart, Dots, HeatMap, Line, Panel
from robustcsc.presentation.drawn_chart import draw
from robustcsc.reports.corruptions.charts import heat_maps, lambda_charts, noise_charts, severity_charts

RecordMaker = Callable[..., Record]


def lines(chart: Chart) -> dict[str, Line]:
    """The lines of a chart of one panel by the name of their series."""
    (panel,) = chart.panels
    assert isinstance(panel, Panel)
    return {chart.series[line.series].label: line for line in panel.lines if line.series is not None}


def test_lines_run_through_the_measured_accuracies(records: list[Record]) -> None:
    (chart,) = severity_charts(records)
    drawn = lines(chart)
    adaptive = drawn["sdnet, adaptive lambda"]
    assert adaptive.x == (1, 2, 3, 4, 5)
    assert adaptive.y == pytest.approx((84.76, 74.87, 61.38, 54.77, 48.84))
    # Wilson interval of 8476 in 10000 by hand: (0.8476 + 0.000192 -+ 0.007047) / 1.000384
    assert (adaptive.low[0], adaptive.high[0]) == pytest.approx((84.043, 85.451), abs=2e-3)
    assert len(drawn) == 4  # resnet, training, adaptive, oracle; fixed lambdas have a chart of their own
    assert "oracle lambda (uses test labels)" in chart.description


def test_lambda_curves_have_a_line_per_severity_and_mark_its_peak(records: list[Record]) -> None:
    (chart,) = lambda_charts(records)
    drawn = lines(chart)
    assert [line.x for line in drawn.values()] == [(0.1, 0.5, 0.9)] * 5
    # the counts peak at 0.2 x severity: of 0.1, 0.5 and 0.9, severity 1 is best at 0.1, 3 at 0.5 and 5 at 0.9
    assert [drawn[f"severity {severity}"].marked for severity in (1, 3, 5)] == [(0,), (1,), (2,)]


def test_noise_families_pool_only_when_all_are_there(corruption: RecordMaker) -> None:
    made = [corruption(name, met=c, total=100) for name, c in (("gaussian_noise", 80), ("shot_noise", 60))]
    made.append(corruption(met=10, total=100, run="half"))
    (chart,) = noise_charts(made)
    panels = [it for it in chart.panels if isinstance(it, Dots)]
    assert [it.title for it in panels] == ["gaussian noise", "shot noise", "all 2"]
    assert {it.rows for it in panels} == {("half, no lambda", "sdnet, no lambda")}
    shares = [[point and point.value for point in it.points] for it in panels]
    assert shares == [[0.1, 0.8], [None, 0.6], [None, pytest.approx(0.7)]]


def test_heat_maps_have_a_row_per_corruption_and_gaps_where_nothing_was_measured(corruption: RecordMaker) -> None:
    made = [corruption("fog", 1, met=80, total=100), corruption("fog", 3, met=60, total=100)]
    made.append(corruption("gaussian_noise", 3, met=10, total=100))
    (chart,) = heat_maps(made)
    (shown,) = chart.panels
    assert isinstance(shown, HeatMap)
    assert (shown.rows, shown.columns) == (("gaussian noise", "fog"), ("1", "3"))
    assert shown.values == ((None, 10.0), (80.0, 60.0))
    assert shown.title == "sdnet\nno lambda"
    assert heat_maps(made[:2]) == []


def test_nothing_draws_nothing(clean: RecordMaker) -> None:
    for build in (severity_charts, noise_charts, lambda_charts, heat_maps):
        assert build([]) == build([clean(met=1, total=2)]) == []


def test_the_order_of_records_changes_no_chart(records: list[Record]) -> None:
    for build in (severity_charts, noise_charts, lambda_charts):
        assert build(records) == build(records[::-1])


def test_names_with_dollars_underscores_and_tags_are_drawn_as_they_are(corruption: RecordMaker) -> None:
    (chart,) = severity_charts([corruption(met=1, total=2, run=r"_<script>$\bad$&")])
    drawing = draw(chart)
    svg = drawing.to_svg()
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    (legend,) = drawing.figure.legends
    assert r"_<script>\$\bad\$&" in legend.get_texts()[0].get_text()  # escaped dollars are drawn as plain dollars
