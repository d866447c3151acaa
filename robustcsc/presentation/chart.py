"""A chart as data: panels of lines over common axes, rows of dots, or heat maps.

Numbers are in the unit that the axis names. Renderers: `drawn_chart` (matplotlib: SVG, PNG, PDF) for files; on pages
`html_chart` for dots and heat maps, and `interactive` (the JSON that ``charts.js`` draws with plotly) for lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from robustcsc.presentation.colours import BLACK, COLOURS, shade
from robustcsc.presentation.table import Estimate

Marker = Literal["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", ""]
Dashes = Literal["solid", "dash", "dashdot", "dot", ""]
MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES: tuple[Dashes, ...] = ("solid", "dash", "dashdot", "dot")

MOST_LINES = 14
"""Lines of one chart that can still be told apart; a report of more rows draws the first ones."""
MOST_MAPS = 6
"""Panels of a heat map; of more rows the first ones are drawn."""
MOST_PANELS = 20
"""Panels that the charts of one kind may have together, the first chart excepted: drawing one takes a while."""
_MARGIN = 0.05
"""Share of the numbers' range that is left free at either end of an axis."""
_STEPS, _MOST_STEPS = (5, 10, 20, 25), 5
"""Percentage points between the marks of an axis of dots, and how many steps it has at most."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Series:
    """What the lines of one name share in all panels.

    Attributes:
        label: Its name in the legend; a series without one has no entry there.
        colour: ``#rrggbb``.
        marker: How its points are marked; ``""`` if they are not.
        dashes: How its lines are dashed; ``""`` for points that no line joins.
    """

    label: str
    colour: str
    marker: Marker = ""
    dashes: Dashes = "solid"


def numbered_series(labels: Iterable[str], *, joined: bool = True) -> tuple[Series, ...]:
    """Returns series told apart by colour and marker, then, after the seventh, by dashes if lines join the points."""
    return tuple(
        Series(
            label,
            COLOURS[at % len(COLOURS)],
            MARKERS[at % len(MARKERS)],
            DASHES[at // len(COLOURS) % len(DASHES)] if joined else "",
        )
        for at, label in enumerate(labels)
    )


def levelled_series(labels: Sequence[str]) -> tuple[Series, ...]:
    """Returns series whose colours go from light to dark with the level; dashes and markers tell them apart as well."""
    shades = (shade(0.85 * (1 - at / max(len(labels) - 1, 1))) for at in range(len(labels)))
    return tuple(
        Series(label, colour, MARKERS[at % len(MARKERS)], DASHES[at % len(DASHES)])
        for at, (label, colour) in enumerate(zip(labels, shades, strict=True))
    )


@dataclass(frozen=True)
class Line:
    """Points of a series in one panel, in the order of `x`.

    Attributes:
        series: Place in `Chart.series`; ``None`` for a fitted line, which is thin, black and not in the legend.
        x: Where the points are.
        y: Their heights.
        low: Lower ends of their intervals: a band if the series has dashes, else error bars. Empty if there are none.
        high: Upper ends.
        marked: Places of the points that are marked; ``None`` for all.
        shape: How the points are joined: ``"stems"`` are lines from 0 to each of them. Pages show straight lines only.
    """

    series: int | None
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    marked: tuple[int, ...] | None = None
    shape: Literal["straight", "steps", "stems"] = "straight"

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or any(len(ends) not in (0, len(self.x)) for ends in (self.low, self.high)):
            raise ValueError("A line needs as many heights as places, and as many ends of intervals or none.")


def percent_line(series: int | None, points: Mapping[float, Estimate], *, mark_best: bool = False) -> Line:
    """Returns estimates of fractions, by place, as a line in percent.

    Args:
        series: As in `Line`.
        points: At least one. If one has no interval, none is drawn.
        mark_best: Marks the highest point only, the first of several, and draws no intervals.
    """
    places = sorted(points)
    low, high = ([getattr(points[x], end) for x in places] for end in ("low", "high"))
    told = None not in (*low, *high) and not mark_best
    best = max(range(len(places)), key=lambda at: (points[places[at]].value, -at))
    return Line(
        series,
        tuple(places),
        tuple(100 * points[x].value for x in places),
        tuple(100 * end for end in low) if told else (),
        tuple(100 * end for end in high) if told else (),
        (best,) if mark_best else None,
    )


@dataclass(frozen=True)
class Panel:
    """Lines and points over common axes.

    Attributes:
        title: Its heading, which may have several lines.
        x_label: What the horizontal axis shows, and its unit.
        y_label: What the vertical axis shows, and its unit.
        lines: What is drawn, in this order.
        ticks: Where the horizontal axis is marked; empty to leave that to the renderer.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dots:
    """A panel of rows of percentages along a horizontal axis: a dot each, its interval a line.

    Attributes:
        title: What the rows were measured under.
        x_label: What the horizontal axis shows, and its unit.
        rows: Names of the rows, the first one at the top; those of all panels of a chart are the same.
        points: Fractions; ``None`` where there is none.
    """

    title: str
    x_label: str
    rows: tuple[str, ...]
    points: tuple[Estimate | None, ...]

    @property
    def ticks(self) -> tuple[int, ...]:
        """Percentages at which the axis is marked, evenly spaced; the first and the last are its ends.

        Examples:
            >>> points = Estimate(0.69, 0.68, 0.7), Estimate(0.74, 0.73, 0.75)
            >>> Dots("noise", "accuracy (%)", ("one", "other"), points).ticks
            (65, 70, 75)
            >>> Dots("attack", "accuracy (%)", ("one",), (Estimate(0, 0, 0.004),)).ticks
            (0, 5, 10)
        """
        found = [100 * end for it in self.points if it for end in (it.value, it.low, it.high) if end is not None]
        low, high = min(found, default=0.0), max(found, default=100.0)
        step = next(it for it in _STEPS if math.ceil(high / it) - math.floor(low / it) <= _MOST_STEPS)
        first = min(math.floor(low / step), 100 // step - 1)
        last = max(math.ceil(high / step), first + 1)
        if last - first == 1:  # the least that an axis covers are two steps
            first, last = (first, last + 1) if last * step < 100 else (first - 1, last)
        return tuple(step * at for at in range(first, last + 1))


@dataclass(frozen=True)
class HeatMap:
    """A panel that shows percentages by row and column as shades, each with its number.

    Attributes:
        title: Its heading, which may have several lines.
        x_label: What the columns are.
        rows: Names of the rows, the first one at the top.
        columns: Names of the columns.
        values: Percentages, from dark to light, one tuple as long as `columns` per row; ``None`` where there is none.
    """

    title: str
    x_label: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]

    @property
    def texts(self) -> list[list[str]]:
        """The numbers as they are written; ``""`` for none."""
        return [["" if value is None else f"{value:.1f}" for value in row] for row in self.values]


