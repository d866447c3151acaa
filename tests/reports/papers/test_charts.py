from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import Chart, Line, Panel
from robustcsc.presentation.drawn_chart import draw
from robustcsc.reports.papers.papers import paper_charts
from tests.reports.trained import run_of, training

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]
COLUMN = 3.25  # inches: one of two columns of a paper


def panels(chart: Chart) -> list[Panel]:
    return [panel for panel in chart.panels if isinstance(panel, Panel)]


def points(line: Line) -> tuple[list[float], ...]:
    return tuple([round(it, 6) for it in part] for part in (line.x, line.y))


def test_sdnet_2_has_a_panel_per_noise_and_marks_the_best_lambda(records: list[Record]) -> None:
    (chart,) = paper_charts("sdnet", records, [])
    (panel,) = panels(chart)
    assert panel.title == "gaussian noise"
    assert points(panel.lines[0]) == ([0.1, 0.5, 0.9], [79.6, 76.4, 60.4])  # 9000 - 1000 - 4000 (lambda - 0.2)^2
    assert panel.lines[0].marked == (0,)
    assert [it.label for it in chart.legend] == [f"severity {at}" for at in range(1, 6)]


def test_sdnet_3_has_crosses_and_the_line_through_them(fit: FitMaker) -> None:
    (chart,) = paper_charts("sdnet", [], [fit("shot"), fit("gaussian")])
    assert [panel.title for panel in panels(chart)] == ["gaussian noise", "shot noise"]
    crosses, line = panels(chart)[0].lines
    assert points(crosses) == ([1.0, 5.0, 9.0], [0.1, 0.5, 0.9])
    assert points(line) == ([1.0, 9.0], [0.1, 0.9])
    assert (chart.series[0].marker, chart.series[0].dashes, line.series) == ("x", "", None)


def test_detrame_2_to_4_average_the_seeds(
    clean: RecordMaker, universal: RecordMaker, random_noise: RecordMaker
) -> None:
    known = [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]
    made = [clean(met=correct, **run_of(it)) for it, correct in zip(known, (8000, 7900, 8300, 8400), strict=True)]
    for at, it in enumerate(known):
        for size in (0.01, 0.02):
            how: dict[str, Any] = {"met": round(1000 * (at + 1) * size * 100), **run_of(it)}
            made += [universal(epsilon=size, **how), random_noise(size, **how)]
    second, third, fourth = paper_charts("detrame", made, [], known)
    assert [chart.name[-1] for chart in (second, third, fourth)] == ["2", "3", "4"]
    assert sorted(map(points, panels(second)[0].lines)) == [([0.078042], [79.5]), ([0.131], [83.5])]
    for chart, title in ((third, "cifar10, L∞"), (fourth, "cifar10")):
        (panel,) = panels(chart)
        assert panel.title == title
        theirs, ours = sorted(panel.lines, key=lambda line: -line.y[0])
        assert points(ours) == ([0.01, 0.02], [15.0, 30.0])
        assert points(theirs) == ([0.01, 0.02], [35.0, 70.0])
        assert ours.low == pytest.approx([15 - 5 * 2**0.5, 30 - 10 * 2**0.5])  # 10 and 20 %, 20 and 40 %
        assert ours.high == pytest.approx([15 + 5 * 2**0.5, 30 + 10 * 2**0.5])
        assert {it.label: it.dashes for it in chart.series} == {"detrame-resnet8": "solid", "resnet8": "dash"}


def test_nothing_measured_draws_nothing(clean: RecordMaker) -> None:
    made = [clean(met=1, total=2)]
    assert paper_charts("sdnet", made, []) == paper_charts("detrame", made, []) == []
    assert paper_charts("res-msd-csc", made, []) == paper_charts("tddl", made, []) == []


def test_pdf_and_svg_fit_a_column_and_need_no_font(records: list[Record], fit: FitMaker) -> None:
    charts = paper_charts("sdnet", records, [fit()])
    assert [chart.name.partition("-sdnet-figure-")[2][0] for chart in charts] == ["2", "3"]
    for chart in charts:
        pdf = draw(chart, narrow=True).to_pdf()
        box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", pdf)
        assert box and float(box[1]) == 72 * COLUMN
        streams = [
            zlib.decompressobj().decompress(it) for it in re.findall(rb"stream\r?\n(\x78.*?)endstream", pdf, re.S)
        ]
        whole = pdf + b"".join(streams)
        assert b"/FontFile2" in whole and b"/Type3" not in whole
        assert b"CreationDate" not in whole
        assert pdf == draw(chart, narrow=True).to_pdf()
        svg = draw(chart, narrow=True).to_svg()
        assert "<text" not in svg and f'width="{72 * COLUMN:g}pt"' in svg
