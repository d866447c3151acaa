"""Tables of accuracies on corrupted images: one per corruption, one of means over severities.

Rows are runs and lambda policies side by side. A table never holds two cohorts in one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustcsc.measurements.policies import FixedLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Cell, Column, Table, Worded
from robustcsc.reports.cohorts.cells import (
    FIXED_NOTE,
    PERCENT,
    POOLED,
    WHO,
    accuracy_of,
    mean_of,
    percentages,
    severities_note,
    summary_columns,
    summary_notes,
)
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Rows,
    by_cohort,
    corruptions_of,
    labels_of,
    ranked,
    severities_of,
    without_fixed,
)
from robustcsc.reports.cohorts.words import corruption_words


def corruption_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and corruption: accuracy by severity and the lambda used (SDNet, Table 2)."""
    labels = labels_of(records)
    return [
        _corruption_table(cohort, name, rows, labels)
        for cohort, settings in by_cohort(records).items()
        for name, rows in corruptions_of(settings).items()
    ]


def _corruption_table(cohort: Cohort, name: str, rows: Rows, labels: Labels) -> Table:
    severities = severities_of(rows.values())
    cells: list[tuple[Cell, ...]] = []
    for variant in ranked(rows):
        measured = rows[variant]
        run, policy = labels[variant]
        by_severity = [accuracy_of(measured.get(severity)) for severity in severities]
        cells.append((run, policy, *by_severity, mean_of([(measured, severities)])))
        used = {severity: record.lam for severity, record in measured.items() if record.lam is not None}
        if used and not isinstance(variant.policy, FixedLambda):
            shown = (Worded(used[it], f"{used[it]:.2f}") if it in used else None for it in severities)
            cells.append((run, f"λ used by {policy}", *shown, ""))
    return Table(
        name=cohort.file_name(name),
        title=f"{corruption_words(name).capitalize()}: {cohort.title}",
        columns=(*WHO, *percentages(f"severity {severity}" for severity in severities), Column("mean", percent=True)),
        rows=tuple(cells),
        notes=(f"{PERCENT} n = {cohort.total} images per severity.", POOLED),
    )


def mean_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: mean over severities for each corruption (SDNet, Table 3)."""
    labels = labels_of(records)
    corrupted = {cohort: corruptions_of(settings) for cohort, settings in by_cohort(records).items()}
    return [_mean_table(cohort, rows, labels) for cohort, rows in corrupted.items() if rows]


def _mean_table(cohort: Cohort, rows: Mapping[str, Rows], labels: Labels) -> Table:
    measured = ranked(variant for by_variant in rows.values() for variant in by_variant)
    variants = without_fixed(measured)
    wanted = {name: severities_of(by_variant.values()) for name, by_variant in rows.items()}
    summaries = summary_columns(list(wanted))
    left_out = [] if variants == measured else [FIXED_NOTE]
    cells = []
    for variant in variants:
        parts = {name: (rows[name].get(variant, {}), severities) for name, severities in wanted.items()}
        means = [mean_of([part]) for part in parts.values()]
        pooled = [mean_of([parts[name] for name in names]) for _, names in summaries]
        cells.append((*labels[variant], *means, *pooled))
    headings = (*map(corruption_words, wanted), *(heading for heading, _ in summaries))
    return Table(
        name=cohort.file_name("means"),
        title=f"Mean over severities: {cohort.title}",
        columns=(*WHO, *percentages(headings)),
        rows=tuple(cells),
        notes=(PERCENT, POOLED, severities_note(wanted), *summary_notes(summaries), *left_out),
    )
