"""Drawings: a matplotlib figure with its words, written as SVG, PNG or PDF. The same figure gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

_DPI = 150  # that of the files, too: letters are laid out at the size they are drawn at
_PAD = 0.05  # inches around a panel with its words
_LEAST = 0.2  # share of a figure that words leave to its panels, however long they are
_FAST = {"compress_level": 3}  # a tenth larger than with 6, in half the time


@dataclass(frozen=True)
class Drawing:
    """A figure and its words.

    Attributes:
        name: File name without an ending; differs between the figures of one report.
        title: What is shown, on which images.
        description: What a reader who cannot see the figure needs to know.
        figure: The drawing; free of pyplot's global state.
    """

    name: str
    title: str
    description: str
    figure: Figure

    def __post_init__(self) -> None:
        with _reproducible(self.name):
            _lay_out(self.figure)

    def to_svg(self) -> str:
        """Returns an ``<svg>`` element whose ids start with the figure's name, so that several fit in one page."""
        text = io.StringIO()
        with _reproducible(self.name):
            # not savefig, which draws once more to find a layout that is there already
            FigureCanvasSVG(self.figure).print_svg(  # type: ignore[no-untyped-call]
                text, metadata={"Date": None, "Creator": None}
            )
        self.figure.set_dpi(_DPI)  # which is 72 in an SVG
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        prefix = re.sub(r"\W", "-", self.name)
        return re.sub(r'(\sid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)

    def to_pdf(self) -> bytes:
        """Returns the figure as a PDF page of its size, its fonts embedded as TrueType."""
        page = io.BytesIO()
        dates = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        with _reproducible(self.name), mpl.rc_context({"pdf.fonttype": 42}):
            self.figure.savefig(page, format="pdf", metadata=dates)
        return page.getvalue()

    def to_png(self) -> bytes:
        """Returns the figure as a PNG image of 150 dots per inch."""
        image = io.BytesIO()
        with _reproducible(self.name):
            FigureCanvasAgg(self.figure).print_png(  # type: ignore[no-untyped-call]
                image, metadata={"Software": None}, pil_kwargs=_FAST
            )
        return image.getvalue()


@contextmanager
def own_style() -> Iterator[None]:
    """Leaves out what a ``matplotlibrc`` says, of the working directory say: the same facts give the same figure."""
    changed: Any = {
        it: usual for it, usual in mpl.rcParamsDefault.items() if it != "backend" and mpl.rcParams[it] != usual
    }
    with mpl.rc_context(changed):
        yield


@contextmanager
def _reproducible(salt: str) -> Iterator[None]:
    with own_style(), mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in any script
        yield


def _lay_out(figure: Figure) -> None:
    """Places panels of one size, above the legend, so that their words have room.

    Words are measured once: matplotlib's layout engines measure them twice, which takes a quarter of all drawing.
    """
    found = [(ax, spec) for ax in figure.axes if (spec := ax.get_subplotspec())]
    if not found:
        return
    rows, columns = found[0][1].get_gridspec().get_geometry()
    left, right = np.zeros((2, columns))
    top, bottom = np.zeros((2, rows))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for ax, spec in found:
        for drawn in (*ax.lines, *ax.collections, *ax.images, *ax.texts):
            drawn.set_in_layout(False)  # they lie inside the axes: measuring them takes most of the time
        inner, outer = ax.bbox, ax.get_tightbbox(renderer, for_layout_only=True)
        assert outer is not None  # only what is invisible has none
        row, column = spec.rowspan.start, spec.colspan.start
        left[column] = max(left[column], inner.x0 - outer.x0)
        right[column] = max(right[column], outer.x1 - inner.x1)
        top[row] = max(top[row], outer.y1 - inner.y1)
        bottom[row] = max(bottom[row], inner.y0 - outer.y0)
    pad = _PAD * figure.dpi
    below = sum(legend.get_window_extent(renderer).height + pad for legend in figure.legends)
    across, up = figure.bbox.size
    width = max(across - (left + right + 2 * pad).sum(), _LEAST * across) / columns
    height = max(up - below - (top + bottom + 2 * pad).sum(), _LEAST * up) / rows
    x = np.cumsum(left + right + 2 * pad + width) - right - pad - width
    y = up - np.cumsum(top + bottom + 2 * pad + height) + bottom + pad
    for ax, spec in found:
        place = x[spec.colspan.start], y[spec.rowspan.start], width, height
        ax.set_position(Bbox.from_bounds(*place).transformed(figure.transFigure.inverted()))


def verbatim(text: str) -> str:
    """Returns text that matplotlib shows as it is: dollars start no formula, a leading underscore hides nothing."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` empty panels, in rows of at most three."""
    rows, columns = grid(count, 3)
    return make_panels(count, (rows, columns), (max(columns * 3.1, 4.6), rows * 2.5 + 0.2))


def grid(count: int, most_columns: int) -> tuple[int, int]:
    """Returns how many rows and columns `count` panels make."""
    columns = 2 if count == 4 else min(count, most_columns)
    return math.ceil(count / columns), columns


def make_panels(count: int, shape: tuple[int, int], size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Returns a figure with panels in so many rows and columns, width and height in inches."""
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    axes = [figure.add_subplot(*shape, at + 1) for at in range(count)]
    for ax in axes:
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def title_panel(ax: Axes, title: str, x_label: str, y_label: str, *, size: float = 9.5, factors: bool = True) -> None:
    """Writes a panel's title, of a size in points, and its axis names a point smaller.

    The title gives way to a factor such as 1e-5 above the axis, which takes a while to find out, unless `factors`
    says that there is none.
    """
    ax.set_title(verbatim(title), fontsize=size, loc="left", y=None if factors else 1.0)
    ax.set_xlabel(x_label, fontsize=size - 1)
    ax.set_ylabel(y_label, fontsize=size - 1)
