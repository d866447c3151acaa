"""The commands that repeat the measurements of a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from robustcsc.measurements.commands import joined_commands
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Cell, Column, Table

_NOTE = (
    "Each command measures at least the records it stands for; records that are in the store already are not measured "
    "again. Where the images lie and how many of them were used is part of the command, as it was when they were "
    "measured."
)


def command_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table with a row per command; empty without records."""
    rows: list[tuple[Cell, ...]] = []
    for command, members in joined_commands(records):
        counts = sorted({record.measurement.images.count for record in members})
        n = counts[0] if len(counts) == 1 else ", ".join(map(str, counts))
        rows.append((members[0].measurement.subject.run, n, len(members), shlex.join(["robustcsc", *command.words])))
    if not rows:
        return []
    columns = tuple(map(Column, ("run", "n", "records", "command")))
    ordered = sorted(rows, key=lambda row: (row[0], row[-1]))
    return [Table("commands", "Commands that measure the same again", columns, tuple(ordered), (_NOTE,))]
