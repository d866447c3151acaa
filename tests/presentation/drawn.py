"""Reads the numbers of a drawn chart from its marks, with the numbers at its axes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from robustcsc.presentation.chart import Chart
from robustcsc.presentation.marks import Mark, Point, Sheet, Text


def parts(sheet: Sheet, chart: Chart) -> list[list[Mark]]:
    """The marks of each panel, which begin with its title."""
    starts: list[int] = []
    for panel in chart.panels:
        after = starts[-1] + 1 if starts else 0
        starts.append(
            next(at for at, it in enumerate(sheet.marks) if at >= after and panel.title.startswith(said(it) or "-"))
        )
    return [list(sheet.marks[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def said(mark: Mark) -> str:
    return mark.text if isinstance(mark, Text) else ""


def texts(marks: Iterable[Mark]) -> list[Text]:
    return [it for it in marks if isinstance(it, Text)]


def scale(numbers: Iterable[tuple[float, float]]) -> np.poly1d:
    """Numbers by their places, from those that stand at an axis: at least two, on one straight line."""
    values, places = (np.array(it) for it in zip(*numbers, strict=True))
    line = np.polyfit(places, values, 1)
    np.testing.assert_allclose(np.polyval(line, places), values, atol=1e-6 * np.ptp(values))
    return np.poly1d(line)


def across(marks: Iterable[Mark]) -> np.poly1d:
    """What the numbers below a panel say about places across it."""
    found = [it for it in texts(marks) if it.anchor == "middle" and re.fullmatch(r"-?[\d.]+", it.text)]
    return scale((float(it.text), it.at[0]) for it in found)


def up(marks: Iterable[Mark]) -> np.poly1d:
    """What the numbers beside a panel say about heights; a digit is 0.72 of its font's size high."""
    found = [it for it in texts(marks) if it.anchor == "end"]
    return scale((float(it.text), it.at[1] - 0.36 * it.size) for it in found)


def read_points(points: Iterable[Point], xs: np.poly1d, ys: np.poly1d) -> tuple[list[float], list[float]]:
    places = list(points)
    return [float(round(xs(x), 6)) for x, _ in places], [float(round(ys(y), 6)) for _, y in places]
