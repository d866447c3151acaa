"""Tables of accuracies on corrupted images: one per corruption, one of means over severities.

Rows are runs and lambda policies side by side. A table never holds two cohorts in one column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from robustcsc.measurements.corruptions import STANDARD_GROUPS
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.policies import FixedLambda, Oracle, lambda_of
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Cell, Column, Estimate, Table, Worded
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
from robustcsc.reports.cohorts.cohorts import by_cohort, labels_of, part_of, ranked
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.corrupted import Corrupted, corrupted


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
        if used and not isinstance(lambda_of(variant.policy), FixedLambda):
            shown = (Worded(used[it], f"{used[it]:.2f}") if it in used else None for it in severities)
            rows.append((run, f"λ used by {policy}", *shown, ""))
    return Table(
        name=cells.cohort.file_name(name),
        title=cells.cohort.titled(corruption_words(name).capitalize()),
        columns=(*WHO, *_by_severity(severities), Column("mean", percent=True)),
        rows=tuple(rows),
        notes=(PERCENT, POOLED),
    )


def mean_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: clean, the mean over severities of each corruption (SDNet, Table 3), and of groups.

    A column that no row fills is left out.
    """
    return [_mean_table(cells) for cells in corrupted(records)]


def _mean_table(cells: Corrupted) -> Table:
    summaries = [*_group_columns(cells.rows), *summary_columns(list(cells.rows))]
    means = [*((corruption_words(name), [name]) for name in cells.rows), *summaries]
    columns: dict[str, list[Cell]] = {"clean": [rate_of(cells.clean.get(it)) for it in cells.variants]}
    columns |= {heading: [mean_of(cells.parts(it, names)) for it in cells.variants] for heading, names in means}
    filled = {heading: of for heading, of in columns.items() if any(isinstance(cell, Estimate) for cell in of)}
    shown = [(heading, names) for heading, names in summaries if heading in filled]
    return Table(
        name=cells.cohort.file_name("means"),
        title=cells.cohort.titled("Mean over severities"),
        columns=(*WHO, *percentages(filled)),
        rows=tuple((*cells.labels[it], *(of[at] for of in filled.values())) for at, it in enumerate(cells.variants)),
        notes=(
            *(PERCENT, POOLED, severities_note(cells.severities)),
            *(*summary_notes(shown), *cells.fixed_notes),
        ),
    )


def _group_columns(measured: Collection[str]) -> list[tuple[str, Sequence[str]]]:
    """Returns heading and members of the means over whole groups of the benchmark; noises have a mean of their own."""
    groups = {group: names for group, names in STANDARD_GROUPS.items() if group != "noise"}
    whole = {group: names for group, names in groups.items() if set(names) <= set(measured) != set(names)}
    return [(f"mean of {len(names)} {group} corruptions", names) for group, names in whole.items()]


def clean_tables(records: Sequence[Record]) -> list[Table]:
    """Returns accuracies on clean images that no other table has: those of policies that no verdict credits.

    These are the oracle and fixed lambdas, on images that were measured without any corruption.
    """
    nested, labels = by_cohort(records), labels_of(records)
    elsewhere = {cohort.clean_images for cohort in part_of(nested, Corruption)}
    tables = []
    for cohort, settings in part_of(nested, Clean).items():
        rows = {it: series[0] for found in settings.values() for it, series in found.items()}
        uncredited = any(isinstance(lambda_of(it.policy), Oracle | FixedLambda) for it in rows)
        if cohort.clean_images not in elsewhere and uncredited:
            cells = tuple((*labels[it], rate_of(rows[it])) for it in ranked(rows))
            title, name = cohort.titled("Clean images"), cohort.file_name("clean")
            tables.append(Table(name, title, (*WHO, *percentages(["clean"])), cells, (PERCENT,)))
    return tables


def _by_severity(severities: Iterable[int]) -> tuple[Column, ...]:
    return percentages(f"severity {severity}" for severity in severities)
