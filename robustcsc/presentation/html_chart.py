"""Dots and heat maps for a page: HTML that needs no script, takes the width there is, and has text for labels.

Places along an axis are shares of its width. Charts of lines are drawn by a script: see `interactive`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from robustcsc.presentation.chart import Chart, Dots, HeatMap
from robustcsc.presentation.colours import SHADES, ink_on, shade
from robustcsc.presentation.table import Column, Estimate

_PERCENT = Column("", percent=True)
_SIDE_BY_SIDE = 5
"""Panels of dots that share one set of names on a wide page; more of them have names of their own."""


def html_chart(chart: Chart) -> str:
    """Returns the panels of a chart of dots or heat maps, ``""`` for a chart of lines.

    Examples:
        >>> dots = Dots("noise", "accuracy (%)", ("sdnet",), (Estimate(0.72, 0.71, 0.73),))
        >>> 'aria-label="sdnet: 72.00 [71.00, 73.00]"' in html_chart(Chart("c", "t", "d", (dots,)))
        True
    """
    dots = [it for it in chart.panels if isinstance(it, Dots)]
    if dots:
        return _dots(dots)
    maps = [it for it in chart.panels if isinstance(it, HeatMap)]
    return f'<div class="maps">\n{"".join(map(_map, maps))}</div>\n{_scale()}' if maps else ""


def _dots(panels: Sequence[Dots]) -> str:
    aligned = len(panels) <= _SIDE_BY_SIDE
    style = f"--panels:{len(panels)};--rows:{len(panels[0].rows) + 2}"
    return (
        f'<div class="dots{" aligned" if aligned else ""}" style="{style}">\n{"".join(map(_dots_panel, panels))}</div>'
    )


def _dots_panel(panel: Dots) -> str:
    def place(percent: float) -> float:
        return 100 * (percent - panel.ticks[0]) / (panel.ticks[-1] - panel.ticks[0])

    def marks(point: Estimate | None) -> str:
        if point is None:
            return ""
        dot = f'<b class="dot" style="left:{place(100 * point.value):.2f}%"></b>'
        if point.low is None or point.high is None:
            return dot
        low, high = place(100 * point.low), place(100 * point.high)
        return f'<b class="ends" style="left:{low:.2f}%;width:{high - low:.2f}%"></b>{dot}'

    title = escape(panel.title)
    lines = "".join(f'<i style="left:{place(tick):g}%"></i>' for tick in panel.ticks)
    rows = (
        f'<span class="who">{escape(name)}</span><span class="track" role="img" aria-label="{escape(said)}" '
        f'title="{escape(said)}">{lines}{marks(point)}</span>\n'
        for name, point, said in zip(panel.rows, panel.points, map(_said, panel.rows, panel.points), strict=True)
    )
    ticks = "".join(f'<span style="left:{place(tick):g}%">{tick}</span>' for tick in panel.ticks)
    axis = f'<span class="unit">{escape(panel.x_label)}</span><span class="ticks">{ticks}</span>'
    return f'<div class="stress" role="group" aria-label="{title}">\n<h4>{title}</h4>\n{"".join(rows)}{axis}</div>\n'


def _said(name: str, point: Estimate | None) -> str:
    return f"{name}: {'not measured' if point is None else _PERCENT.text(point)}"


def _map(panel: HeatMap) -> str:
    heads = "".join(f'<th scope="col">{escape(it)}</th>' for it in panel.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f"{''.join(_shaded(value, text) for value, text in zip(values, texts, strict=True))}</tr>\n"
        for name, values, texts in zip(panel.rows, panel.values, panel.texts, strict=True)
        if any(texts)
    )
    title = escape(", ".join(panel.title.splitlines()))
    head = f"<thead><tr><td>{escape(panel.x_label)}</td>{heads}</tr></thead>"
    return f'<table class="map"><caption>{title}</caption>\n{head}\n<tbody>\n{rows}</tbody></table>\n'


def _shaded(value: float | None, text: str) -> str:
    if value is None:
        return "<td></td>"
    colour = shade(value / 100)
    return f'<td style="background:{colour};color:{ink_on(colour)}">{text}</td>'


def _scale() -> str:
    gradient = ",".join(SHADES)
    return (
        '<p class="scale"><span>0 %</span>'
        f'<span class="shades" style="background:linear-gradient(90deg,{gradient})"></span><span>100 %</span></p>'
    )
