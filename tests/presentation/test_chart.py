from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from robustcsc.presentation.chart import (
    MOST_LINES,
    Chart,
    Dots,
    HeatMap,
    Line,
    Panel,
    Series,
    dot_plot,
    levelled_series,
    numbered_series,
    percent_line,
)
from robustcsc.presentation.colours import COLOURS, SHADES, shade
from robustcsc.presentation.drawing import Drawing
from robustcsc.presentation.drawn_chart import draw
from robustcsc.presentation.html_chart import html_chart
from robustcsc.presentation.interactive import chart_data
from robustcsc.presentation.table import Estimate

LABELS = ("sdnet, training lambda", "_resnet $x$, no lambda")
CURVE = {5.0: Estimate(0.25, 0.2, 0.3), 1.0: Estimate(0.75, 0.7, 0.8), 3.0: Estimate(0.5, 0.4, 0.6)}
OTHER = {1.0: Estimate(0.9, 0.9, 0.95), 5.0: Estimate(0.1, 0.05, 0.1)}


def severity_chart(*, same_heights: bool = True) -> Chart:
    left = Panel(
        "fog", "severity", "accuracy (%)", (percent_line(0, CURVE), percent_line(1, OTHER)), ticks=(1.0, 3.0, 5.0)
    )
    right = Panel("snow", "severity", "accuracy (%)", (percent_line(1, CURVE),))
    return Chart("severity", "By severity", "Lines.", (left, right), numbered_series(LABELS), same_heights)


def is_text(drawn: Artist, words: str) -> bool:
    return isinstance(drawn, Text) and drawn.get_text() == words


def read(chart: Chart) -> dict[str, Any]:
    """The chart as the page gets it: JSON of plain types only."""
    found: dict[str, Any] = json.loads(json.dumps(chart_data(chart), allow_nan=False))
    return found


def drawn_lines(ax: Axes) -> list[tuple[str, list[float], list[float]]]:
    lines = (it for it in ax.lines if np.size(it.get_xdata()))
    return [(to_hex(it.get_color()), *(np.asarray(data).tolist() for data in it.get_data())) for it in lines]


@pytest.mark.parametrize("narrow", [False, True])
def test_panels_are_of_one_size_and_their_words_meet_no_others(narrow: bool) -> None:
    chart = severity_chart(same_heights=False)
    figure = draw(replace(chart, panels=2 * chart.panels), narrow=narrow).figure
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    boxes = [box for ax in figure.axes if (box := ax.get_tightbbox(renderer))]
    boxes.append(figure.legends[0].get_window_extent(renderer))
    for at, box in enumerate(boxes):
        inside = Bbox.intersection(box, figure.bbox)
        assert inside and inside.bounds == pytest.approx(box.bounds)
        assert not box.count_overlaps(boxes[:at])
    sizes = np.array([ax.get_position().size for ax in figure.axes])
    np.testing.assert_allclose(sizes, sizes[:1].repeat(4, axis=0))
    assert (sizes > 0.2).all()  # most of a quarter


def test_a_title_gives_way_to_the_factor_of_an_axis() -> None:
    tiny = Panel("tiny", "x", "y", (Line(0, (1, 2), (1e-7, 2e-7)),))
    figure = draw(Chart("tiny", "Tiny", "A line.", (tiny,), numbered_series(LABELS))).figure
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    factor, title = figure.axes[0].yaxis.get_offset_text(), *figure.findobj(lambda it: is_text(it, "tiny"))
    assert "e" in factor.get_text()
    assert not factor.get_window_extent(renderer).overlaps(title.get_window_extent(renderer))


def test_a_curve_is_ordered_and_in_percent() -> None:
    line = percent_line(0, CURVE)
    assert (line.x, line.y) == ((1, 3, 5), (75, 50, 25))
    assert (line.low, line.high) == ((70, 40, 20), (80, 60, 30))
    assert percent_line(0, {1.0: Estimate(0.5)}).low == ()


def test_of_equal_best_points_the_first_is_marked() -> None:
    line = percent_line(0, {0.1: Estimate(0.5), 0.9: Estimate(0.8), 0.5: Estimate(0.8)}, mark_best=True)
    assert (line.marked, line.x[1]) == ((1,), 0.5)


