"""Charts drawn with matplotlib: for a report, or narrow, for a column of a paper."""

from __future__ import annotations

import math
from dataclasses import replace
from textwrap import fill
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustcsc.presentation.chart import BLACK, GROUP_WIDTH, SHADES, Chart, Dashes, HeatMap, Line, Marker, Panel, Series
from robustcsc.presentation.drawing import (
    DPI,
    Drawing,
    grid,
    is_first_column,
    legend_below,
    legend_columns,
    legend_rows,
    panels,
    title_panel,
    verbatim,
)

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
_TWO_COLUMNS = 6.8  # inches that two entries of the legend need side by side
_GROUP, _ROW, _HEAD = 1.3, 0.19, 1.0  # inches: of a group, a row of a heat map, and what stands above and below these
_DARK = 0.55  # share of a heat map's range; below, the shade is dark and its number white

_NARROW, _NARROW_HEIGHT, _NARROW_LEGEND_ROW = 3.25, 1.55, 0.16  # inches: one of two columns, a row of panels
_LETTERS, _SMALL = 8, 7  # points, where narrow


def draw(chart: Chart, *, narrow: bool = False) -> Drawing:
    """Returns a chart as a drawing.

    Args:
        chart: The chart.
        narrow: Sizes it for one of two columns of a paper, where the caption has the title.
    """
    figure, axes = _narrow_panels(chart) if narrow else _report_panels(chart)
    for ax, panel in zip(axes, chart.panels, strict=True):
        if isinstance(panel, HeatMap):
            _draw_map(ax, panel)
            continue
        for line in panel.lines:
            _draw_line(ax, line, chart.series, narrow)
        _place(ax, panel, chart)
        if narrow:
            ax.set_title(verbatim(panel.title), fontsize=_LETTERS)
            ax.set_xlabel(panel.x_label, fontsize=_LETTERS)
            ax.set_ylabel(panel.y_label if is_first_column(ax) else "", fontsize=_LETTERS)
        else:
            first = is_first_column(ax) or not chart.same_heights
            title_panel(ax, panel.title, panel.x_label, panel.y_label if first else "")
    _write_legend(figure, chart, narrow)
    return Drawing(chart.name, chart.title, chart.description, figure)


def _report_panels(chart: Chart) -> tuple[Figure, list[Axes]]:
    labels, first = [it.label for it in chart.legend], chart.panels[0]
    figure, axes = panels(len(chart.panels), legend_rows(labels))
    width, height = map(float, figure.get_size_inches())
    if isinstance(first, HeatMap):
        width, height = width + 0.8, grid(len(axes))[0] * (_ROW * len(first.rows) + _HEAD)
    elif first.groups:
        width, height = max(_GROUP * len(first.groups) + 0.8, 4.6), height + 0.5
    elif legend_columns(labels) == 2:
        width = max(width, _TWO_COLUMNS)
    figure.set_size_inches(width, height)
    return figure, axes


def _narrow_panels(chart: Chart) -> tuple[Figure, list[Axes]]:
    count = len(chart.panels)
    rows, columns = grid(count, 2)
    legend = math.ceil(len(chart.legend) / _narrow_legend_columns(chart)) * _NARROW_LEGEND_ROW
    height = (rows if count > 1 else 1.3) * _NARROW_HEIGHT + legend + 0.1
    figure = Figure(figsize=(_NARROW, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, at + 1) for at in range(count)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=_SMALL, width=0.6, length=2.5)
    return figure, axes


def _draw_line(ax: Axes, line: Line, series: tuple[Series, ...], narrow: bool) -> None:
    if line.series is None:
        ax.plot(line.x, line.y, color=BLACK, linewidth=0.9 if narrow else 1.2, zorder=1)
        return
    style = series[line.series]
    drawn = _artist(style, narrow, marked=line.marked is None)
    drawn.set_data(line.x, line.y)
    if line.low and style.dashes:
        ax.fill_between(line.x, line.low, line.high, color=style.colour, alpha=0.15, linewidth=0)
    elif line.low:
        below = [max(y - low, 0.0) for y, low in zip(line.y, line.low, strict=True)]
        above = [max(high - y, 0.0) for y, high in zip(line.y, line.high, strict=True)]
        ax.errorbar(line.x, line.y, yerr=[below, above], color=style.colour, fmt="none", capsize=2.5)
    ax.add_line(drawn)
    if line.marked:
        marks = _artist(replace(style, dashes=""), narrow)
        marks.set_data(*([points[at] for at in line.marked] for points in (line.x, line.y)))
        ax.add_line(marks)
    ax.autoscale_view()


def _artist(style: Series, narrow: bool, *, marked: bool = True) -> Line2D:
    return Line2D(
        [],
        [],
        color=style.colour,
        marker=_MARKERS[style.marker] if marked else "",
        linestyle=_DASHES[style.dashes],
        linewidth=0.9 if narrow else 1.6,
        markersize=3 if narrow else 4.5,
    )


def _place(ax: Axes, panel: Panel, chart: Chart) -> None:
    """Sets the ranges and the marks of a panel's axes."""
    ax.set_ylim(*chart.heights(panel))
    if chart.same_heights and not is_first_column(ax):
        ax.tick_params(labelleft=False)
    if panel.groups:
        ax.set_xlim(-0.6, len(panel.groups) - 0.4)
        ax.set_xticks(range(len(panel.groups)), [verbatim(fill(words, GROUP_WIDTH)) for words in panel.groups])
    elif panel.ticks:
        ax.set_xticks(panel.ticks)


def _draw_map(ax: Axes, panel: HeatMap) -> None:
    shown = [[math.nan if value is None else value for value in row] for row in panel.values]
    shades = LinearSegmentedColormap.from_list("shades", SHADES)
    ax.imshow(shown, cmap=shades, vmin=panel.low, vmax=panel.high, aspect="auto")
    ax.grid(visible=False)
    ax.set_xticks(range(len(panel.columns)), list(map(verbatim, panel.columns)))
    ax.set_yticks(range(len(panel.rows)), list(map(verbatim, panel.rows)))
    ax.tick_params(labelsize=7.5, length=0)
    ax.set_title(verbatim(panel.title), fontsize=8.5, loc="left")
    ax.set_xlabel(panel.x_label, fontsize=8.5)
    for at, row in enumerate(panel.values):
        for column, value in enumerate(row):
            if value is not None:
                ink = "white" if value < panel.low + _DARK * (panel.high - panel.low) else "black"
                ax.text(column, at, panel.text(value), ha="center", va="center", fontsize=6.5, color=ink)


def _write_legend(figure: Figure, chart: Chart, narrow: bool) -> None:
    labels, handles = [it.label for it in chart.legend], [_artist(it, narrow) for it in chart.legend]
    if not labels:
        return
    if not narrow:
        legend_below(figure, handles, labels)
        return
    figure.legend(
        handles,
        list(map(verbatim, labels)),
        loc="outside lower center",
        ncols=_narrow_legend_columns(chart),
        fontsize=_SMALL,
        frameon=False,
        handlelength=1.6,
        columnspacing=1.0,
    )


def _narrow_legend_columns(chart: Chart) -> int:
    return 3 if max((len(it.label) for it in chart.legend), default=0) < 16 else 2
