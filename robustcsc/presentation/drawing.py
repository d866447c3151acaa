"""Drawings: a matplotlib figure with its words, written as SVG, PNG or PDF. The same figure gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from robustcsc.presentation.marks import Anchor, Area, Disc, Mark, Sheet, Stroke, Text, grid

_DPI = 150  # that of the files, too: letters are laid out at the size they are drawn at
_ANCHORS: dict[Anchor, Literal["left", "center", "right"]] = {"start": "left", "middle": "center", "end": "right"}
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

    @classmethod
    def of(cls, sheet: Sheet) -> Drawing:
        """Returns marks as a figure."""
        size = sheet.width / 72, sheet.height / 72
        figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, sheet.width), ylim=(sheet.height, 0))
        ax.set_axis_off()
        for at, artist in enumerate(map(_artist, sheet.marks)):
            artist.set_zorder(at)
            ax.add_artist(artist)
        return cls(sheet.name, sheet.title, sheet.description, figure)

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
    size = max(columns * 3.1, 4.6), rows * 2.5 + 0.2
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, at + 1) for at in range(count)]
    for ax in axes:
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def title_panel(ax: Axes, title: str, x_label: str, y_label: str) -> None:
    """Writes a panel's title and the names of its axes."""
    ax.set_title(verbatim(title), fontsize=9.5, loc="left")
    ax.set_xlabel(x_label, fontsize=8.5)
    ax.set_ylabel(y_label, fontsize=8.5)


def _artist(mark: Mark) -> Artist:
    match mark:
        case Stroke():
            xs, ys = zip(*mark.points, strict=True)
            line = Line2D(xs, ys, color=mark.colour, linewidth=mark.width, alpha=mark.opacity)
            if mark.dashes:
                line.set_linestyle((0, mark.dashes))
            return line
        case Area():
            return Polygon(mark.points, facecolor=mark.colour, alpha=mark.opacity, linewidth=0)
        case Disc():
            return Circle(mark.at, mark.radius, facecolor=mark.colour, linewidth=0)
        case Text():
            text = mpl.text.Text(*mark.at, mark.text, fontsize=mark.size, color=mark.colour, parse_math=False)
            text.set(ha=_ANCHORS[mark.anchor], va="baseline", rotation=90 * mark.upwards, rotation_mode="anchor")
            return text
