"""A figure with its name and description, written as SVG or PNG: the same figure gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from robustcsc.measurements.statistics import Score

Curve = Mapping[float, Score]
"""Scores by what the horizontal axis shows."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe & Ito (2008), without yellow: told apart by colour-blind readers, dark enough for paper."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
MOST_LINES = 14
"""Lines of one figure that can still be told apart; a report of more rows draws the first ones."""
MOST_MAPS = 6
"""Panels of a heat map; of more rows the first ones are drawn."""
MOST_PANELS = 20
"""Panels that the figures of one kind may have together, the first figure excepted: drawing one takes a while."""

_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_ROW = 3.1, 2.5, 0.24  # inches
_DPI = 150  # that of the files, too: letters are laid out at the size they are drawn at
_FAST = {"compress_level": 3}  # a tenth larger than with 6, in half the time
_MOST_COLUMNS = 3
_HEADING_WIDTH = 18  # letters


@dataclass(frozen=True)
class Plot:
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


def plain(text: str) -> str:
    """Returns the text that `verbatim` was given."""
    return text.removeprefix(" ").replace(r"\$", "$")


def panels(count: int, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` panels in rows of at most three, with room for a legend below."""
    columns = 2 if count == 4 else min(count, _MOST_COLUMNS)
    rows = math.ceil(count / columns)
    width = max(columns * _PANEL_WIDTH, 4.6)
    height = rows * _PANEL_HEIGHT + legend_rows * _LEGEND_ROW + 0.2
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, at + 1) for at in range(count)]
    for ax in axes:
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def share_heights(axes: Sequence[Axes]) -> None:
    """Gives all panels the same vertical range, so that they can be compared by eye; the first of a row is labelled."""
    ends = [ax.get_ylim() for ax in axes]
    for ax in axes:
        ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
        place = ax.get_subplotspec()
        if place is not None and not place.is_first_col():
            ax.tick_params(labelleft=False)
            ax.yaxis.label.set_visible(False)


def title_panel(ax: Axes, title: str, x: str, y: str) -> None:
    """Writes a panel's title and axis names."""
    ax.set_title(verbatim(title), fontsize=9.5, loc="left")
    ax.set_xlabel(x, fontsize=8.5)
    ax.set_ylabel(y, fontsize=8.5)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Puts one legend for all panels below them, two entries a row."""
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


def draw_line(ax: Axes, curve: Curve, at: int) -> Artist:
    """Draws accuracies with a band of their 95 % intervals in the style of line number `at`; returns the line."""
    xs = sorted(curve)
    colour, marker = COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]
    dashes = DASHES[at // len(COLOURS) % len(DASHES)]
    heights = [100 * curve[x].accuracy for x in xs]
    (line,) = ax.plot(xs, heights, color=colour, marker=marker, linestyle=dashes, linewidth=1.6, markersize=4.5)
    ends = [curve[x].interval for x in xs]
    low, high = ([100 * end[side] for end in ends] for side in (0, 1))
    ax.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    return line


def left_out(whole: int, most: int, what: str) -> str:
    """Returns a sentence that says how much is not drawn; empty if all is."""
    return f" Drawn are the first {most} of {whole} {what}; the tables have all." if whole > most else ""


def draw_points(ax: Axes, curve: Curve, at: int) -> Artist:
    """Draws accuracies as points with their 95 % intervals, in the style of line number `at`; returns the points."""
    xs = sorted(curve)
    heights = [100 * curve[x].accuracy for x in xs]
    ends = [curve[x].interval for x in xs]
    reach = [
        [max(height - 100 * low, 0.0) for height, (low, _) in zip(heights, ends, strict=True)],
        [max(100 * high - height, 0.0) for height, (_, high) in zip(heights, ends, strict=True)],
    ]
    points: Artist = ax.errorbar(
        xs,
        heights,
        yerr=reach,
        color=COLOURS[at % len(COLOURS)],
        marker=MARKERS[at % len(MARKERS)],
        linestyle="none",
        capsize=2.5,
        markersize=5,
    ).lines[0]
    return points


def grouped_points(
    name: str, title: str, description: str, columns: Sequence[str], rows: Mapping[str, Sequence[Score | None]]
) -> Plot:
    """Returns a figure of points with intervals: a group per column, in it one point per row, in the row's style.

    Args:
        name: As in `Plot`.
        title: As in `Plot`.
        description: As in `Plot`; the names of the rows are added.
        columns: Headings of the groups.
        rows: By name, one score per column; ``None`` where there is none. Of many the first `MOST_LINES` are drawn.
    """
    names = list(rows)[:MOST_LINES]
    figure, (ax,) = panels(1, legend_rows(names))
    figure.set_size_inches(max(1.3 * len(columns) + 0.8, 4.6), figure.get_size_inches()[1] + 0.5)
    handles: list[Artist] = []
    for at, row in enumerate(names):
        shift = 0.6 * ((at + 0.5) / len(names) - 0.5)
        scores = enumerate(rows[row])
        handles.append(draw_points(ax, {place + shift: score for place, score in scores if score is not None}, at))
    ax.set_xlim(-0.6, len(columns) - 0.4)
    ax.set_xticks(range(len(columns)), [verbatim(fill(heading, _HEADING_WIDTH)) for heading in columns])
    title_panel(ax, "", "", "accuracy (%)")
    legend_below(figure, handles, names)
    described = f"{description} Points: {'; '.join(names)}.{left_out(len(rows), MOST_LINES, 'rows')}"
    return Plot(name, title, described, figure)


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """Returns `count` colours of an ordered, colour-blind-safe map (cividis), light to dark with the level."""
    colours = mpl.colormaps["cividis"]
    return [colours(0.85 * (1 - at / max(count - 1, 1))) for at in range(count)]
