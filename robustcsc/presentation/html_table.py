"""Tables for a page: HTML that ``tables.js`` makes sortable and filterable, or packed columns for tables of many rows.

Each cell carries what it shows, the number it is sorted by and its fields in a CSV file, so that the script reads no
text back.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import sys
from array import array
from collections.abc import Iterable
from html import escape

from robustcsc.presentation.csv_table import Fields, csv_line
from robustcsc.presentation.table import Cell, Coded, Table, is_numeric

_SHORT = 26  # letters of words that stay on one line


def packed_table(columns: Iterable[Coded]) -> str:
    """Returns columns in the form that browsers unpack themselves: JSON, gzip, base64."""
    content = json.dumps([_packed_column(it) for it in columns], separators=(",", ":"), allow_nan=False)
    return packed(content.encode())


def packed(content: bytes) -> str:
    """Returns bytes as base64 of gzip, the same each time."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _packed_column(it: Coded) -> dict[str, object]:
    fields = Fields.of(it)
    size = 1 if len(it.cells) <= 2**8 else 2 if len(it.cells) <= 2**16 else 4
    codes = array({1: "B", 2: "H", 4: "I"}[size], it.codes)
    return {
        "heading": it.column.heading,
        "csv": csv_line(fields.headings),
        "right": is_numeric(it.cells),
        "cells": [_carried(fields, cell) for cell in it.cells],
        "bytes": size,
        "codes": base64.b64encode(codes.tobytes()).decode(),
    }


def html_table(table: Table, first_rows: int | None = None) -> str:
    """Returns a ``<table>`` element.

    Args:
        table: The table; title and notes are left to the page.
        first_rows: Of more rows only so many are written; ``None`` for all.
    """
    fields = list(map(Fields.of, table.coded))
    heads = (
        f'<th scope="col" class="{"right" if right else ""}" data-csv="{escape(csv_line(it.headings))}">'
        f"{escape(it.column.heading)}</th>"
        for it, right in zip(fields, table.numeric, strict=True)
    )
    rows = (
        "".join(_cell(it, right, cell) for it, right, cell in zip(fields, table.numeric, row, strict=True))
        for row in table.rows[:first_rows]
    )
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cell(fields: Fields, right: bool, cell: Cell) -> str:
    parts, number, csv = _carried(fields, cell)
    carried = "" if number is None else f' data-sort="{number!r}"'
    carried += "" if csv is None else f' data-csv="{escape(csv)}"'
    text = " ".join(parts)
    kind = "right" if right else "short" if len(text) < _SHORT else "long"
    first, *details = map(escape, parts if right else (text,))
    ranges = "".join(f'<span class="range"> {it}</span>' for it in details)
    return f'<td class="{kind}"{carried}>{first}{ranges}</td>'


def _carried(fields: Fields, cell: Cell) -> tuple[tuple[str, ...], float | None, str | None]:
    """Returns the texts of a cell, the number it is sorted by, and its CSV fields unless those are its text."""
    parts, csv, number = fields.column.parts(cell), csv_line(fields.values(cell)), fields.column.sort_value(cell)
    if number is not None and math.isinf(number):
        number = math.copysign(sys.float_info.max, number)  # JSON has no infinity
    return parts, number, None if csv == csv_line((" ".join(parts),)) else csv
