"""Drawings: a matplotlib figure with its words, written as SVG, PNG or PDF. The same figure gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_DPI = 150  # that of the files, too: letters are laid out at the size they are drawn at
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
        # Laying out once gives SVG and PNG the same layout, in half the time.
        for ax in self.figure.axes:
            for drawn in (*ax.lines, *ax.collections, *ax.images, *ax.texts):
                drawn.set_in_layout(False)  # they lie inside the axes: measuring them takes most of the time
        engine = self.figure.get_layout_engine()
        with _reproducible(self.name):
            if engine is not None:
                engine.execute(self.figure)
        self.figure.set_layout_engine("none")

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
def _reproducible(salt: str) -> Iterator[None]:
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in any script
        yield


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
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(*shape, at + 1) for at in range(count)]
    for ax in axes:
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def title_panel(ax: Axes, title: str, x_label: str, y_label: str, *, size: float = 9.5) -> None:
    """Writes a panel's title, of a size in points, and its axis names a point smaller."""
    ax.set_title(verbatim(title), fontsize=size, loc="left")
    ax.set_xlabel(x_label, fontsize=size - 1)
    ax.set_ylabel(y_label, fontsize=size - 1)
