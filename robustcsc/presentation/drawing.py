"""Drawings: a matplotlib figure with its words, written as SVG, PNG or PDF. The same figure gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

DPI = 150  # that of the files, too: letters are laid out at the size they are drawn at
_FAST = {"compress_level": 3}  # a tenth larger than with 6, in half the time
_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_ROW = 3.1, 2.5, 0.24  # inches
_MOST_COLUMNS = 3


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
        self.figure.set_dpi(DPI)  # which is 72 in an SVG
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


def grid(count: int, most_columns: int = _MOST_COLUMNS) -> tuple[int, int]:
    """Returns how many rows and columns of panels `count` of them make."""
    columns = 2 if count == 4 else min(count, most_columns)
    return math.ceil(count / columns), columns


def panels(count: int, legend_rows: int = 0) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` panels in rows of at most three, with room for a legend below."""
    rows, columns = grid(count)
    width = max(columns * _PANEL_WIDTH, 4.6)
    height = rows * _PANEL_HEIGHT + legend_rows * _LEGEND_ROW + 0.2
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, at + 1) for at in range(count)]
    for ax in axes:
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def is_first_column(ax: Axes) -> bool:
    """Whether a panel is the first one of its row."""
    place = ax.get_subplotspec()
    return place is None or place.is_first_col()


def share_heights(axes: Sequence[Axes]) -> None:
    """Gives all panels the same vertical range, so that they can be compared by eye; the first of a row is labelled."""
    ends = [ax.get_ylim() for ax in axes]
    for ax in axes:
        ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
        if not is_first_column(ax):
            ax.tick_params(labelleft=False)
            ax.yaxis.label.set_visible(False)


def title_panel(ax: Axes, title: str, x: str, y: str) -> None:
    """Writes a panel's title and axis names."""
    ax.set_title(verbatim(title), fontsize=9.5, loc="left")
    ax.set_xlabel(x, fontsize=8.5)
    ax.set_ylabel(y, fontsize=8.5)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Puts one legend for all panels below them, as many entries a row as fit."""
    shown = [verbatim(label) for label in labels]
    figure.legend(
        list(handles), shown, loc="outside lower left", ncols=legend_columns(labels), fontsize=8, frameon=False
    )


def legend_columns(labels: Sequence[str]) -> int:
    """Returns how many entries fit side by side."""
    longest = max(map(len, labels), default=0)
    return 1 if longest > 45 else 2 if longest > 20 else 4


def legend_rows(labels: Sequence[str]) -> int:
    """Returns how many rows `legend_below` needs."""
    return math.ceil(len(labels) / legend_columns(labels))