@dataclass(frozen=True)
class Chart:
    """Panels, the series they share, and words.

    Attributes:
        name: File name without an ending; differs between the charts of one report.
        title: What is shown, on which images.
        description: What a reader who cannot see the chart needs to know.
        panels: At least one.
        series: In the order of the legend.
        same_heights: Whether all panels have one vertical range, so that they can be compared by eye.
    """

    name: str
    title: str
    description: str
    panels: tuple[Panel | Dots | HeatMap, ...]
    series: tuple[Series, ...] = ()
    same_heights: bool = False

    @cached_property
    def legend(self) -> tuple[Series, ...]:
        """The series that the legend names: those with a label that a panel has a line of."""
        drawn = {line.series for panel in self.panels if isinstance(panel, Panel) for line in panel.lines}
        return tuple(series for at, series in enumerate(self.series) if at in drawn and series.label)

    def style(self, line: Line) -> Series:
        """Returns the style of a line of one of the panels."""
        return Series("", BLACK) if line.series is None else self.series[line.series]

    def heights(self, panel: Panel) -> tuple[float, float]:
        """Returns the vertical range of a panel."""
        panels = [it for it in self.panels if isinstance(it, Panel)] if self.same_heights else [panel]
        return span(end for it in panels for line in it.lines for end in (*line.y, *line.low, *line.high))


def span(values: Iterable[float]) -> tuple[float, float]:
    """Returns the range of an axis that shows some numbers, with a margin at both ends.

    Examples:
        >>> span([0, 100])
        (-5.0, 105.0)
    """
    found = list(values) or [0.0]
    low, high = min(found), max(found)
    margin = _MARGIN * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def dot_plot(
    name: str,
    title: str,
    description: str,
    x_label: str,
    panels: Sequence[str],
    rows: Mapping[str, Sequence[Estimate | None]],
) -> Chart:
    """Returns a chart of dots with their intervals: a panel for each thing measured, in all of them the same rows.

    Args:
        name: As in `Chart`.
        title: As in `Chart`.
        description: As in `Chart`; the names of the rows are added.
        x_label: What is shown, in percent.
        panels: What the rows were measured under.
        rows: By name, one fraction per panel; ``None`` where there is none. Of many the first `MOST_LINES` are drawn.
    """
    names = tuple(rows)[:MOST_LINES]
    described = f"{description} Rows: {'; '.join(names)}.{left_out(len(rows), MOST_LINES, 'rows')}"
    drawn = (Dots(panel, x_label, names, tuple(rows[it][at] for it in names)) for at, panel in enumerate(panels))
    return Chart(name, title, described, tuple(drawn))


def line_chart(
    name: str,
    title: str,
    description: str,
    axes: tuple[str, str],
    lines: Mapping[Key, str],
    panels: Mapping[str, Mapping[Key, Mapping[float, Estimate]]],
    ticks: Mapping[str, Sequence[float]] | None = None,
) -> Chart:
    """Returns a chart of lines in percent with intervals, all panels over the same heights.

    Args:
        name: As in `Chart`.
        title: As in `Chart`.
        description: As in `Chart`; the names of the lines are added.
        axes: What the axes of every panel show, and their units.
        lines: Their names, in order. Of many the first `MOST_LINES` are drawn.
        panels: The fractions of each line by title.
        ticks: As in `Panel`, by title.
    """
    drawn = {key: lines[key] for key in list(lines)[:MOST_LINES]}
    shown = tuple(
        Panel(
            heading,
            *axes,
            tuple(percent_line(at, points[key]) for at, key in enumerate(drawn) if points.get(key)),
            tuple((ticks or {}).get(heading, ())),
        )
        for heading, points in panels.items()
    )
    described = f"{description} lines: {'; '.join(drawn.values())}.{left_out(len(lines), MOST_LINES, 'lines')}"
    return Chart(name, title, described, shown, numbered_series(drawn.values()), same_heights=True)


def left_out(whole: int, most: int, what: str) -> str:
    """Returns a sentence that says how much is not drawn; empty if all is."""
    return f" Drawn are the first {most} of {whole} {what}; the tables have all." if whole > most else ""