def test_a_line_with_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="as many heights"):
        Line(0, (1, 2), (1,))
    with pytest.raises(ValueError, match="ends of intervals"):
        Line(0, (1, 2), (1, 2), low=(0,), high=(2, 3))


def test_numbered_series_can_be_told_apart() -> None:
    series = numbered_series(list(map(str, range(MOST_LINES))))
    assert len({(it.colour, it.marker, it.dashes) for it in series}) == MOST_LINES
    assert {it.dashes for it in numbered_series("ab", joined=False)} == {""}


def test_shades_are_those_of_cividis() -> None:
    ours = np.array([[int(shade(at / 50)[i : i + 2], 16) for i in (1, 3, 5)] for at in range(51)])
    theirs = 255 * np.array([mpl.colormaps["cividis"](at / 50)[:3] for at in range(51)])
    assert np.abs(ours - theirs).max() < 20  # of 255: nine colours, and straight lines between them
    assert np.abs(ours - theirs).mean() < 2
    assert [shade(at / 8) for at in range(9)] == list(SHADES)
    levels = levelled_series(["1", "2", "3"])
    light = [sum(int(it.colour[i : i + 2], 16) for i in (1, 3, 5)) for it in levels]
    assert light == sorted(light, reverse=True)


def test_a_legend_names_what_is_drawn_and_has_a_name() -> None:
    series = (Series("a", COLOURS[0]), Series("b", COLOURS[1]), Series("", COLOURS[2]))
    panel = Panel("", "x", "y", (Line(2, (0, 1), (0, 1)), Line(0, (0, 1), (1, 2)), Line(None, (0, 1), (0, 1))))
    assert Chart("c", "t", "d", (panel,), series).legend == series[:1]


def test_both_renderings_carry_the_numbers_of_the_chart() -> None:
    chart = severity_chart()
    page, figure = read(chart), draw(chart).figure
    for panel, of_page, ax in zip(chart.panels, page["panels"], figure.axes, strict=True):
        assert isinstance(panel, Panel)
        drawn = drawn_lines(ax)
        for line, trace, (colour, xs, ys) in zip(panel.lines, of_page["traces"], drawn, strict=True):
            assert (trace["x"], trace["y"]) == (list(line.x), list(line.y)) == (xs, ys)
            assert (trace["low"], trace["high"]) == (list(line.low), list(line.high))
            assert page["legend"][trace["line"]]["label"] == LABELS[line.series or 0]
            assert page["legend"][trace["line"]]["colour"].lower() == colour
        bands = [path.vertices for band in ax.collections for path in band.get_paths()]
        ends = [{float(end) for end in np.asarray(band)[:, 1]} for band in bands]
        assert ends == [{*line.low, *line.high} for line in panel.lines]
        assert of_page["range"] == pytest.approx(ax.get_ylim())


def test_panels_share_their_heights_if_asked() -> None:
    shared, own = (
        [panel["range"] for panel in read(severity_chart(same_heights=it))["panels"]] for it in (True, False)
    )
    assert shared == [pytest.approx([5 - 4.5, 95 + 4.5])] * 2  # the lowest and the highest end, and a twentieth
    assert own[0] == shared[0]
    assert own[1] == pytest.approx([20 - 3, 80 + 3])


def test_ticks_name_places() -> None:
    panel, free = read(severity_chart())["panels"]
    assert (panel["ticks"], panel["ticktext"], panel["span"]) == ([1, 3, 5], ["1", "3", "5"], pytest.approx([0.8, 5.2]))
    assert "ticks" not in free


def dots() -> Chart:
    rows: dict[str, list[Estimate | None]]
    rows = {
        "a, <no> lambda": [Estimate(0.5, 0.4, 0.6), None],
        "b": [Estimate(0.75), Estimate(0.25, 0.2, 0.3)],
    }
    return dot_plot("g", "t", "d", "accuracy (%)", ["clean", "mean of 15 standard corruptions"], rows)


