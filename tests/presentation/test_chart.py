from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
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
from robustcsc.presentation.marks import Area, Disc, Sheet, Stroke, Text, text_width, wrapped
from robustcsc.presentation.table import Estimate
from tests.presentation.drawn import across, parts, read_points, texts, up

LABELS = ("sdnet, training lambda", "_resnet $x$, no lambda")
CURVE = {5.0: Estimate(0.25, 0.2, 0.3), 1.0: Estimate(0.75, 0.7, 0.8), 3.0: Estimate(0.5, 0.4, 0.6)}
OTHER = {1.0: Estimate(0.9, 0.9, 0.95), 5.0: Estimate(0.1, 0.05, 0.1)}


def severity_chart(*, same_heights: bool = True) -> Chart:
    left = Panel(
        "fog", "severity", "accuracy (%)", (percent_line(0, CURVE), percent_line(1, OTHER)), ticks=(1.0, 3.0, 5.0)
    )
    right = Panel("snow", "severity", "accuracy (%)", (percent_line(1, CURVE),))
    return Chart("severity", "By severity", "Lines.", (left, right), numbered_series(LABELS), same_heights)


def read(chart: Chart) -> dict[str, Any]:
    """The chart as the page gets it: JSON of plain types only."""
    found: dict[str, Any] = json.loads(json.dumps(chart_data(chart), allow_nan=False))
    return found


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
    page, drawn = read(chart), parts(draw(chart), chart)
    heights = up(drawn[0])  # both panels have the same
    for panel, of_page, marks in zip(chart.panels, page["panels"], drawn, strict=True):
        assert isinstance(panel, Panel)
        places = across(marks)
        lines = [it for it in marks if isinstance(it, Stroke) and it.width == 1.6][: len(panel.lines)]
        bands = [it for it in marks if isinstance(it, Area) and it.opacity < 1]
        markers = [it for it in marks if isinstance(it, Disc)]
        for line, trace, stroke, band in zip(panel.lines, of_page["traces"], lines, bands, strict=True):
            assert (trace["x"], trace["y"]) == (list(line.x), list(line.y))
            assert read_points(stroke.points, places, heights) == (list(line.x), list(line.y))
            assert (trace["low"], trace["high"]) == (list(line.low), list(line.high))
            assert read_points(band.points, places, heights)[1] == [*line.low, *reversed(line.high)]
            assert page["legend"][trace["line"]]["label"] == LABELS[line.series or 0]
            assert page["legend"][trace["line"]]["colour"] == stroke.colour == band.colour
        if panel is chart.panels[0]:  # that of the last one may be in the legend
            assert [it.at for it in markers] == list(lines[0].points)


def test_a_drawing_of_marks_has_them_where_the_svg_has_them() -> None:
    sheet = draw(severity_chart())
    (ax,) = Drawing.of(sheet).figure.axes
    elements = list(ElementTree.fromstring(sheet.to_svg()))[3:]  # behind the words and the white sheet
    assert [ax.get_xlim(), ax.get_ylim()] == [(0, sheet.width), (sheet.height, 0)]
    artists = sorted(ax.get_children(), key=lambda it: it.get_zorder())
    lines = {tuple(map(tuple, np.round(it.get_xydata(), 2))) for it in ax.lines}  # type: ignore[arg-type]
    for element in elements:
        if element.tag.endswith("polyline"):
            points = [tuple(map(float, it.split(","))) for it in element.attrib["points"].split()]
            assert any(np.allclose(points, line, atol=0.011) for line in lines if len(line) == len(points))
    words = [it.text for it in elements if it.tag.endswith("text")]
    assert words == [it.get_text() for it in artists if isinstance(it, mpl.text.Text) and it.get_text()]
    assert set(LABELS) < set(words)


