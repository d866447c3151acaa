"""Panels of charts as marks: lines over axes, rows of dots, heat maps. Lengths are points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from robustcsc.presentation.chart import Chart, Dashes, Dots, HeatMap, Line, Marker, Panel, Series
from robustcsc.presentation.colours import BLACK, COLOURS, ink_on, shade
from robustcsc.presentation.marks import LINE_HEIGHT, Anchor, Area, Disc, Mark, Point, Stroke, Text, text_width, wrapped

_ARM = 0.36  # half the width of a cross's arm
_CROSS = tuple(
    (x * sx, y * sy)
    for sx, sy, turned in ((1, 1, False), (-1, 1, True), (-1, -1, False), (1, -1, True))
    for x, y in ([(1, _ARM), (_ARM, _ARM), (_ARM, 1)][:: -1 if turned else 1])
)
_SHAPES: dict[Marker, tuple[Point, ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle-up": ((0, -1), (1, 1), (-1, 1)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "triangle-down": ((0, 1), (1, -1), (-1, -1)),
    "cross": _CROSS,
    "x": tuple(((x - y) * math.sqrt(0.5), (x + y) * math.sqrt(0.5)) for x, y in _CROSS),
}
"""Corners of the markers but circles, whose radius is 1."""
DASHES: dict[Dashes, tuple[float, ...]] = {
    "solid": (),
    "dash": (3.7, 1.6),
    "dashdot": (6.4, 1.6, 1, 1.6),
    "dot": (1, 1.65),
    "": (),
}
_GRID, _AXIS = "#dddddd", BLACK
GAP = 4
"""Between words and what they name."""
DOT_NAME = 144
"""Width of the name of a row of dots."""
_MOST_MARKS = 6


@dataclass(frozen=True, kw_only=True)
class Look:
    """Sizes in points: of panels with their margins, of letters, lines and markers."""

    columns: int
    width: float
    least_width: float
    long_width: float
    height: float
    height_alone: float
    handle: float
    title: float
    text: float
    line: float
    marker: float


REPORT = Look(
    columns=3, width=223, least_width=331, long_width=490, height=180, height_alone=195, handle=20,
    title=9.5, text=8, line=1.6, marker=4.5,
)  # fmt: skip
NARROW = Look(
    columns=2, width=117, least_width=234, long_width=234, height=112, height_alone=150, handle=14,
    title=8.5, text=7, line=0.9, marker=3,
)  # fmt: skip


@dataclass(frozen=True)
class Axes:
    """A rectangle on the sheet and the numbers at its edges."""

    corner: Point
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        """Returns where a number is along the sheet."""
        return self.corner[0] + self.width * (value - self.across[0]) / (self.across[1] - self.across[0])

    def y(self, value: float) -> float:
        """Returns how far down the sheet a number is."""
        return self.corner[1] + self.height * (self.up[1] - value) / (self.up[1] - self.up[0])

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> tuple[Point, ...]:
        """Returns where numbers are on the sheet."""
        return tuple(zip(map(self.x, xs), map(self.y, ys), strict=True))


def draw_panel(chart: Chart, panel: Panel, axes: Axes, look: Look, *, first: bool) -> Iterator[Mark]:
    """Yields lines over their axes; `first` says whether the panel is the first of its row."""
    (left, top), bottom = axes.corner, axes.corner[1] + axes.height
    across = [(f"{it:g}", it) for it in panel.ticks] or round_marks(*axes.across)
    up = round_marks(*axes.up)
    if look is REPORT:
        yield from (Stroke(((axes.x(it), top), (axes.x(it), bottom)), _GRID, 0.6) for _, it in across)
        yield from (Stroke(((left, axes.y(it)), (left + axes.width, axes.y(it))), _GRID, 0.6) for _, it in up)
    for line in panel.lines:
        yield from _line(line, chart.style(line), axes, look)
    yield Stroke(((left, top), (left, bottom), (left + axes.width, bottom)), _AXIS, 0.8)
    yield from _across(across, axes, look)
    yield from (Stroke(((left - 2.5, axes.y(it)), (left, axes.y(it))), _AXIS, 0.6) for _, it in up)
    if first or not chart.same_heights:
        numbers = max(text_width(text, look.text) for text, _ in up)
        yield from (_beside(text, (left - GAP, axes.y(it)), look.text, "end") for text, it in up)
        if first or look is REPORT:
            middle = left - numbers - 2 * GAP, top + axes.height / 2
            yield Text(middle, panel.y_label, look.title - 1, "middle", upwards=True)


def _across(marks: Iterable[tuple[str, float]], axes: Axes, look: Look) -> Iterator[Mark]:
    """Yields the marks of a horizontal axis, and of their numbers those that do not touch the one before."""
    bottom, end = axes.corner[1] + axes.height, -math.inf
    for text, value in marks:
        x, half = axes.x(value), text_width(text, look.text) / 2
        yield Stroke(((x, bottom), (x, bottom + 2.5)), _AXIS, 0.6)
        if x - half > end:
            yield Text((x, bottom + GAP + look.text), text, look.text, "middle")
            end = x + half + 2


def _line(line: Line, style: Series, axes: Axes, look: Look) -> Iterator[Mark]:
    """Yields a line with its intervals and markers."""
    points = axes.points(line.x, line.y)
    if line.shape == "stems":
        for (x, y), foot in zip(points, axes.points(line.x, [0.0] * len(line.x)), strict=True):
            yield Stroke(((x, y), foot), style.colour, 0.6)
        return
    low, high = (axes.points(line.x, ends) if ends else () for ends in (line.low, line.high))
    if style.dashes:
        if low:
            yield Area((*low, *reversed(high)), style.colour, 0.15)
        joined = tuple(chain(*(((x, y), (to, y)) for (x, y), (to, _) in pairwise(points)), points[-1:]))
        width = look.line if line.series is not None else 0.75 * look.line
        yield Stroke(joined if line.shape == "steps" else points, style.colour, width, DASHES[style.dashes])
    else:
        for (x, lowest), (_, highest) in zip(low, high, strict=True):
            for ends in (((x, lowest), (x, highest)), *(((x - 2.5, y), (x + 2.5, y)) for y in (lowest, highest))):
                yield Stroke(ends, style.colour, 0.6 * look.line)
    for at in range(len(points)) if line.marked is None else line.marked:
        yield from draw_marker(points[at], style, look)


def draw_marker(at: Point, style: Series, look: Look) -> Iterator[Mark]:
    """Yields the marker of a series, if it has one."""
    radius = look.marker / 2
    if style.marker == "circle":
        yield Disc(at, radius, style.colour)
    elif style.marker:
        yield Area(tuple((at[0] + radius * x, at[1] + radius * y) for x, y in _SHAPES[style.marker]), style.colour)


def draw_dots(panel: Dots, axes: Axes, *, named: bool) -> Iterator[Mark]:
    """Yields rows of dots, with the names of the rows if `named`."""
    left, bottom = axes.corner[0], axes.corner[1] + axes.height
    for at, (name, point) in enumerate(zip(panel.rows, panel.points, strict=True)):
        yield Stroke(((left, axes.y(at)), (left + axes.width, axes.y(at))), _GRID, 0.6)
        if point is not None:
            if point.low is not None and point.high is not None:
                ends = axes.points([100 * point.low, 100 * point.high], [at, at])
                yield Stroke(ends, COLOURS[0], 2, opacity=0.5)
            yield Disc((axes.x(100 * point.value), axes.y(at)), 2.5, COLOURS[0])
        if named:
            lines = wrapped(name, DOT_NAME, REPORT.text)
            for row, text in enumerate(lines):
                height = axes.y(at) + (row - (len(lines) - 1) / 2) * REPORT.text * LINE_HEIGHT
                yield _beside(text, (left - 2 * GAP, height), REPORT.text, "end")
    yield Stroke(((left, bottom), (left + axes.width, bottom)), _AXIS, 0.8)
    yield from _across([(str(it), it) for it in panel.ticks], axes, REPORT)


def draw_map(panel: HeatMap, axes: Axes, look: Look) -> Iterator[Mark]:
    """Yields shaded cells with their numbers, and the names of rows and columns."""
    left = axes.corner[0]
    for at, (name, row, texts) in enumerate(zip(panel.rows, panel.values, panel.texts, strict=True)):
        yield _beside(name, (left - GAP, axes.y(at + 0.5)), look.text, "end")
        for column, (value, text) in enumerate(zip(row, texts, strict=True)):
            if value is not None:
                colour = shade(value / 100)
                edges = (column, column + 1, column + 1, column), (at, at, at + 1, at + 1)
                yield Area(axes.points(*edges), colour)
                middle = axes.x(column + 0.5), axes.y(at + 0.5)
                yield _beside(text, middle, look.text - 1, "middle", ink_on(colour))
    bottom = axes.corner[1] + axes.height + look.text + GAP
    for column, name in enumerate(panel.columns):
        yield Text((axes.x(column + 0.5), bottom), name, look.text, "middle")


def round_marks(low: float, high: float) -> list[tuple[str, float]]:
    """Returns round numbers of a range, evenly spaced, with their texts."""
    least = (high - low) / _MOST_MARKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(it * power for it in (1, 2, 2.5, 5, 10) if it * power >= least)
    digits = max(6, math.ceil(math.log10(max(abs(low), abs(high)) / step)) + 1)
    marks = (step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1))
    return [(f"{it:.{digits}g}", it) for it in marks]


def _beside(text: str, at: Point, size: float, anchor: Anchor, colour: str = BLACK) -> Text:
    """Returns a text whose digits have their middle at a height."""
    return Text((at[0], at[1] + 0.36 * size), text, size, anchor, colour)
