"""Charts of lines as the JSON that ``charts.js`` draws with plotly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.presentation.chart import Chart, Line, Panel, Series, span

_DIGITS = 9
"""More than any table shows, so that rounding again gives the same."""


def chart_data(chart: Chart) -> dict[str, object]:
    """Returns what the page draws of a chart, in types that `json` writes.

    ``legend`` lists the series with their styles. ``panels`` holds, for each panel of lines, titles and ``traces``
    (points with the ends of their intervals; ``line`` is a place in the legend).
    """
    panels = [_lines(chart, it) for it in chart.panels if isinstance(it, Panel)]
    return {"legend": [{"label": it.label, **_style(it)} for it in chart.legend], "panels": panels}


def _style(series: Series) -> dict[str, object]:
    return {"colour": series.colour, "symbol": series.marker, "dash": series.dashes}


def _lines(chart: Chart, panel: Panel) -> dict[str, object]:
    title = ", ".join(panel.title.splitlines())
    drawn: dict[str, object] = {"title": title, "xlabel": panel.x_label, "ylabel": panel.y_label}
    if panel.ticks:
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


def _numbers(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
