"""Charts drawn with matplotlib: for a report, or narrow, for a column of a paper."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from robustcsc.presentation.chart import Chart, Dashes, Dots, HeatMap, Line, Marker, Panel, Series
from robustcsc.presentation.colours import COLOURS, SHADES, ink_on, shade
from robustcsc.presentation.drawing import Drawing, grid, make_panels, own_style, title_panel, verbatim

_MARKERS: dict[Marker, str] = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "": "",
}
_DASHES: dict[Dashes, Literal["-", "--", "-.", ":", "none"]] = {
    "solid": "-",
    "dash": "--",
    "dashdot": "-.",
    "dot": ":",
    "": "none",
}
_ROW, _HEAD = 0.19, 1.0  # inches: of a row of a heat map, and what stands above and below these
_DOT_ROW, _DOT_NAME, _DOT_WIDTH = 0.36, 2.0, 1.9  # inches: of a row of dots, of its name, and of a panel beside it
_LETTERS = 28  # of the name of a row or a panel of dots on one line
_LONG = 20  # letters of the legend's longest entry; above, a chart is as wide as two of them


@dataclass(frozen=True, kw_only=True)
class _Look:
    """Sizes in inches (panels, rows of the legend), letters an inch (of the legend) and points."""

    columns: int
    width: float
    least_width: float
    long_width: float
    height: float
    height_alone: float
    legend_row: float
    letters: int
    title: float
    legend_size: float
    line: float
    marker: float


_REPORT = _Look(
    columns=3, width=3.1, least_width=4.6, long_width=6.8, height=2.5, height_alone=2.5, legend_row=0.24,
    letters=15, title=9.5, legend_size=8, line=1.6, marker=4.5,
)  # fmt: skip
_NARROW = _Look(
    columns=2, width=1.625, least_width=3.25, long_width=3.25, height=1.55, height_alone=2.0, legend_row=0.16,
    letters=19, title=8.5, legend_size=7, line=0.9, marker=3,
)  # fmt: skip


@own_style()
def draw(chart: Chart, *, narrow: bool = False) -> Drawing:
    """Returns a chart as a drawing.

    Args:
        chart: The chart.
        narrow: Sizes it for one of two columns of a paper, where the caption has the title.
    """
    look = _NARROW if narrow else _REPORT
    shape = grid(len(chart.panels), look.columns)
    figure, axes = make_panels(len(chart.panels), shape, _size(chart, look, shape))
    for at, (ax, panel) in enumerate(zip(axes, chart.panels, strict=True)):
        if isinstance(panel, HeatMap):
            _draw_map(ax, panel)
            continue
        if isinstance(panel, Dots):
            _draw_dots(ax, panel, named=at % shape[1] == 0)
            continue
        for line in panel.lines:
            _draw_line(ax, line, chart.style(line), look)
        ax.autoscale_view()  # once for all lines: it costs as much as drawing one
        _set_axes(ax, panel, chart)
        repeated = at % shape[1] > 0 and (narrow or chart.same_heights)
        y_label = "" if repeated else panel.y_label
        title_panel(ax, panel.title, panel.x_label, y_label, size=look.title, factors=not chart.same_heights)
        ax.tick_params(labelleft=not (repeated and chart.same_heights))
        if narrow:
            ax.grid(visible=False)
            ax.tick_params(labelsize=look.legend_size, width=0.6, length=2.5)
    if chart.legend:
        figure.legend(
            [_artist(it, look) for it in chart.legend],
            [verbatim(it.label) for it in chart.legend],
            loc="lower center" if narrow else "lower left",
            ncols=_legend_columns(chart, look, figure.get_figwidth()),
            fontsize=look.legend_size,
            frameon=False,
            **({"handlelength": 1.6, "columnspacing": 1.0} if narrow else {}),
        )
    return Drawing(chart.name, chart.title, chart.description, figure)


def _size(chart: Chart, look: _Look, shape: tuple[int, int]) -> tuple[float, float]:
    """Returns width and height in inches."""
    (rows, columns), first = shape, chart.panels[0]
    width = max(columns * look.width, look.least_width)
    if isinstance(first, HeatMap):
        return width + 0.8, rows * (_ROW * len(first.rows) + _HEAD)
    if isinstance(first, Dots):
        return _DOT_NAME + columns * _DOT_WIDTH, rows * (_DOT_ROW * len(first.rows) + _HEAD)
    if max((len(it.label) for it in chart.legend), default=0) > _LONG:
        width = max(width, look.long_width)
    height = look.height_alone if len(chart.panels) == 1 else rows * look.height
    legend_rows = math.ceil(len(chart.legend) / _legend_columns(chart, look, width))
    return width, height + legend_rows * look.legend_row + 0.2


def _legend_columns(chart: Chart, look: _Look, width: float) -> int:
    """Returns how many entries fit side by side."""
    longest = max((len(it.label) for it in chart.legend), default=0)
    return max(1, min(4, int(look.letters * width) // (longest + 6)))


def _draw_line(ax: Axes, line: Line, style: Series, look: _Look) -> None:
    if line.shape == "stems":
        ax.vlines(line.x, 0, line.y, color=style.colour, linewidth=0.6)
        return
    drawn = _artist(style if line.marked is None else replace(style, marker=""), look)
    drawn.set_data(line.x, line.y)
    if line.shape == "steps":
        drawn.set_drawstyle("steps-post")
    if line.series is None:
        drawn.set(linewidth=0.75 * look.line, zorder=1)
    if line.low and style.dashes:
        around = [*zip(line.x, line.low, strict=True), *reversed([*zip(line.x, line.high, strict=True)])]
        band = PolyCollection([around], facecolor=style.colour, alpha=0.15, linewidth=0)
        ax.add_collection(band, autolim=False)  # fill_between also looks for gaps, and takes ten times as long
    elif line.low:
        below = [max(y - low, 0.0) for y, low in zip(line.y, line.low, strict=True)]
        above = [max(high - y, 0.0) for y, high in zip(line.y, line.high, strict=True)]
        ax.errorbar(line.x, line.y, yerr=[below, above], color=style.colour, fmt="none", capsize=2.5)
    ax.add_line(drawn)
    if line.marked:
        marks = _artist(replace(style, dashes=""), look)
        marks.set_data(*([points[at] for at in line.marked] for points in (line.x, line.y)))
        ax.add_line(marks)


def _artist(style: Series, look: _Look) -> Line2D:
    drawn = Line2D([], [], color=style.colour, linestyle=_DASHES[style.dashes], linewidth=look.line)
    drawn.set(marker=_MARKERS[style.marker], markersize=look.marker)
    return drawn


def _set_axes(ax: Axes, panel: Panel, chart: Chart) -> None:
    """Sets the ranges and the marks of a panel's axes."""
    ax.set_ylim(*chart.heights(panel))
    if chart.same_heights:
        ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    if panel.ticks:
        ax.set_xticks(panel.ticks)