def test_dots_have_a_panel_for_each_thing_and_the_same_rows_in_all() -> None:
    clean, mean = dots().panels
    assert isinstance(clean, Dots) and isinstance(mean, Dots)
    assert clean.rows == mean.rows == ("a, <no> lambda", "b")
    assert (clean.points, mean.points) == (
        (Estimate(0.5, 0.4, 0.6), Estimate(0.75)),
        (None, Estimate(0.25, 0.2, 0.3)),
    )
    assert (clean.ticks, mean.ticks) == ((40, 50, 60, 70, 80), (20, 25, 30))
    assert dots().description == "d Rows: a, <no> lambda; b."


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((0.0, 0.0, 0.0038), (0, 5, 10)),  # at least ten points wide, never below zero
        ((1.0, 0.996, 1.0), (90, 95, 100)),
        ((0.5, 0.02, 0.98), (0, 20, 40, 60, 80, 100)),
        ((0.7, 0.65, 0.75), (65, 70, 75)),
        ((0.85, 0.84, 0.86), (80, 85, 90)),
        ((0.87, 0.86, 0.88), (85, 90, 95)),
        ((0.1, 0.1, 0.1), (10, 15, 20)),
        ((1.0, 1.0, 1.0), (90, 95, 100)),
    ],
)
def test_the_axis_of_dots_covers_the_intervals_with_round_marks(
    ends: tuple[float, float, float], ticks: tuple[int, ...]
) -> None:
    assert Dots("", "", ("a",), (Estimate(*ends),)).ticks == ticks


def test_drawn_dots_stand_at_their_percentages_beside_their_names() -> None:
    clean, mean = draw(dots()).figure.axes
    points = [(line.get_xdata(), line.get_ydata()) for line in clean.lines]
    assert [(np.asarray(x).tolist(), np.asarray(y).tolist()) for x, y in points] == [
        ([40, 60], [0, 0]),
        ([50], [0]),
        ([75], [1]),
    ]
    assert [label.get_text() for label in clean.get_yticklabels()] == ["a, <no> lambda", "b"]
    assert [label.get_text() for label in mean.get_yticklabels()] == ["", ""]
    assert clean.get_ylim() == (1.5, -0.5)  # the first row at the top
    assert clean.get_xlim() == (40, 80)


def test_dots_on_a_page_stand_at_shares_of_the_axis_and_say_their_numbers() -> None:
    page = html_chart(dots())
    assert page.count('<div class="stress"') == 2
    assert 'aria-label="a, &lt;no&gt; lambda: 50.00 [40.00, 60.00]"' in page
    assert '<b class="ends" style="left:0.00%;width:50.00%"></b><b class="dot" style="left:25.00%"></b>' in page
    assert 'aria-label="b: 75.00"' in page and '<b class="dot" style="left:87.50%"></b>' in page
    assert 'aria-label="a, &lt;no&gt; lambda: not measured"' in page
    assert "<no>" not in page


def test_of_many_rows_the_first_are_drawn_and_the_description_says_so() -> None:
    rows = {f"run{at:02}": [Estimate(0.5)] for at in range(40)}
    chart = dot_plot("g", "t", "d", "accuracy (%)", ["clean"], rows)
    (panel,) = chart.panels
    assert isinstance(panel, Dots) and len(panel.rows) == MOST_LINES
    assert f"the first {MOST_LINES} of 40 rows" in chart.description


def test_a_marked_point_is_the_only_marker_of_its_line() -> None:
    lines = (percent_line(0, CURVE, mark_best=True), Line(None, (1, 5), (10, 20)))
    chart = Chart("c", "t", "d", (Panel("", "lambda", "accuracy (%)", lines),), levelled_series(["severity 1"]))
    line, best, fitted = read(chart)["panels"][0]["traces"]
    assert (line["marks"], line["joined"], "low" in line) == (False, True, False)
    assert (best["x"], best["y"], best["line"], best["marks"]) == ([1], [75], 0, True)
    assert (fitted["line"], fitted["colour"], fitted["joined"]) == (None, "#000000", True)
    drawn, mark, black = draw(chart).figure.axes[0].lines
    assert (drawn.get_marker(), mark.get_marker(), black.get_marker()) == ("", "o", "")
    assert np.asarray(mark.get_xdata()).tolist() == [1]


