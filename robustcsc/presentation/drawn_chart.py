"""Charts laid out as marks: for a report, or narrow, for a column of a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robustcsc.presentation.chart import Chart, Dots, HeatMap, Panel
from robustcsc.presentation.colours import SHADES
from robustcsc.presentation.drawn_panels import (
    DASHES,
    DOT_NAME,
    GAP,
    NARROW,
    REPORT,
    Axes,
    Look,
    draw_dots,
    draw_map,
    draw_marker,
    draw_panel,
    round_marks,
)
from robustcsc.presentation.marks import LINE_HEIGHT, Area, Mark, Point, Sheet, Stroke, Text, grid, text_width, wrapped

_END = 10  # right of a panel: half of the number that may stand at the end of its axis
_CELL, _LEAST_CELL = 13.7, 22  # height of a cell of a heat map, and its least width
_DOT_ROW, _DOT_WIDTH = 26, 130  # height of a row of dots, and width of a panel beside its name
_LONG = 20  # letters of the legend's longest entry; above, a chart is as wide as two of them


@dataclass(frozen=True)
class _Room:
    """What every panel has, in points: its axes and the room around them."""

    columns: int
    first: float
    """Left of the axes of the first column, and below left of those of the others."""
    left: float
    width: float
    height: float
    above: float
    below: float

    @property
    def whole_width(self) -> float:
        return self.first + (self.columns - 1) * self.left + self.columns * (self.width + _END)

    def corner(self, at: int) -> Point:
        """Returns the upper left corner of the axes of a panel."""
        row, column = divmod(at, self.columns)
        x = self.first + column * (self.width + _END + self.left)
        return x, self.above + row * (self.above + self.height + self.below)

    def axes(self, at: int, across: tuple[float, float], up: tuple[float, float]) -> Axes:
        """Returns the axes of a panel over some numbers."""
        return Axes(self.corner(at), self.width, self.height, across, up)


def draw(chart: Chart, *, narrow: bool = False) -> Sheet:
    """Returns a chart as marks.

    Args:
        chart: The chart.
        narrow: Sizes it for one of two columns of a paper, where the caption has the title.
    """
    look = NARROW if narrow else REPORT
    room = _room(chart, look)
    marks: list[Mark] = []
    for at, panel in enumerate(chart.panels):
        corner, first = room.corner(at), at % room.columns == 0
        lines = wrapped(panel.title, room.width + _END, look.title)
        top = corner[1] - GAP - (len(lines) - 1) * look.title * LINE_HEIGHT
        marks += _lines(lines, (corner[0], top), look.title)
        under = corner[0] + room.width / 2, corner[1] + room.height + room.below - 2 * GAP
        marks.append(Text(under, panel.x_label, look.title - 1, "middle"))
        match panel:
            case Panel():
                marks += draw_panel(chart, panel, room.axes(at, panel.reach, chart.heights(panel)), look, first=first)
            case Dots():
                ends, rows = (panel.ticks[0], panel.ticks[-1]), (len(panel.rows) - 0.5, -0.5)
                marks += draw_dots(panel, room.axes(at, ends, rows), named=first)
            case HeatMap():
                marks += draw_map(panel, room.axes(at, (0, len(panel.columns)), (len(panel.rows), 0)), look)
    bottom = room.corner(len(chart.panels) - 1)[1] + room.height + room.below
    if isinstance(chart.panels[0], HeatMap):
        marks += _scale(room.first, bottom, look)
        bottom += 2 * look.text
    if chart.legend:
        entries, bottom = _legend(chart, look, room.whole_width, bottom)
        marks += entries
    return Sheet(chart.name, chart.title, chart.description, room.whole_width, bottom + GAP, tuple(marks))


def _room(chart: Chart, look: Look) -> _Room:
    """Returns the room of the panels of a chart."""
    columns, label = grid(len(chart.panels), look.columns)[1], (look.title - 1) * LINE_HEIGHT
    below = look.text * LINE_HEIGHT + label + 3 * GAP
    width = max(columns * look.width, look.least_width)
    first = left = 0.0
    height = look.height if len(chart.panels) > 1 else look.height_alone
    match chart.panels[0]:
        case Panel():
            if max((len(it.label) for it in chart.legend), default=0) > _LONG:
                width = max(width, look.long_width)
            panels = [it for it in chart.panels if isinstance(it, Panel)]
            numbers = (text for it in panels for text, _ in round_marks(*chart.heights(it)))
            numbers_width = max(text_width(it, look.text) for it in numbers) + 2 * GAP
            first = numbers_width + label
            left = 0 if chart.same_heights else numbers_width if look is NARROW else first
            inner = (width - first - (columns - 1) * left) / columns - _END
        case Dots() as panel:
            first, left, inner, height = DOT_NAME + 2 * GAP, 3 * GAP, _DOT_WIDTH, _DOT_ROW * len(panel.rows)
        case HeatMap() as panel:
            first = left = max(text_width(it, look.text) for it in panel.rows) + 2 * GAP
            inner = max(width / columns - first - _END, _LEAST_CELL * len(panel.columns))
            height = _CELL * len(panel.rows)
    titles = max(len(wrapped(it.title, inner + _END, look.title)) for it in chart.panels)
    above = titles * look.title * LINE_HEIGHT + 2 * GAP
    if isinstance(chart.panels[0], Panel):
        height -= below + look.title * LINE_HEIGHT + 2 * GAP
    return _Room(columns, first, left, inner, height, above, below)


def _scale(left: float, top: float, look: Look) -> Iterator[Mark]:
    """Yields the shades of heat maps from 0 to 100 %."""
    width, height = 12.0, look.text
    yield Text((left - GAP, top + height), "0 %", look.text, "end")
    for at, colour in enumerate(SHADES):
        x, end = left + at * width, left + (at + 1) * width
        yield Area(((x, top), (end, top), (end, top + height), (x, top + height)), colour)
    yield Text((left + len(SHADES) * width + GAP, top + height), "100 %", look.text)


def _legend(chart: Chart, look: Look, width: float, top: float) -> tuple[list[Mark], float]:
    """Returns the legend and where it ends."""
    before = look.handle + GAP
    widest = max(text_width(it.label, look.text) for it in chart.legend) + before + 2 * GAP
    columns = max(1, min(4, int((width - 2 * GAP) // widest)))
    entries = [wrapped(it.label, width - before - 2 * GAP, look.text) for it in chart.legend]
    height = (max(map(len, entries)) * LINE_HEIGHT + 0.35) * look.text
    marks: list[Mark] = []
    for at, (series, lines) in enumerate(zip(chart.legend, entries, strict=True)):
        row, column = divmod(at, columns)
        x, y = GAP + column * widest, top + row * height + look.text
        if series.dashes:
            marks.append(Stroke(((x, y), (x + look.handle, y)), series.colour, look.line, DASHES[series.dashes]))
        marks += draw_marker((x + look.handle / 2, y), series, look)
        marks += _lines(lines, (x + before, y + 0.36 * look.text), look.text)
    return marks, top + math.ceil(len(entries) / columns) * height


def _lines(lines: Iterable[str], at: Point, size: float) -> Iterator[Text]:
    """Yields lines of text below each other."""
    yield from (Text((at[0], at[1] + row * size * LINE_HEIGHT), text, size) for row, text in enumerate(lines))