def _draw_dots(ax: Axes, panel: Dots, *, named: bool) -> None:
    """Draws rows of dots, with the names of the rows if `named`."""
    for at, point in enumerate(panel.points):
        if point is not None:
            if point.low is not None and point.high is not None:
                ax.plot([100 * point.low, 100 * point.high], [at, at], color=COLOURS[0], linewidth=2, alpha=0.5)
            ax.plot([100 * point.value], [at], color=COLOURS[0], marker="o", markersize=5)
    ax.set_xlim(panel.ticks[0], panel.ticks[-1])
    ax.set_xticks(panel.ticks)
    ax.set_ylim(len(panel.rows) - 0.5, -0.5)
    names = [verbatim(fill(it, _LETTERS)) if named else "" for it in panel.rows]
    ax.set_yticks(range(len(panel.rows)), names)
    ax.grid(visible=False, axis="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    title_panel(ax, fill(panel.title, _LETTERS), panel.x_label, "", size=8.5, factors=False)


def _draw_map(ax: Axes, panel: HeatMap) -> None:
    shown = [[math.nan if value is None else value for value in row] for row in panel.values]
    shades = LinearSegmentedColormap.from_list("shades", SHADES)
    ax.imshow(shown, cmap=shades, vmin=0, vmax=100, aspect="auto")
    ax.grid(visible=False)
    ax.set_xticks(range(len(panel.columns)), list(map(verbatim, panel.columns)))
    ax.set_yticks(range(len(panel.rows)), list(map(verbatim, panel.rows)))
    ax.tick_params(labelsize=7.5, length=0)
    title_panel(ax, panel.title, panel.x_label, "", factors=False)
    for at, (row, texts) in enumerate(zip(panel.values, panel.texts, strict=True)):
        for column, (value, text) in enumerate(zip(row, texts, strict=True)):
            if value is not None:
                ax.text(column, at, text, ha="center", va="center", fontsize=6.5, color=ink_on(shade(value / 100)))
