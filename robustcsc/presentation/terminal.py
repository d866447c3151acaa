"""Tables for a terminal."""

from __future__ import annotations

import rich.box
import rich.table
import rich.text

from robustcsc.presentation.table import Table


def rich_table(table: Table) -> rich.table.Table:
    """Returns the table for a terminal; names in square brackets are not taken for colours."""
    shown = rich.table.Table(title=rich.text.Text(table.title), title_justify="left", box=rich.box.SIMPLE_HEAD)
    for column, right in zip(table.columns, table.numeric, strict=True):
        shown.add_column(rich.text.Text(column.heading), justify="right" if right else "left")
    for row in table.texts:
        shown.add_row(*map(rich.text.Text, row))
    if table.notes:
        shown.caption = rich.text.Text("\n".join(table.notes))
        shown.caption_justify = "left"
    return shown
