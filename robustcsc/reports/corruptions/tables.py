"""Tables of accuracies on corrupted images: one per corruption, one of means over severities, one of everything.

Rows are runs and lambda policies side by side. A table never holds two cohorts in one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustcsc.measurements.policies import FixedLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Cell, Column, Table, Worded
from robustcsc.reports.cohorts.cells import (
    PERCENT,
    POOLED,
    WHO,
    mean_of,
    percentages,
    rate_of,
    severities_note,
    summary_columns,
    summary_notes,
)
from robustcsc.reports.cohorts.cohorts import SEVERITIES, ranked
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.corrupted import Corrupted, corrupted


def severity_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table for each set of images: accuracy by corruption and severity, with intervals."""
    return [_severity_table(cells) for cells in corrupted(records)]


def _severity_table(cells: Corrupted) -> Table:
    return Table(
        name=cells.cohort.file_name("corruptions-by-severity"),
        title=cells.cohort.titled("Accuracy by corruption and severity"),
        columns=(*(Column("model"), *WHO, Column("corruption")), *_by_severity(SEVERITIES)),
        rows=tuple(
            (*cells.label(it), corruption_words(name), *map(rate_of, map(rows[it].get, SEVERITIES)))
            for name, rows in cells.rows.items()
            for it in ranked(rows)
        ),
        notes=(f"{PERCENT} n = {cells.cohort.total} images per cell.",),
    )


def corruption_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and corruption: accuracy by severity and the lambda used (SDNet, Table 2)."""
    return [_corruption_table(cells, name) for cells in corrupted(records) for name in cells.rows]


def _corruption_table(cells: Corrupted, name: str) -> Table:
    severities = cells.severities[name]
    rows: list[tuple[Cell, ...]] = []
    for variant in ranked(cells.rows[name]):
        measured, (run, policy) = cells.rows[name][variant], cells.labels[variant]
        rows.append((run, policy, *map(rate_of, map(measured.get, severities)), mean_of([(measured, severities)])))
        used = {severity: record.lam for severity, record in measured.items() if record.lam is not None}
        if used and not isinstance(variant.policy, FixedLambda):
            shown = (Worded(used[it], f"{used[it]:.2f}") if it in used else None for it in severities)
            rows.append((run, f"λ used by {policy}", *shown, ""))
    return Table(
        name=cells.cohort.file_name(name),
        title=cells.cohort.titled(corruption_words(name).capitalize()),
        columns=(*WHO, *_by_severity(severities), Column("mean", percent=True)),
        rows=tuple(rows),
        notes=(f"{PERCENT} n = {cells.cohort.total} images per severity.", POOLED),
    )


def mean_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: mean over severities for each corruption (SDNet, Table 3)."""
    return [_mean_table(cells) for cells in corrupted(records)]


def _mean_table(cells: Corrupted) -> Table:
    summaries = summary_columns(list(cells.rows))
    means = [*((corruption_words(name), [name]) for name in cells.rows), *summaries]
    return Table(
        name=cells.cohort.file_name("means"),
        title=cells.cohort.titled("Mean over severities"),
        columns=(*WHO, *percentages(heading for heading, _ in means)),
        rows=tuple(
            (*cells.labels[it], *(mean_of(cells.parts(it, names)) for _, names in means)) for it in cells.variants
        ),
        notes=(
            *(PERCENT, POOLED, severities_note(cells.severities)),
            *(*summary_notes(summaries), *cells.fixed_notes),
        ),
    )


def _by_severity(severities: Iterable[int]) -> tuple[Column, ...]:
    return percentages(f"severity {severity}" for severity in severities)
