"""Tables as values separated by commas or tabs: plain numbers, one a cell; title and notes are left out.

A column of estimates becomes ``heading``, ``heading low``, ``heading high`` and ``heading n``; one of spreads
``heading``, ``heading std`` and ``heading seeds``; remarks, and how much of a number is there, stand in ``heading
note``. Such a column is there if any cell needs it. Missing numbers are empty fields, `bool` is ``True`` or ``False``.

Numbers keep their full precision. Percentages are percent, to 12 significant digits (binary fractions of a percent are
no facts), and their headings end with ``(%)``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from robustcsc.files import no_formula
from robustcsc.presentation.table import Cell, Coded, Column, Estimate, Plain, Table, facts, is_scaled
from robustcsc.presentation.words import one_line

_KINDS = ("", "low", "high", "n", "std", "seeds", "note")
_OF_ESTIMATES = {"low", "high", "n"}
_SCALED = ("", "low", "high", "std")
_SPECIAL = re.compile(r'[,"\n\r]')
_NOTHING = '""'  # a row of nothing, where a blank line would be no row


@dataclass(frozen=True)
class Fields:
    """The fields that a column of a table has in a CSV file.

    Attributes:
        column: The column.
        kinds: What its fields hold, of ``("", "low", "high", "n", "std", "seeds", "note")``.
        percent: Whether all of its numbers are percentages.
    """

    column: Column
    kinds: tuple[str, ...]
    percent: bool

    @classmethod
    def of(cls, coded: Coded) -> Fields:
        """Returns the fields that the cells of a column need."""
        needed, percent = {""}, coded.column.percent
        for cell in coded.cells:
            if isinstance(cell, Estimate) and needed >= _OF_ESTIMATES:
                continue  # it needs no other field
            found = facts(cell)
            needed |= {kind for kind, value in found.items() if value is not None}
            percent = percent and (is_scaled(cell) or isinstance(found[""], str) or found[""] is None)
        return cls(coded.column, tuple(kind for kind in _KINDS if kind in needed), percent)

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings."""
        heading = self.column.heading.removesuffix(" (%)") if self.percent else self.column.heading
        units = (" (%)" if self.percent and kind in _SCALED else "" for kind in self.kinds)
        return tuple(f"{heading} {kind}".rstrip() + unit for kind, unit in zip(self.kinds, units, strict=True))

    def values(self, cell: Cell) -> tuple[str, ...]:
        """Returns the fields of a cell."""
        scaled, found = self.column.percent and is_scaled(cell), facts(cell)
        return tuple(_plain(found.get(kind), scaled and kind in _SCALED) for kind in self.kinds)


def _plain(value: Plain, percent: bool) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(float(f"{100 * value:.12g}") if percent else float(value))
    return str(value)


def csv_text(table: Table) -> str:
    """Returns headings and rows as comma-separated values."""
    return "".join(f"{line or _NOTHING}\n" for line in _lines(table, csv_line, ","))


def tsv_text(table: Table) -> str:
    r"""Returns headings and rows as tab-separated values; a tab or line break within words becomes a space.

    Examples:
        >>> tsv_text(Table("t", "t", (Column("run"), Column("clean", percent=True)), (("sdnet", 0.98),)))
        'run\tclean (%)\nsdnet\t98.0\n'
    """
    return "".join(f"{line}\n" for line in _lines(table, _tabbed, "\t"))


def _lines(table: Table, joined: Callable[[Iterable[str]], str], separator: str) -> Iterator[str]:
    yield joined(heading for it in table.coded for heading in Fields.of(it).headings)

    def written(it: Coded) -> list[str]:
        return [joined(values) for values in map(Fields.of(it).values, it.cells)]

    yield from map(separator.join, table.rendered(written))


def csv_line(values: Iterable[str]) -> str:
    """Returns fields as one line without its end, quoted where needed, none of which is a formula."""
    return ",".join(map(_quoted, map(no_formula, values)))


def _tabbed(values: Iterable[str]) -> str:
    return "\t".join(no_formula(one_line(value)) for value in values)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text
