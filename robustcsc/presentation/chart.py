"""A chart as data: panels of lines and points, or heat maps, and the series they belong to.

Numbers are in the unit that the axis names. Renderers: `drawing` (matplotlib: SVG, PNG, PDF) and `interactive` (the
JSON that ``charts.js`` draws with plotly).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from robustcsc.presentation.table import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe & Ito (2008), without yellow: told apart by colour-blind readers, dark enough for paper."""
BLACK = "#000000"
SHADES = ("#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838")
"""Nine colours of the map cividis, dark to light: ordered and colour-blind-safe."""

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
GROUP_WIDTH = 18
"""Letters of a group's name on one line."""
_MARGIN = 0.05
"""Share of the numbers' range that is left free at either end of an axis."""

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


def shade(place: float) -> str:
    """Returns the colour at a place in [0, 1] of `SHADES`, dark to light.

    Examples:
        >>> shade(0), shade(1)
        ('#00224e', '#fee838')
    """
    at = min(int(place * (len(SHADES) - 1)), len(SHADES) - 2)
    share = place * (len(SHADES) - 1) - at
    ends = ([int(SHADES[end][byte : byte + 2], 16) for byte in (1, 3, 5)] for end in (at, at + 1))
    mixed = (round(one + share * (other - one)) for one, other in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


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
        groups: Words for the places 0, 1, 2, ... of the horizontal axis, instead of numbers.
        lying: Whether the panel lies on its side: the groups stand at the left, the first one at the top, and heights
            run to the right.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[float, ...] = ()
    groups: tuple[str, ...] = ()
    lying: bool = False


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
    panels: tuple[Panel | HeatMap, ...]
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


def grouped_points(
    name: str,
    title: str,
    description: str,
    y_label: str,
    groups: Sequence[str],
    rows: Mapping[str, Sequence[Estimate | None]],
    *,
    lying: bool = False,
) -> Chart:
    """Returns a chart of points with intervals: groups side by side, in each of them one point per row.

    Args:
        name: As in `Chart`.
        title: As in `Chart`.
        description: As in `Chart`; the names of the rows are added.
        y_label: What is shown, in percent.
        groups: Their names.
        rows: By name, one fraction per group; ``None`` where there is none. Of many the first `MOST_LINES` are drawn.
        lying: As in `Panel`.
    """
    names = list(rows)[:MOST_LINES]
    lines = []
    for at, row in enumerate(names):
        shift = 0.6 * ((at + 0.5) / len(names) - 0.5)
        points = {place + shift: found for place, found in enumerate(rows[row]) if found is not None}
        lines += [percent_line(at, points)] if points else []
    panel = Panel("", "", y_label, tuple(lines), groups=tuple(groups), lying=lying)
    described = f"{description} Points: {'; '.join(names)}.{left_out(len(rows), MOST_LINES, 'rows')}"
    return Chart(name, title, described, (panel,), numbered_series(names, joined=False))


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
