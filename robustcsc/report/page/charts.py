"""The page's charts, read off the finished figures: each is drawn once, so page and files cannot disagree.

A line is named as a reader of the figure names it: by the entry of the legend that has its style.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from robustcsc.report.figures import Plot, plain

Style = tuple[str, str, str]
"""Colour as ``#rrggbb``, marker and dashes; ``""`` for none."""

Numbers = list[float | None]

_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
}
_DIGITS = 9
"""More than any table shows, so that rounding again gives the same."""
_SHADES = 9


def chart(plot: Plot) -> dict[str, object]:
    """Returns what the page draws of a figure, in types that `json` writes.

    ``legend`` lists the lines with their styles; ``panels`` holds, for each part of the figure, titles and either
    ``traces`` (points with the ends of their 95 % intervals, numbered as the legend is) or a heat map's ``rows``,
    ``columns`` and ``values``.
    """
    legend = _legend(plot)
    return {
        "legend": [
            {"label": label, "colour": colour, "symbol": _SYMBOLS.get(marker, ""), "dash": _DASHES.get(dashes, "")}
            for (colour, marker, dashes), label in legend.items()
        ],
        "panels": [_heat_map(ax) if ax.images else _lines(ax, list(legend)) for ax in plot.figure.axes],
    }


def _legend(plot: Plot) -> dict[Style, str]:
    entries: dict[Style, str] = {}
    for legend in plot.figure.legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if isinstance(handle, Line2D):
                entries[_style(handle)] = plain(text.get_text())
    return entries


def _style(line: Line2D) -> Style:
    marker, dashes = (str(part) for part in (line.get_marker(), line.get_linestyle()))
    absent = ("None", "none", " ", "")
    return (
        to_hex(line.get_color()),
        "" if marker in absent else marker,
        "" if dashes in absent else dashes,
    )


def _lines(ax: Axes, legend: Sequence[Style]) -> dict[str, object]:
    bars = dict(_error_bars(ax))
    bands = [it for it in ax.collections if isinstance(it, PolyCollection)]
    traces: list[dict[str, object]] = []
    for line in _data_lines(ax):
        xs, ys = (np.asarray(part, dtype=float) for part in (line.get_xdata(), line.get_ydata()))
        entry, style = _entry(line, legend), _style(line)
        ends = bars.get(id(line)) or _band(bands, xs, ys, style[0])
        trace: dict[str, object] = {"line": entry, "x": _numbers(xs), "y": _numbers(ys)}
        trace |= {"marks": bool(style[1]), "joined": bool(style[2]) and len(xs) > 1}
        if entry is None:
            trace |= {"colour": style[0]}
        if ends:
            trace |= {"low": ends[0], "high": ends[1]}
        traces.append(trace)
    return {**_words(ax), **_ticks(ax), "range": [float(end) for end in ax.get_ylim()], "traces": traces}


def _data_lines(ax: Axes) -> list[Line2D]:
    caps = {id(cap) for it in ax.containers if isinstance(it, ErrorbarContainer) for cap in it.lines[1]}
    return [line for line in ax.get_lines() if id(line) not in caps and np.size(line.get_xdata())]


def _entry(line: Line2D, legend: Sequence[Style]) -> int | None:
    """Returns the number of the legend's entry of a line: the one of its style, else the only one of its colour."""
    style = _style(line)
    if style in legend:
        return legend.index(style)
    alike = [at for at, entry in enumerate(legend) if entry[0] == style[0]]
    return alike[0] if len(alike) == 1 else None


def _error_bars(ax: Axes) -> Iterator[tuple[int, tuple[Numbers, Numbers]]]:
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            points, _, (bars, *_) = container.lines
            if points is not None and isinstance(bars, LineCollection):
                ends = np.asarray(bars.get_segments())[:, :, 1]
                yield id(points), (_numbers(ends[:, 0]), _numbers(ends[:, 1]))


def _band(
    bands: Sequence[PolyCollection], xs: NDArray[np.float64], ys: NDArray[np.float64], colour: str
) -> tuple[Numbers, Numbers] | None:
    """Returns the ends of the shaded band around a line: the polygon of its colour whose corners stand at its points.

    The outline of a band goes along one side and back along the other, from a corner that is repeated.
    """
    count = len(xs)
    for band in bands:
        corners: NDArray[np.float64] = np.array(band.get_paths()[0].vertices, dtype=float)
        if _colour(band) != colour or len(corners) != 2 * count + 3:
            continue
        low, high = corners[1 : count + 1], corners[count + 2 : 2 * count + 2][::-1]
        sides = (low[:, 0], high[:, 0])
        if all(np.array_equal(side, xs) for side in sides) and (low[:, 1] <= ys).all() and (ys <= high[:, 1]).all():
            return _numbers(low[:, 1]), _numbers(high[:, 1])
    return None


def _colour(band: PolyCollection) -> str:
    red, green, blue = (float(part) for part in np.array(band.get_facecolor())[0, :3])
    return to_hex((red, green, blue))


def _heat_map(ax: Axes) -> dict[str, object]:
    (image,) = ax.images
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
    columns, rows = ([plain(it.get_text()) for it in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis))
    low, high = (float(end) for end in image.get_clim())
    shades = [to_hex(image.cmap(at / (_SHADES - 1))) for at in range(_SHADES)]
    written = {(round(it.get_position()[1]), round(it.get_position()[0])): it.get_text() for it in ax.texts}
    texts = [[written.get((row, column), "") for column in range(len(columns))] for row in range(len(rows))]
    return {
        **_words(ax),
        **{"rows": rows, "columns": columns, "values": [_numbers(row) for row in values], "texts": texts},
        **{"range": [low, high], "shades": shades},
    }


def _words(ax: Axes) -> Mapping[str, object]:
    return {
        "title": ", ".join(plain(ax.get_title(loc="left")).splitlines()),
        "xlabel": ax.get_xlabel(),
        "ylabel": ax.get_ylabel(),
    }


def _ticks(ax: Axes) -> Mapping[str, object]:
    """Returns where the horizontal axis is marked with words or whole numbers, if it is."""
    if not isinstance(ax.xaxis.get_major_locator(), mpl.ticker.FixedLocator):
        return {}
    at = [float(place) for place in ax.get_xticks()]
    words = [plain(label.get_text()) for label in ax.get_xticklabels()]
    span = [float(end) for end in ax.get_xlim()]
    return {
        "span": span,
        "ticks": at,
        "ticktext": [word or f"{place:g}" for place, word in zip(at, words, strict=True)],
    }


def _numbers(values: NDArray[np.float64]) -> Numbers:
    return [round(float(value), _DIGITS) if np.isfinite(value) else None for value in values]
