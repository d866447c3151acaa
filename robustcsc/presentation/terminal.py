"""Tables as lines of text that fit a width, for terminals, pipes and log files.

One rule says how a table is shown. If it fits, it is shown as it is. Otherwise words or a count that are the same in
every row are told once, above, and the shortest of three forms is taken: rows whose cells are wrapped; the table
upright, a line for each column and a column for each row; or each row as a block of lines, without what is
missing. Where the words at the left of a row become its title, they stand without their headings.

Lines are broken between words only: no number, interval or word of a heading is cut, and none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile, zip_longest

from rich.cells import cell_len

from robustcsc.presentation.table import Cell, Column, Table, Worded

Pieces = Sequence[str]
"""A cell as text that may be broken between its pieces only."""

_GAP = 2
_UNBROKEN = re.compile(r"\S*\[[-+\d.]+, [-+\d.]+\]\S*|\S+")
"""A word or an interval, with the marks at its ends."""
_LEAST_VALUE = 16
"""Columns that the values of a block get, however narrow the terminal is."""


def table_lines(table: Table, width: int) -> list[str]:
    """Returns a table, without its title and notes, as lines of at most `width` columns.

    Lines are longer only where a word or number is, or a heading and `_LEAST_VALUE` columns are.

    Examples:
        >>> columns = (Column("model"), Column("clean", percent=True), Column("noise", percent=True))
        >>> table = Table("t", "t", columns, (("sdnet-digits", 0.98, 0.5),))
        >>> print(*table_lines(table, 30), sep=chr(10))
        model         clean  noise
        ------------  -----  -----
        sdnet-digits  98.00  50.00
        >>> print(*table_lines(table, 20), sep=chr(10))
        sdnet-digits
          clean  98.00
          noise  50.00
    """
    if lines := _as_rows(table, width, wrapped=False):
        return lines
    told, rest = table.without_same()
    if told:
        return [*broken(told.split(), width), "", *table_lines(rest, width)]
    forms = (_as_rows(table, width, wrapped=True), _upright(table, width), list(_blocks(table, width)))
    return min((lines for lines in forms if lines), key=len)


def broken(pieces: Pieces, width: int) -> list[str]:
    """Returns pieces as lines of at most `width` columns, at least one line; a longer piece gets a line of its own.

    Examples:
        >>> broken(["81.78", "[81.01, 82.52]", "n=10000"], 22)
        ['81.78 [81.01, 82.52]', 'n=10000']
    """
    lines = [""]
    for piece in pieces:
        longer = f"{lines[-1]} {piece}".lstrip()
        if cell_len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def sentence_lines(sentence: str, width: int) -> list[str]:
    """Returns a sentence as lines of at most `width` columns that break no interval.

    Examples:
        >>> sentence_lines("higher ([2.3, 2.8], p < 0.001)", 13)
        ['higher', '([2.3, 2.8],', 'p < 0.001)']
    """
    return broken(_UNBROKEN.findall(sentence), width)


def _as_rows(table: Table, width: int, *, wrapped: bool) -> list[str]:
    """Returns the lines of all rows; none if they do not fit."""
    rows = [[_pieces(*it) for it in zip(table.columns, row, strict=True)] for row in table.rows]
    return _grid([[column.heading.split() for column in table.columns], *rows], table.numeric, width, wrapped=wrapped)


def _upright(table: Table, width: int) -> list[str]:
    """Returns the lines of all columns, below what names the rows; none if they do not fit."""
    first = _naming(table)
    lines: list[list[Pieces]] = [[(), *(", ".join(row[:first]).split() for row in table.texts)]]
    for at, column in enumerate(table.columns[first:], first):
        lines.append([column.heading.split(), *(_pieces(column, cell) for cell in table.cells(at))])
    numeric = [any(not isinstance(cell, str) for cell in row[first:]) for row in table.rows]
    grid = _grid(lines, [False, *numeric], width, wrapped=True)
    return grid if first else grid[2:]  # without words there is no heading, nor a rule below it


def _blocks(table: Table, width: int) -> Iterator[str]:
    """Yields each row as lines of a heading and a value, below what names the row."""
    first = _naming(table)
    widest = max(cell_len(column.heading) for column in table.columns[first:])
    room = max(width - widest - 2 * _GAP, _LEAST_VALUE)
    for number, row in enumerate(table.rows):
        yield from ([""] if number else [])
        yield from broken(", ".join(table.texts[number][:first]).split(), width) if first else []
        for column, cell in zip(table.columns[first:], row[first:], strict=True):
            lines = [] if cell is None else zip_longest([column.heading], broken(_pieces(column, cell), room))
            for heading, value in lines:
                yield f"{'':{_GAP}}{_padded(heading or '', widest)}{'':{_GAP}}{value}".rstrip()


def _naming(table: Table) -> int:
    """Returns how many columns at the left name a row: those of words, but never all."""
    words = takewhile(lambda at: all(isinstance(cell, str) for cell in table.cells(at)), range(len(table.columns)))
    found = len(list(words))
    return found if found < len(table.columns) else 1


def _pieces(column: Column, cell: Cell) -> Pieces:
    return column.text(cell).split() if isinstance(cell, str | Worded) else column.parts(cell)


def _grid(lines: Sequence[Sequence[Pieces]], right: Sequence[bool], width: int, *, wrapped: bool) -> list[str]:
    """Returns lines of cells, the first of them headings, below each other; none if they do not fit."""
    columns = list(zip(*lines, strict=True))
    widths = [max(cell_len(" ".join(pieces)) for pieces in column) for column in columns]
    least = [max(cell_len(it) for pieces in column for it in (*pieces, "")) for column in columns]
    room = width - _GAP * (len(columns) - 1)
    narrowest = ([widths[0], *least[1:]], least) if wrapped else (widths,)  # what rows begin with is wrapped last
    return min(
        (_set(lines, right, _fitted(widths, its, room)) for its in narrowest if sum(its) <= room), key=len, default=[]
    )


def _fitted(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Returns widths that fit: the widest column that can gives way."""
    fitted = list(widths)
    while sum(fitted) > room:
        fitted[max((at for at in range(len(fitted)) if fitted[at] > least[at]), key=fitted.__getitem__)] -= 1
    return fitted


def _set(lines: Sequence[Sequence[Pieces]], right: Sequence[bool], widths: Sequence[int]) -> list[str]:
    """Returns lines of cells in columns of at most these widths."""
    cells = [[broken(pieces, its) for pieces, its in zip(line, widths, strict=True)] for line in lines]
    filled = [max(cell_len(text) for broken in column for text in broken) for column in zip(*cells, strict=True)]
    head, *rows = [list(_line(line, filled, right)) for line in cells]
    seen = all(len(first) == 1 and first[0] for first, *_ in cells[1:])  # where a row begins
    apart = [""] if not seen and any(len(row) > 1 for row in rows) else []
    body = [text for row in rows for text in (*row, *apart)]
    return [*head, (" " * _GAP).join("-" * its for its in filled), *(body[:-1] if apart else body)]


def _line(cells: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    """Yields the lines of one row of cells."""
    for texts in zip_longest(*cells, fillvalue=""):
        padded = (_padded(*it) for it in zip(texts, widths, right, strict=True))
        yield (" " * _GAP).join(padded).rstrip()


def _padded(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
