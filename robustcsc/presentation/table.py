"""A table: columns that say how numbers are written, and cells that hold facts at full precision.

A cell is `str` (words, made by the caller), `bool`, `int` (a count, never scaled or rounded), `float`, `None`
(missing), or one of the classes below. Renderers: `terminal`, `csv_table`, `markdown`, `latex`, `html_table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from robustcsc.presentation.words import MISSING


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, in one unit: fractions where the column is a percentage.

    Attributes:
        value: The estimate.
        low: Lower end of the interval; ``None`` if there is no interval.
        high: Upper end of the interval; ``None`` if there is no interval.
        n: How many images (or other units) it was made from; ``None`` if that is not told.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and its standard deviation, in one unit: fractions where the column is a percentage.

    Attributes:
        mean: Mean over seeds.
        std: Standard deviation over seeds.
        seeds: How many seeds; ``None`` if that is not told.
    """

    mean: float
    std: float
    seeds: int | None = None


@dataclass(frozen=True)
class Worded:
    """A number that the caller writes, as ``8/255``, ``0.27M`` or ``more than 8/255``; or words in its place.

    Attributes:
        value: What the page sorts by and CSV files hold, never scaled; ``None`` if there is no number ("not measured").
        words: What is shown.
    """

    value: float | None
    words: str


@dataclass(frozen=True)
class Noted:
    """A cell with a remark, written ``"63.10 [62.15, 64.04] (3 attacks)"``, or ``"– (3 of 5)"`` if there is no cell.

    Attributes:
        cell: The cell.
        note: The remark, without brackets.
    """

    cell: Cell
    note: str


Cell = str | bool | int | float | Estimate | Spread | Worded | Noted | None
Plain = str | bool | int | float | None
"""What one field of a CSV file holds."""


@dataclass(frozen=True)
class Column:
    """A heading, and how the numbers below it are written.

    Attributes:
        heading: The heading.
        digits: Decimal places. By default 2 for percentages; other numbers then have 6 significant digits.
        significant: Significant digits, instead of `digits`.
        percent: Whether cells are fractions that are written in percent (or differences, in percentage points).
        signed: Whether positive numbers have a plus sign.
        interval: Whether the interval of an `Estimate` is written; files of plain values have it.
        show_n: Whether `Estimate.n` is written, as ``n=10000``.
        show_seeds: Whether `Spread.seeds` is written, as ``(3 seeds)``.
    """

    heading: str
    digits: int | None = None
    significant: int | None = None
    percent: bool = False
    signed: bool = False
    interval: bool = True
    show_n: bool = False
    show_seeds: bool = False

    def scaled(self, value: float) -> float:
        """Returns a fraction in percent if the column is a percentage, and any other value as it is."""
        return 100 * value if self.percent else value

    def number(self, value: float) -> str:
        """Returns one number as it is written.

        Examples:
            >>> Column("gain", percent=True, signed=True).number(0.02), Column("p", significant=2).number(0.0123)
            ('+2.00', '0.012')
        """
        if math.isnan(value):
            return MISSING
        sign, shown = "+" if self.signed else "", self.scaled(value)
        if self.significant is not None or (self.digits is None and not self.percent):
            return f"{shown:{sign}.{self.significant or 6}g}"
        digits = 2 if self.digits is None else self.digits
        return f"{round(shown, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: what rounds to zero is no "-0.00"

    def parts(self, cell: Cell) -> tuple[str, ...]:
        """Returns a cell as text: first the number or words, then, apart, its interval, n, seeds and remark.

        Examples:
            >>> Column("clean", percent=True, show_n=True).parts(Estimate(0.8178, 0.8101, 0.8252, 10000))
            ('81.78', '[81.01, 82.52]', 'n=10000')
        """
        match cell:
            case None:
                return (MISSING,)
            case str():
                return (cell,)
            case bool():
                return ("yes" if cell else "no",)
            case int():
                return (f"{cell:+d}" if self.signed else str(cell),)
            case float():
                return (self.number(cell),)
            case Estimate():
                return _estimate_parts(self, cell)
            case Spread():
                unsigned = replace(self, signed=False)
                seeds = (f"({cell.seeds} seeds)",) if self.show_seeds and cell.seeds is not None else ()
                return (f"{self.number(cell.mean)} ± {unsigned.number(cell.std)}", *seeds)
            case Worded():
                return (cell.words,)
            case Noted():
                return (*self.parts(cell.cell), f"({cell.note})")
        raise TypeError(f"A table has no cells of the type {type(cell).__name__}: {cell!r}.")

    def text(self, cell: Cell) -> str:
        """Returns a cell as text.

        Examples:
            >>> Column("clean", percent=True).text(Noted(Spread(0.9, 0.01), "3 attacks"))
            '90.00 ± 1.00 (3 attacks)'
        """
        return " ".join(self.parts(cell))

    def sort_value(self, cell: Cell) -> float | None:
        """Returns the number that a cell is sorted by, in the unit it is shown in; ``None`` for words and gaps."""
        value = facts(cell)[""]
        if isinstance(value, (str, bool)) or value is None or math.isnan(value):
            return None
        return self.scaled(value) if is_scaled(cell) else value


@lru_cache(maxsize=2**16)  # the estimates of a report repeat
def _estimate_parts(column: Column, cell: Estimate) -> tuple[str, ...]:
    ends = () if cell.low is None or cell.high is None or not column.interval else (cell.low, cell.high)
    interval = (f"[{', '.join(map(column.number, ends))}]",) if ends else ()
    counted = (f"n={cell.n}",) if column.show_n and cell.n is not None else ()
    return (column.number(cell.value), *interval, *counted)