def test_numbers_at_an_axis_do_not_touch() -> None:
    ticks = tuple(at / 1000 for at in range(40))
    line = Line(0, ticks, ticks)
    for chart in (
        Chart("c", "t", "d", (Panel("p", "x", "y", (line,), ticks=ticks),), numbered_series("a")),
        Chart("c", "t", "d", (Panel("p", "x", "y", (line,)),), numbered_series("a")),
    ):
        (marks,) = parts(draw(chart, narrow=True), chart)
        below = [it for it in texts(marks) if it.anchor == "middle" and it.text[0].isdigit()]
        ends = [(it.at[0] - text_width(it.text, it.size) / 2, text_width(it.text, it.size)) for it in below]
        assert len(ends) > 2
        assert all(left + width < later for (left, width), (later, _) in pairwise(ends))
        assert float(np.ptp(across(marks)([it.at[0] for it in below]))) > 0.02


def test_words_are_at_least_as_wide_as_the_font_makes_them() -> None:
    font = FontProperties(family="DejaVu Sans", size=10)
    for letter in map(chr, range(33, 127)):
        pair, single = (TextPath((0, 0), it, prop=font).get_extents().width for it in (f"|{letter}|", "||"))
        assert pair - single - 0.05 < text_width(letter, 10) < pair - single + 1.2, letter
    assert text_width("\u96ea", 10) == 10  # a square, as all signs of Chinese


def test_text_is_wrapped_to_a_width() -> None:
    lines = wrapped("accuracy of the unreasonablylongname\nand fog", 60, 10)
    assert " ".join(lines) == "accuracy of the unreasonablylongname and fog"
    assert "and fog" in lines  # a new line stays one
    assert [it for it in lines if text_width(it, 10) > 60] == ["unreasonablylongname"]


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
    chart = dots()
    sheet = draw(chart)
    clean, mean = parts(sheet, chart)
    places = across(clean)
    discs = [it for it in clean if isinstance(it, Disc)]
    assert read_points([it.at for it in discs], places, np.poly1d([1, 0]))[0] == [50, 75]
    (interval,) = (it for it in clean if isinstance(it, Stroke) and it.opacity < 1)
    assert read_points(interval.points, places, np.poly1d([1, 0]))[0] == [40, 60]
    assert {y for _, y in interval.points} == {discs[0].at[1]}
    first, second = (it for it in texts(clean) if it.anchor == "end")
    assert (first.text, second.text) == ("a, <no> lambda", "b")
    for name, disc in ((first, discs[0]), (second, discs[1])):
        assert name.at[1] - 0.36 * name.size == pytest.approx(disc.at[1])
    assert first.at[1] < second.at[1]  # the first row at the top
    assert [it for it in texts(mean) if it.anchor == "end"] == []  # the names stand there once


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
    chart = Chart("c", "t", "d", (Panel("p", "lambda", "accuracy (%)", lines),), levelled_series(["severity 1"]))
    line, best, fitted = read(chart)["panels"][0]["traces"]
    assert (line["marks"], line["joined"], "low" in line) == (False, True, False)
    assert (best["x"], best["y"], best["line"], best["marks"]) == ([1], [75], 0, True)
    assert (fitted["line"], fitted["colour"], fitted["joined"]) == (None, "#000000", True)
    (marks,) = parts(draw(chart), chart)
    (mark,) = (it for it in marks if isinstance(it, Disc) and it.at[0] > 20)  # that in the legend is further left
    assert (across(marks)(mark.at[0]), up(marks)(mark.at[1])) == (pytest.approx(1), pytest.approx(75))


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
    sheet = draw(chart)
    shades = [it.colour for it in sheet.marks if isinstance(it, Area)]
    assert shades == [shade(0.11), shade(0.01), shade(0.9225), *SHADES]  # the last are the scale
    numbers = {it.text: it.colour for it in texts(sheet.marks) if re.fullmatch(r"[\d.]+\.\d", it.text)}
    assert numbers == {"11.0": "#ffffff", "1.0": "#ffffff", "92.2": "#000000"}
    words = [it.text for it in texts(sheet.marks)]
    assert words[:2] == ["sdnet", "plain"] and words[-2:] == ["0 %", "100 %"]


