"""Charts as the JSON that ``charts.js`` draws with plotly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import fill

from robustcsc.presentation.chart import GROUP_WIDTH, SHADES, Chart, HeatMap, Line, Panel, Series, span

_DIGITS = 9
"""More than any table shows, so that rounding again gives the same."""


def chart_data(chart: Chart) -> dict[str, object]:
    """Returns what the page draws of a chart, in types that `json` writes.

    ``legend`` lists the series with their styles. ``panels`` holds, for each panel, titles and either ``traces``
    (points with the ends of their intervals; ``line`` is a place in the legend) or the ``rows``, ``columns`` and
    ``values`` of a heat map.
    """
    panels = (_heat_map(it) if isinstance(it, HeatMap) else _lines(chart, it) for it in chart.panels)
    return {"legend": [{"label": it.label, **_style(it)} for it in chart.legend], "panels": list(panels)}


def _style(series: Series) -> dict[str, object]:
    return {"colour": series.colour, "symbol": series.marker, "dash": series.dashes}


def _lines(chart: Chart, panel: Panel) -> dict[str, object]:
    drawn: dict[str, object] = {**_titles(panel.title, panel.x_label, panel.y_label)}
    if panel.groups:
        words, count = [fill(it, GROUP_WIDTH) for it in panel.groups], len(panel.groups)
        drawn |= {"ticks": list(range(count)), "ticktext": words, "span": [-0.6, count - 0.4]}
    elif panel.ticks:
        xs = [*panel.ticks, *(x for line in panel.lines for x in line.x)]
        drawn |= {"ticks": list(panel.ticks), "ticktext": [f"{tick:g}" for tick in panel.ticks], "span": list(span(xs))}
    traces = [trace for line in panel.lines for trace in _traces(chart, line)]
    return {**drawn, "range": list(chart.heights(panel)), "traces": traces}


def _traces(chart: Chart, line: Line) -> Iterator[dict[str, object]]:
    """Yields a line, and its marked points by themselves where not all are marked."""
    series = chart.style(line)
    named: dict[str, object] = {"line": None, **_style(series)}
    if series in chart.legend:
        named = {"line": chart.legend.index(series)}
    trace = {**named, "x": _numbers(line.x), "y": _numbers(line.y)}
    trace |= {"marks": bool(series.marker) and line.marked is None, "joined": bool(series.dashes) and len(line.x) > 1}
    yield trace | ({"low": _numbers(line.low), "high": _numbers(line.high)} if line.low else {})
    if line.marked is not None:
        xs, ys = ([points[at] for at in line.marked] for points in (line.x, line.y))
        yield {**named, "x": _numbers(xs), "y": _numbers(ys), "marks": True, "joined": False}


def _heat_map(panel: HeatMap) -> dict[str, object]:
    return {
        **_titles(panel.title, panel.x_label, ""),
        "rows": list(panel.rows),
        "columns": list(panel.columns),
        "values": [[None if it is None else round(it, _DIGITS) for it in row] for row in panel.values],
        "texts": panel.texts,
        "range": [0.0, 100.0],
        "shades": list(SHADES),
    }


def _titles(title: str, x_label: str, y_label: str) -> dict[str, str]:
    return {"title": ", ".join(title.splitlines()), "xlabel": x_label, "ylabel": y_label}


def _numbers(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
