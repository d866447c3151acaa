"""The tables of papers as data, and how what was measured is laid into them.

A facts module per paper (`sdnet_facts`, `detrame_facts`, `res_msd_csc_facts`, `tddl_facts`) says which rows and columns
its tables have, what was printed there, and what would measure it. `lay` fills in what was measured, beside each
printed figure and in a column of its own; the two never enter one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from robustcsc.report.measured import Group, Who, form_of
from robustcsc.report.quantities import UNMEASURED, Value, What, value
from robustcsc.report.table import Table
from robustcsc.report.words import MISSING

PAPER = "paper: "
"""Headings of printed figures begin with this."""
PAPER_COLUMN = "paper, not measured here"

_MEASURED = (
    "Measured: one training seed with the 95 % Wilson interval, several as mean ± standard deviation. "
    f'Columns "{PAPER.strip()} ..." were printed by the authors ({PAPER_COLUMN}) and enter no other number. '
    f'Empty cells say "{UNMEASURED}".'
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column of a paper's table shows.

    Attributes:
        heading: The heading.
        what: What it is.
        model: The model of the column, ``{}`` standing for that of the row.
        data: The data set of the column, where the rows name none.
        printed: Whether the paper has this column.
        told: Options of the model that a cell names, as the paper does.
    """

    heading: str
    what: What
    model: str = "{}"
    data: str = ""
    printed: bool = True
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a paper's table.

    Attributes:
        words: Its first cells.
        who: Whose row it is; the model is ``""`` if this toolkit has none of the kind.
        printed: What the paper printed, one text for each printed column.
        changes: What is different from the columns, by the kind of quantity: a field and its value.
        extra: Whether the paper lacks this row, so that it stands there only if something was measured.
    """

    words: tuple[str, ...]
    who: Who
    printed: tuple[str, ...]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: bool = False


@dataclass(frozen=True, kw_only=True)
class Printed:
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
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    others: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def lay(printed: Printed, groups: Sequence[Group]) -> Table:
    """Returns a paper's table with what was measured: all of its rows, each once for every way of training."""
    columns = [*printed.headings, "measured on"]
    for column in printed.columns:
        columns += [column.heading, f"{PAPER}{column.heading}"] if column.printed else [column.heading]
    rows = [*printed.rows, *_others(printed, groups)]
    lines = [_lines(printed, row, groups) or ([] if row.extra else [_line(printed, row, {})]) for row in rows]
    notes = (_MEASURED, *printed.notes)
    return Table(printed.name, printed.title, tuple(columns), tuple(chain.from_iterable(lines)), notes)


def _others(printed: Printed, groups: Iterable[Group]) -> list[Row]:
    """Returns a row without printed figures for every measured model of a family that the paper's rows lack."""
    known = {row.who.model for row in printed.rows}
    blank = (MISSING,) * sum(column.printed for column in printed.columns)
    found: dict[tuple[str, int], Row] = {}
    for group in groups:
        for at, words in printed.others.items():
            like = printed.rows[at]
            family = like.who.model.rstrip("0123456789")
            data = like.who.data or next((it.data for it in printed.columns if it.data), "")
            alike = group.model not in known and group.model.rstrip("0123456789") == family
            if alike and form_of(group, data) is not None:
                who = replace(like.who, model=group.model, lam=None, options=(), trained_on=0)
                called = tuple(word.format(group.model) for word in words)
                found.setdefault(
                    (group.model, at), Row(words=called, who=who, printed=blank, changes=like.changes, extra=True)
                )
    return [found[key] for key in sorted(found)]


def _lines(printed: Printed, row: Row, groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Returns a line for every way of training that was measured."""
    by_training: dict[tuple[str, ...], dict[int, Value]] = {}
    for at, column in enumerate(printed.columns):
        who = _who(row, column)
        for key, group in _candidates(who, groups, by_data=bool(column.data)):
            what = replace(column.what, **row.changes.get(column.what.kind, {}))
            found = value(what, group, who, column.told)
            if found is not None:
                by_training.setdefault(key, {}).setdefault(at, found)
    return [_line(printed, row, by_training[key]) for key in sorted(by_training)]


def _line(printed: Printed, row: Row, values: Mapping[int, Value]) -> tuple[str, ...]:
    # what a checkpoint tells (size, time) is no measurement of its own
    places = dict.fromkeys(it.place for it in values.values() if it.place)
    cells = [*row.words, "; ".join(places) or MISSING]
    figures = iter(row.printed)
    for at, column in enumerate(printed.columns):
        cells.append(values[at].text if at in values else UNMEASURED)
        if column.printed:
            cells.append(next(figures))
    return tuple(cells)


def _who(row: Row, column: Column) -> Who:
    model = column.model.format(row.who.model) if row.who.model else ""
    return replace(row.who, model=model, data=column.data or row.who.data)


def _candidates(who: Who, groups: Iterable[Group], *, by_data: bool) -> list[tuple[tuple[str, ...], Group]]:
    """Returns the groups that a row can show, by what those have to share that stand on one line.

    Where the columns are data sets, that is the recipe; else also the training images.
    """
    found: list[tuple[tuple[str, ...], Group]] = []
    alone = 0
    for group in groups:
        form = form_of(group, who.data)
        if not who.model or group.model != who.model or form is None or not group.has(who):
            continue
        if group.about is None:
            found.append(((form, "", f"{alone:06d}"), group))
            alone += 1
        else:
            images = () if by_data else (group.about.images, f"{group.about.trained_on:09d}")
            found.append(((form, group.about.how, *images), group))
    return found
