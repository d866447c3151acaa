"""The tables of papers as data, and how what was measured is laid into them.

A module per paper (`sdnet`, `detrame`, `res_msd_csc`, `tddl`) says which rows and columns its tables have, what was
printed there, and what would measure it. `lay` fills in what was measured, beside each printed figure and in a column
of its own; the two never enter one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count

from robustcsc.presentation.table import Cell, Column, Noted, Table, Worded
from robustcsc.reports.comparisons.groups import Group
from robustcsc.reports.papers.quantities import Entrant, Quantity, Value

PAPER = "paper: "
"""Headings of printed figures begin with this."""
UNMEASURED = Worded(None, "not measured")

_MEASURED = (
    "Measured: one training seed with the 95 % Wilson interval, several as mean ± standard deviation. "
    f'Columns "{PAPER.strip()} ..." were printed by the authors (paper, not measured here) and enter no other number. '
    f'Empty cells say "{UNMEASURED.words}".'
)


@dataclass(frozen=True)
class PaperColumn:
    """What a column of a paper's table shows.

    Attributes:
        heading: The heading.
        quantity: What it is; ``None`` for what is never measured here.
        model: The model of the column, ``{}`` standing for that of the row.
        data: The data set of the column, where the rows name none.
        printed: Whether the paper has this column.
        digits: Decimal places that the paper prints; ``None`` for up to six significant digits.
        told: Options of the model that a cell names, as the paper does.
    """

    heading: str
    quantity: Quantity | None
    model: str = "{}"
    data: str = ""
    printed: bool = True
    digits: int | None = 2
    told: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """What was measured, and what was printed."""
        written = self.quantity.written if self.quantity else Column("")
        printed = (Column(f"{PAPER}{self.heading}", digits=self.digits),) if self.printed else ()
        return (replace(written, heading=self.heading), *printed)


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table.

    Attributes:
        names: Its first cells.
        entrant: Whose row it is.
        printed: What the paper printed, one cell for each printed column.
        instead: Quantities in place of those of the columns, where the row shows others.
        extra: Whether the paper lacks this row, so that it stands there only if something was measured.
    """

    names: tuple[Cell, ...]
    entrant: Entrant
    printed: tuple[Cell, ...]
    instead: Sequence[Quantity] = ()
    extra: bool = False


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        name: File name.
        title: Paper, number and words.
        headings: Headings of the first cells.
        columns: What is measured.
        rows: In the paper's order.
        notes: Sentences for below.
        others: Rows for models that the paper does not have: a row of `rows` by number whose model's family a measured
            one belongs to, and how it is called, ``{}`` standing for the model.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    columns: Sequence[PaperColumn]
    rows: Sequence[PaperRow]
    notes: tuple[str, ...] = ()
    others: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


_Line = tuple[str, str, str, int]
"""What groups share that stand on one line: form of the data set, recipe, training images and their number."""


def lay(paper: PaperTable, groups: Sequence[Group]) -> Table:
    """Returns a paper's table with what was measured: all of its rows, each once for every way of training."""
    columns = [*map(Column, (*paper.headings, "measured on"))]
    columns += chain.from_iterable(it.columns for it in paper.columns)
    rows = []
    for row in (*paper.rows, *_others(paper, groups)):
        by_line = _values(paper, row, groups)
        lines = [by_line[key] for key in sorted(by_line)] or ([] if row.extra else [{}])
        rows += [_cells(paper, row, values) for values in lines]
    return Table(paper.name, paper.title, tuple(columns), tuple(rows), (_MEASURED, *paper.notes))


def _others(paper: PaperTable, groups: Iterable[Group]) -> list[PaperRow]:
    """Returns a row without printed figures for every measured model of a family that the paper's rows lack."""
    known = {row.entrant.model for row in paper.rows}
    blank = (None,) * sum(column.printed for column in paper.columns)
    found: dict[tuple[str, int], PaperRow] = {}
    for group in (it for it in groups if it.model not in known):
        for at, names in paper.others.items():
            like = paper.rows[at].entrant
            data = like.data or next((it.data for it in paper.columns if it.data), "")
            if _family(group.model) == _family(like.model) and replace(like, data=data).form(group) is not None:
                entrant = replace(like, model=group.model, lam=None, options=(), trained_on=0)
                called = tuple(name.format(group.model) for name in names)
                row = replace(paper.rows[at], names=called, entrant=entrant, printed=blank, extra=True)
                found.setdefault((group.model, at), row)
    return [found[key] for key in sorted(found)]


def _family(model: str) -> str:
    return model.rstrip("0123456789")


def _values(paper: PaperTable, row: PaperRow, groups: Sequence[Group]) -> dict[_Line, dict[int, Value]]:
    """Returns what was measured by column number, for every way of training.

    Where the columns are data sets, that is the recipe; else also the training images. What was trained in an unknown
    way stands alone.
    """
    found: dict[_Line, dict[int, Value]] = {}
    for at, column in enumerate(paper.columns):
        quantity = row.instead[at] if row.instead else column.quantity
        model = column.model.format(row.entrant.model) if row.entrant.model else ""
        entrant = replace(row.entrant, model=model, data=column.data or row.entrant.data)
        alone = count()
        for group in groups if model else ():
            form = entrant.form(group) if group.model == model and entrant.is_trained_as(group) else None
            if form is None:
                continue
            about = group.about
            images = (about.images, about.trained_on) if about and not column.data else ("", 0)
            line = (form, about.how, *images) if about else (form, "", "", next(alone))
            value = quantity.of(group, entrant) if quantity else None
            if value is not None:
                found.setdefault(line, {})[at] = _told(value, group, column.told)
    return found


def _told(value: Value, group: Group, names: Sequence[str]) -> Value:
    """Returns a value with the options of the model that its cell names."""
    options = group.about.options if group.about else {}
    told = ", ".join(str(options[name]) for name in names if name in options)
    return replace(value, cell=Noted(value.cell, told)) if told else value


def _cells(paper: PaperTable, row: PaperRow, values: Mapping[int, Value]) -> tuple[Cell, ...]:
    bases = dict.fromkeys(it.basis for it in values.values() if it.basis)
    cells = [*row.names, "; ".join(bases) or None]
    figures = iter(row.printed)
    for at, column in enumerate(paper.columns):
        cells.append(values[at].cell if at in values else UNMEASURED)
        if column.printed:
            cells.append(next(figures))
    return tuple(cells)
