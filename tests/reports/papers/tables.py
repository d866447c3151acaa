"""The tables of papers, and their rows by heading."""

from __future__ import annotations

from typing import Any

from robustcsc.presentation.table import Table
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.papers.papers import paper_tables
from robustcsc.reports.papers.template import UNMEASURED

NOT_MEASURED = UNMEASURED.words


def row(table: Table, *starts: str) -> dict[str, str]:
    (found,) = [cells for cells in table.texts if cells[: len(starts)] == starts]
    return dict(zip(headings(table), found, strict=True))


def headings(table: Table) -> tuple[str, ...]:
    return tuple(column.heading for column in table.columns)


def by_name(paper: Paper, *told: Any) -> dict[str, Table]:
    return {table.name.rpartition("-")[2]: table for table in paper_tables(paper, *told)}