def facts(cell: Cell) -> dict[str, Plain]:
    """Returns the plain values of a cell by what they are: ``""`` is the number or words, then low, high, n and so on.

    Examples:
        >>> facts(Noted(None, "3 of 5")), facts(Spread(0.5, 0.25))
        ({'': None, 'note': '3 of 5'}, {'': 0.5, 'std': 0.25, 'seeds': None})
    """
    match cell:
        case Estimate():
            return {"": cell.value, "low": cell.low, "high": cell.high, "n": cell.n}
        case Spread():
            return {"": cell.mean, "std": cell.std, "seeds": cell.seeds}
        case Worded():
            return {"": cell.value, "note": cell.words if cell.value is None else None}
        case Noted():
            return {**facts(cell.cell), "note": cell.note}
        case _:
            return {"": cell}


def is_scaled(cell: Cell) -> bool:
    """Whether a cell of a percentage is a fraction: counts and `Worded` numbers are not."""
    inner = cell.cell if isinstance(cell, Noted) else cell
    return isinstance(inner, (float, Estimate, Spread))


@dataclass(frozen=True)
class Coded:
    """A column of many rows, each different cell kept once.

    Attributes:
        column: Its heading and format.
        cells: The different cells.
        codes: For each row, the place of its cell in `cells`.
    """

    column: Column
    cells: Sequence[Cell]
    codes: Sequence[int]

    @classmethod
    def of(cls, column: Column, cells: Sequence[Cell]) -> Coded:
        """Returns a column from the cells of its rows."""
        objects = dict(zip(map(id, cells), cells, strict=True))  # many rows have the very same cell
        keys = {at: _key(cell) for at, cell in objects.items()}
        different = dict(zip(keys.values(), objects.values(), strict=True))
        places = {key: place for place, key in enumerate(different)}
        codes = {at: places[key] for at, key in keys.items()}
        return cls(column, list(different.values()), [*map(codes.__getitem__, map(id, cells))])

    @cached_property
    def texts(self) -> list[str]:
        """The different cells as text."""
        return list(map(self.column.text, self.cells))


def _key(cell: Cell) -> object:
    """Returns what tells different cells apart: 1, 1.0 and True are equal."""
    return cell if isinstance(cell, (str, Estimate)) else (type(cell), repr(cell))


@dataclass(frozen=True)
class Table:
    """A title, columns, rows of typed cells, and notes.

    Attributes:
        name: File name without an ending; differs between the tables of one report.
        title: What is measured on what.
        columns: Headings and formats.
        rows: One tuple as long as `columns` per row.
        notes: Sentences printed below.

    Raises:
        ValueError: A row is shorter or longer than `columns`.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"Every row of table {self.name!r} needs {len(self.columns)} cells.")

    def cells(self, at: int) -> list[Cell]:
        """Returns the cells of column number `at`."""
        return [row[at] for row in self.rows]

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Per column: whether it holds numbers and gaps only, at least one number, and is set flush right."""
        return tuple(is_numeric(it.cells) for it in self.coded)

    @cached_property
    def coded(self) -> tuple[Coded, ...]:
        """The columns, each different cell once: what renderers work on, as most cells of long tables repeat."""
        return tuple(Coded.of(column, self.cells(at)) for at, column in enumerate(self.columns))

    def rendered(self, render: Callable[[Coded], Sequence[str]]) -> Iterator[tuple[str, ...]]:
        """Yields the rows as text, where `render` writes the different cells of a column."""
        return zip(*(map(render(it).__getitem__, it.codes) for it in self.coded), strict=True)

    @cached_property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as text."""
        return tuple(self.rendered(lambda it: it.texts))

    def keep(self, wanted: Callable[[Column], bool]) -> Table:
        """Returns the table with those columns only that `wanted` accepts."""
        kept = [at for at, column in enumerate(self.columns) if wanted(column)]
        rows = tuple(tuple(row[at] for at in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[at] for at in kept), rows=rows)

    def without_same(self) -> tuple[str, Table]:
        """Returns in words what is the same in every row, and the table of all else; ``""`` if nothing or all is.

        Only words and counts are meant, of two rows at least: equal results are results still. No words go untold.

        Examples:
            >>> table = Table("t", "t", (Column("n"), Column("right")), ((500, 0.5), (500, 0.5)))
            >>> told, rest = table.without_same()
            >>> told, rest.rows
            ('n: 500', ((0.5,), (0.5,)))
        """
        same = {at for at in range(len(self.columns)) if _same(self.cells(at))}
        if not same or len(same) == len(self.columns):
            return "", self
        told = "; ".join(f"{self.columns[at].heading}: {text}" for at in sorted(same) if (text := self.texts[0][at]))
        varying = iter(range(len(self.columns)))
        return told, self.keep(lambda _: next(varying) not in same)


def _same(cells: Sequence[Cell]) -> bool:
    return len(cells) > 1 and isinstance(cells[0], str | int) and len({(type(cell), cell) for cell in cells}) == 1


def is_numeric(cells: Iterable[Cell]) -> bool:
    """Whether cells are numbers and gaps only, and at least one is a number."""
    found = [value for cell in cells if (value := facts(cell)[""]) not in (None, "")]
    return bool(found) and not any(isinstance(value, (str, bool)) for value in found)
