from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Record
from robustcsc.report import (
    all_plots,
    fit_curve_plots,
    lambda_plots,
    noise_plots,
    residual_plots,
    severity_plots,
)

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]


def line_of(ax: Axes, length: int) -> list[Line2D]:
    return [line for line in ax.get_lines() if len(points(line)) == length]


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_lines_run_through_the_measured_accuracies(records: list[Record]) -> None:
    (plot,) = severity_plots(records)
    (ax,) = plot.figure.axes
    drawn = [points(line) for line in line_of(ax, 5)]
    assert [(1.0, 84.76), (2.0, 74.87), (3.0, 61.38), (4.0, 54.77), (5.0, 48.84)] in [
        [(x, round(y, 9)) for x, y in line] for line in drawn
    ]
    assert len(drawn) == 4  # resnet, training, adaptive, oracle; fixed lambdas have a figure of their own
    assert "oracle lambda (uses test labels)" in plot.description


def test_lambda_curves_have_a_line_per_severity_and_mark_its_peak(records: list[Record]) -> None:
    (plot,) = lambda_plots(records)
    (ax,) = plot.figure.axes
    assert len(line_of(ax, 3)) == 5
    # the counts peak at 0.2 x severity: of 0.1, 0.5 and 0.9, severity 1 is best at 0.1, 3 at 0.5 and 5 at 0.9
    peaks = [points(line)[0][0] for line in line_of(ax, 1)]
    assert (peaks[0], peaks[2], peaks[4]) == (0.1, 0.5, 0.9)


def test_the_residual_fit_draws_points_line_and_r2(fit: FitMaker) -> None:
    (plot,) = residual_plots([fit(), fit("shot")])
    assert len(plot.figure.axes) == 2
    ax = plot.figure.axes[0]
    assert points(line_of(ax, 3)[0]) == [(1.0, 0.1), (5.0, 0.5), (9.0, 0.9)]
    (ends,) = [points(line) for line in line_of(ax, 2)]
    assert [y for _, y in ends] == pytest.approx([0.1, 0.9])  # lambda = 0 + 0.1 r from r = 1 to r = 9
    assert "R² = 1.000" in ax.get_title(loc="left")


def test_fit_curves_have_a_line_per_level(fit: FitMaker) -> None:
    (plot,) = fit_curve_plots([fit()])
    drawn = [points(line) for line in line_of(plot.figure.axes[0], 3)]
    assert [[round(y, 6) for _, y in line] for line in drawn] == [[90, 88, 80], [60, 78, 70], [30, 50, 62]]


def test_noise_families_pool_only_when_all_are_there(record: RecordMaker) -> None:
    made = [record(correct=c, total=100, severity=1, name=n) for n, c in (("gaussian_noise", 80), ("shot_noise", 60))]
    made.append(record(correct=10, total=100, severity=1, run="half"))
    (plot,) = noise_plots(made)
    heights = sorted([round(y, 6) for _, y in points(line)] for line in plot.figure.axes[0].get_lines()[::3])
    assert heights == [[10], [80, 60, 70]]


def test_nothing_draws_nothing(record: RecordMaker) -> None:
    assert all_plots([], []) == []
    assert all_plots([record(correct=1, total=2, kind="clean", name="clean")], []) == []


def test_names_with_dollars_underscores_and_tags_are_drawn_as_they_are(record: RecordMaker) -> None:
    (plot,) = severity_plots([record(correct=1, total=2, severity=1, run=r"_<script>$\bad$&")])
    svg = plot.to_svg()
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    (legend,) = plot.figure.legends
    assert r"_<script>\$\bad\$&" in legend.get_texts()[0].get_text()  # escaped dollars are drawn as plain dollars


def test_the_same_figure_gives_the_same_bytes(records: list[Record]) -> None:
    (first,), (second,) = severity_plots(records), severity_plots(records[::-1])
    assert first.to_svg() == second.to_svg()
    assert first.to_png() == second.to_png()
    assert first.to_png().startswith(b"\x89PNG")


def test_ids_of_two_figures_in_one_page_differ(records: list[Record]) -> None:
    ids = []
    for plot in all_plots(records, []):
        root = ElementTree.fromstring(plot.to_svg())
        ids += [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