def test_names_are_shown_as_they_are() -> None:
    chart = severity_chart()
    assert [it["label"] for it in read(chart)["legend"]] == list(LABELS)
    sheet = draw(chart)
    assert [it.text for it in texts(sheet.marks)][-2:] == list(LABELS)
    root = ElementTree.fromstring(sheet.to_svg())
    assert [it.text for it in root.iter() if it.tag.endswith("text")][-2:] == list(LABELS)
    assert [(it.tag.rpartition("}")[2], it.text) for it in root[:2]] == [("title", "By severity"), ("desc", "Lines.")]


def test_a_name_that_xml_cannot_hold_is_drawn_all_the_same() -> None:
    sheet = Sheet("s", "t", "d", 10, 10, (Text((1, 2), "a\x00<b>\ufffe&", 8),))
    (text,) = (it.text for it in ElementTree.fromstring(sheet.to_svg()).iter() if it.tag.endswith("text"))
    assert text == "a\ufffd<b>\ufffd&"


@pytest.mark.parametrize("narrow", [False, True])
def test_the_same_chart_gives_the_same_bytes(narrow: bool) -> None:
    one, other = (draw(severity_chart(), narrow=narrow) for _ in range(2))
    assert one.to_svg() == other.to_svg()
    drawn, again = Drawing.of(one), Drawing.of(other)
    assert drawn.to_png() == again.to_png()
    assert drawn.to_pdf() == again.to_pdf()
    svg, png = drawn.to_svg(), drawn.to_png()  # the order of the forms changes nothing
    assert (drawn.to_png(), drawn.to_svg()) == (png, svg)


def test_svgs_of_one_page_share_no_ids() -> None:
    assert " id=" not in draw(severity_chart()).to_svg()
    svg = Drawing.of(draw(severity_chart())).to_svg()
    assert svg.startswith("<svg")
    assert "<metadata>" not in svg
    ids = {part.partition('"')[0] for part in svg.split(' id="')[1:]}
    assert ids
    assert all(it.startswith("severity-") for it in ids)


def test_a_narrow_chart_fits_a_column_of_a_paper() -> None:
    narrow = draw(severity_chart(), narrow=True)
    assert narrow.width == pytest.approx(72 * 3.25)
    assert draw(severity_chart()).width == pytest.approx(490)
    assert {"fog", "snow", *LABELS} < {it.text for it in texts(narrow.marks)}
    assert all(
        it.at[0] + text_width(it.text, it.size) < 72 * 3.25 for it in texts(narrow.marks) if it.anchor == "start"
    )


def test_lines_can_be_steps_or_stems() -> None:
    stems = Line(0, (0, 1, 2), (1, -2, 3), shape="stems")
    steps = Line(0, (0, 1, 2), (0.25, 0.5, 1), shape="steps")
    chart = Chart(
        "c", "t", "d", (Panel("a", "atom", "weight", (stems,)), Panel("b", "x", "y", (steps,))), numbered_series("a")
    )
    one, other = parts(draw(chart), chart)
    drawn = [it for it in one if isinstance(it, Stroke) and it.colour == COLOURS[0] and it.width == 0.6]
    places, heights = across(one), up(one)
    assert [read_points(it.points, places, heights) for it in drawn] == [
        ([0, 0], [1, 0]),
        ([1, 1], [-2, 0]),
        ([2, 2], [3, 0]),
    ]
    (step,) = (it for it in other if isinstance(it, Stroke) and it.colour == COLOURS[0] and len(it.points) > 2)
    assert read_points(step.points, across(other), up(other)) == ([0, 1, 1, 2, 2], [0.25, 0.25, 0.5, 0.5, 1])


def test_a_drawing_has_150_dots_per_inch() -> None:
    drawing = Drawing("d", "t", "d", Figure(figsize=(2, 1), dpi=150))
    with Image.open(io.BytesIO(drawing.to_png())) as image:
        assert image.size == (300, 150)