def test_a_heat_map_holds_its_numbers_and_gaps() -> None:
    chart = Chart(
        "m", "t", "d", (HeatMap("sdnet\nplain", "severity", ("fog", "snow"), ("1", "2"), ((11, None), (1, 92.25))),)
    )
    page = html_chart(chart)
    assert "<caption>sdnet, plain</caption>" in page and "<td>severity</td>" in page
    assert [part.partition("<")[0] for part in page.split('scope="row">')[1:]] == ["fog", "snow"]
    assert re.findall(r"background:(\S+);color:(\S+)\">([\d.]+)<", page) == [
        (shade(0.11), "#ffffff", "11.0"),
        (shade(0.01), "#ffffff", "1.0"),
        (shade(0.9225), "#000000", "92.2"),
    ]
    assert page.count("<td></td>") == 1  # what was not measured
    assert "<span>0 %</span>" in page and "<span>100 %</span>" in page
    (ax,) = draw(chart).figure.axes
    values: Any = np.ma.filled(np.ma.masked_invalid(np.ma.asarray(ax.images[0].get_array())), -1)
    assert values.tolist() == [[11, -1], [1, 92.25]]
    assert {it.get_text(): it.get_color() for it in ax.texts} == {
        "11.0": "#ffffff",
        "1.0": "#ffffff",
        "92.2": "#000000",
    }
    assert ax.get_title(loc="left") == "sdnet\nplain"


def test_names_are_shown_as_they_are() -> None:
    chart = severity_chart()
    assert [it["label"] for it in read(chart)["legend"]] == list(LABELS)
    (legend,) = draw(chart).figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [LABELS[0], r" _resnet \$x\$, no lambda"]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_same_chart_gives_the_same_bytes(narrow: bool) -> None:
    one, other = (draw(severity_chart(), narrow=narrow) for _ in range(2))
    assert one.to_svg() == other.to_svg()
    assert one.to_png() == other.to_png()
    assert one.to_pdf() == other.to_pdf()
    svg, png = one.to_svg(), one.to_png()  # the order of the forms changes nothing
    assert (one.to_png(), one.to_svg()) == (png, svg)


def test_svgs_of_one_page_share_no_ids() -> None:
    svg = draw(severity_chart()).to_svg()
    assert svg.startswith("<svg")
    assert "<metadata>" not in svg
    ids = {part.partition('"')[0] for part in svg.split(' id="')[1:]}
    assert ids
    assert all(it.startswith("severity-") for it in ids)


def test_a_narrow_chart_fits_a_column_of_a_paper() -> None:
    figure = draw(severity_chart(), narrow=True).figure
    assert figure.get_figwidth() == 3.25
    assert draw(severity_chart()).figure.get_figwidth() == pytest.approx(6.8)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["fog", "snow"]


def test_lines_can_be_steps_or_stems() -> None:
    stems = Line(0, (0, 1, 2), (1, -2, 3), shape="stems")
    steps = Line(0, (0, 1, 2), (0.25, 0.5, 1), shape="steps")
    chart = Chart(
        "c", "t", "d", (Panel("", "atom", "weight", (stems,)), Panel("", "x", "y", (steps,))), numbered_series("a")
    )
    one, other = draw(chart).figure.axes
    drawn = one.collections[0].get_segments()  # type: ignore[attr-defined]
    assert [segment[:, 1].tolist() for segment in drawn] == [[0, 1], [0, -2], [0, 3]]
    assert other.lines[0].get_drawstyle() == "steps-post"


def test_a_drawing_has_150_dots_per_inch() -> None:
    drawing = Drawing("d", "t", "d", Figure(figsize=(2, 1), dpi=150))
    with Image.open(io.BytesIO(drawing.to_png())) as image:
        assert image.size == (300, 150)


def test_a_matplotlibrc_changes_no_figure() -> None:
    before = draw(severity_chart()).to_svg()
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "lines.linewidth": 9, "text.color": "red"}):
        assert draw(severity_chart()).to_svg() == before
