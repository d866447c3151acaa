"""Drawings as marks on a sheet, and their form as SVG, whose words are text. Lengths are points, heights go down."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal
from xml.sax.saxutils import escape

from robustcsc.presentation.colours import BLACK

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

LINE_HEIGHT = 1.2
"""From one line of text to the next, as a multiple of its size."""
_FONTS = "DejaVu Sans,Verdana,Helvetica,Arial,sans-serif"  # the first two are the widest, see `text_width`
_WIDTHS = (
    (0.3, "'ijlIJ"), (0.41, " ,./:;\\|f-()[]t!r"), (0.5, "*_`\""), (0.56, "sz?cL"), (0.64, "FkvxyPTYaoeESbdghnpqu"),
    (0.7, "$0123456789{}KAVBRXZC"), (0.79, "UHNDG&OQ"), (0.86, "w#+<=>^~M"), (1.0, "%mW@"),
)  # fmt: skip
_WIDTH_OF = {letter: width for width, letters in _WIDTHS for letter in letters}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_width(text: str, size: float) -> float:
    """Returns at most how many points wide a line of text is: that of DejaVu Sans, a wide font.

    Examples:
        >>> text_width("0%", 10)
        17.0
    """
    return size * sum(_WIDTH_OF.get(it) or (1.0 if unicodedata.east_asian_width(it) in "WFA" else 0.64) for it in text)


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Returns lines of text that are at most `width` points wide; a longer word has a line of its own.

    Examples:
        >>> wrapped("sdnet18, no lambda", 50, 9)
        ['sdnet18,', 'no lambda']
    """
    lines = []
    for paragraph in text.split("\n"):
        lines.append("")
        for word in paragraph.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and text_width(longer, size) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return lines


def grid(count: int, most_columns: int) -> tuple[int, int]:
    """Returns how many rows and columns `count` panels make.

    Examples:
        >>> grid(2, 3), grid(4, 3), grid(7, 3)
        ((1, 2), (2, 2), (3, 3))
    """
    columns = 2 if count == 4 else min(count, most_columns)
    return math.ceil(count / columns), columns


@dataclass(frozen=True)
class Stroke:
    """A line through points.

    Attributes:
        points: Where it goes.
        colour: ``#rrggbb``.
        width: Of the line.
        dashes: Lengths of dashes and gaps in turn, as multiples of the width; empty for a line without gaps.
        opacity: From 0, which is not seen, to 1.
    """

    points: tuple[Point, ...]
    colour: str
    width: float
    dashes: tuple[float, ...] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """What lies inside a polygon.

    Attributes:
        points: Its corners.
        colour: ``#rrggbb``.
        opacity: From 0, which is not seen, to 1.
    """

    points: tuple[Point, ...]
    colour: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Disc:
    """What lies inside a circle.

    Attributes:
        at: Its centre.
        radius: Its radius.
        colour: ``#rrggbb``.
    """

    at: Point
    radius: float
    colour: str


@dataclass(frozen=True)
class Text:
    """A line of text.

    Attributes:
        at: Where it is anchored, on the line that letters stand on.
        text: The text as it is read.
        size: Of its font.
        anchor: Which part of the text is there.
        colour: ``#rrggbb``.
        upwards: Whether it is read from bottom to top.
    """

    at: Point
    text: str
    size: float
    anchor: Anchor = "start"
    colour: str = BLACK
    upwards: bool = False


Mark = Stroke | Area | Disc | Text


@dataclass(frozen=True)
class Sheet:
    """Marks and the words that describe them.

    Attributes:
        name: File name without an ending.
        title: What is shown.
        description: What a reader who cannot see it needs to know.
        width: Of the sheet, which is white.
        height: Of the sheet.
        marks: What lies on it, the first lowest.
    """

    name: str
    title: str
    description: str
    width: float
    height: float
    marks: tuple[Mark, ...]

    def to_svg(self) -> str:
        """Returns an ``<svg>`` element without ids, so that several fit in one page.

        Examples:
            >>> sheet = Sheet("s", "t", "d", 40, 20, (Text((4, 15), "72 %", 9),))
            >>> sheet.to_svg().splitlines()[-2]
            '<text x="4" y="15" font-size="9">72 %</text>'
        """
        size = f'width="{_number(self.width)}pt" height="{_number(self.height)}pt"'
        box = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {box} font-family="{_FONTS}">',
            f"<title>{_escaped(self.title)}</title>",
            f"<desc>{_escaped(self.description)}</desc>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]
        return "\n".join(chain(lines, map(_element, self.marks), ["</svg>\n"]))


def _element(mark: Mark) -> str:
    """Returns a mark as an element of an SVG."""
    match mark:
        case Stroke():
            words = f'points="{_points(mark.points)}" stroke="{mark.colour}" stroke-width="{_number(mark.width)}"'
            if mark.dashes:
                words += f' stroke-dasharray="{" ".join(_number(mark.width * it) for it in mark.dashes)}"'
            return f'<polyline fill="none" {words}{_opacity(mark.opacity)}/>'
        case Area():
            return f'<polygon points="{_points(mark.points)}" fill="{mark.colour}"{_opacity(mark.opacity)}/>'
        case Disc():
            (x, y), radius = map(_number, mark.at), _number(mark.radius)
            return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{mark.colour}"/>'
        case Text():
            return f"<text {' '.join(_facts(mark))}>{_escaped(mark.text)}</text>"


def _facts(text: Text) -> Iterator[str]:
    """Yields the attributes of a text, but those that it has anyway."""
    x, y = map(_number, text.at)
    yield f'x="{x}" y="{y}" font-size="{_number(text.size)}"'
    if text.anchor != "start":
        yield f'text-anchor="{text.anchor}"'
    if text.colour != BLACK:
        yield f'fill="{text.colour}"'
    if text.upwards:
        yield f'transform="rotate(-90 {x} {y})"'


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _opacity(share: float) -> str:
    return "" if share == 1 else f' opacity="{share:g}"'


def _number(points: float) -> str:
    return f"{round(points, 2):g}"


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))
