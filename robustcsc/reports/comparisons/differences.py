"""Who differs from whom: every row against its own training lambda and against other runs, image by image if possible.

Both rows of a comparison saw the same images, so an image is the unit: it counts with the difference of its shares of
the severities. Where single outcomes were not kept, the two are compared as if their images were independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, MinimalBudget, Perturbation
from robustcsc.measurements.policies import FixedLambda, NoLambda, Oracle, TrainingLambda, lambda_of
from robustcsc.measurements.records import Record, Subject
from robustcsc.measurements.statistics import Difference, Shares, holm
from robustcsc.presentation.table import Cell, Column, Estimate, Table
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Rows,
    Setting,
    Variant,
    by_cohort,
    labels_of,
    part_of,
    ranked,
    total_score,
)
from robustcsc.reports.cohorts.words import perturbation_words, severities_words, with_protocol

MOST_RUNS = 6
"""Of more runs side by side, each is compared with the first only: all pairs would fill a book."""

_KINDS: Mapping[str, tuple[type[Perturbation], ...]] = {
    "clean": (Clean,),
    "corrupted": (Corruption,),
    "attacked": (Attack, MinimalBudget),
}
_NOTE = "First minus second in percentage points, over the severities both were measured at, with 95 % intervals."
_PAIRED = (
    "Where there is a p, every image was compared with itself (after Agresti & Min, 2005): p is how often chance alone "
    "makes a difference as large, and below 0.05 exactly where the interval leaves 0 out. p (Holm) allows for the "
    "number of comparisons in this table."
)
_UNPAIRED = (
    "Where there is no p, single outcomes were not kept: the interval (Newcombe 1998, method 10) takes the images of "
    "the two rows for independent ones, which usually makes it too wide."
)
_COMPARED = ("first", "second", "images")
_MANY = f"Of more than {MOST_RUNS} runs each is compared with the first only."


class _Comparison(NamedTuple):
    setting: Setting
    first: Variant
    second: Variant
    whole: Difference
    by_severity: Mapping[int, Difference]


def difference_tables(records: Sequence[Record]) -> list[Table]:
    """Returns a table per cohort and kind of image: every row against its training lambda and against other runs.

    A run is compared with another run at that run's own baseline: without lambda, else at its training lambda. Tables
    without a comparison are left out.
    """
    labels, nested = labels_of(records), by_cohort(records)
    many = len({(it.subject.run, it.subject.weights) for it in labels}) > MOST_RUNS
    tables = []
    for kind, perturbations in _KINDS.items():
        for cohort, settings in part_of(nested, *perturbations).items():
            found = [each for setting, rows in settings.items() for each in _comparisons(setting, rows)]
            if found:
                tables.append(_table(cohort, kind, found, labels, (_MANY,) if many else ()))
    return tables


def on_the_mean(table: Table) -> Table:
    """Returns a table of differences without its columns of single severities."""
    return table.keep(lambda it: not it.heading.startswith("severity "))


def by_severity(tables: Iterable[Table]) -> list[Table]:
    """Returns the columns of single severities as tables of their own, so that all of them fit a screen."""
    wide = [it for it in tables if on_the_mean(it) != it]
    kept = (it.keep(lambda at: at.heading in _COMPARED or at.heading.startswith("severity ")) for it in wide)
    return [replace(it, name=f"{it.name}-by-severity", notes=(_NOTE,)) for it in kept]


def _comparisons(setting: Setting, rows: Rows) -> Iterator[_Comparison]:
    for first, second in _pairs(rows):
        ours, theirs = rows[first], rows[second]
        if shared := sorted(set(ours) & set(theirs)):
            by_severity = {at: difference([ours[at]], [theirs[at]]) for at in shared}
            whole = difference([ours[at] for at in shared], [theirs[at] for at in shared])
            yield _Comparison(setting, first, second, whole, {at: it for at, it in by_severity.items() if at})


def difference(first: Sequence[Record], second: Sequence[Record]) -> Difference:
    """Returns how two rows differ over their cells of the same images, paired where single outcomes were kept."""
    ours = Shares.of([record.outcomes for record in first])
    theirs = ours and Shares.of([record.outcomes for record in second])
    if ours is None or theirs is None or len(ours.counts) != len(theirs.counts):
        return Difference.between(total_score(first), total_score(second))
    return Difference.paired(ours, theirs)


def _pairs(rows: Iterable[Variant]) -> Iterator[tuple[Variant, Variant]]:
    """Yields who is compared with whom, every two once; fixed lambdas and the oracle are compared with nobody."""
    kept = ranked(it for it in rows if not isinstance(lambda_of(it.policy), Oracle | FixedLambda))
    baselines: dict[Subject, Variant] = {}
    for variant in kept:
        if isinstance(variant.policy, NoLambda | TrainingLambda):
            baselines.setdefault(variant.subject, variant)
    met: set[frozenset[Variant]] = set()
    for first in reversed(kept):
        own = [baselines[first.subject]] if first.subject in baselines else []
        others = (it for it in baselines.values() if it.subject != first.subject)
        for second in (*own, *islice(others, 1 if len(baselines) > MOST_RUNS else None)):
            two = frozenset((first, second))
            if len(two) == 2 and two not in met:
                met.add(two)
                yield first, second


def _table(cohort: Cohort, kind: str, found: Sequence[_Comparison], labels: Labels, notes: tuple[str, ...]) -> Table:
    paired = [it.whole.p_value for it in found if it.whole.p_value is not None]
    corrected = iter(holm(paired))
    severities = sorted({severity for it in found for severity in it.by_severity})
    rows: list[tuple[Cell, ...]] = []
    for setting, first, second, whole, by_severity in found:
        names = [", ".join(labels[it]) for it in (first, second)]
        better = ("second" if whole.points < 0 else "first") if whole.shown else "neither"
        tested = (None, None) if whole.p_value is None else (whole.p_value, next(corrected))
        covered = severities_words(by_severity) if by_severity else None
        points = (_estimate(by_severity[at]) if at in by_severity else None for at in severities)
        images = with_protocol(perturbation_words(setting), setting)
        rows.append((*names, images, _estimate(whole), better, *tested, covered, *points))
    unpaired = (_UNPAIRED,) if len(paired) < len(found) else ()
    measured = ("first minus second", *(f"severity {severity}" for severity in severities))
    whole_column, *others = (Column(heading, digits=2, signed=True) for heading in measured)
    table = Table(
        name=cohort.file_name("differences", kind),
        title=cohort.titled(f"Differences, {kind}"),
        columns=(
            *(*map(Column, _COMPARED), whole_column, Column("shown better")),
            *(Column("p", significant=2), Column("p (Holm)", significant=2), Column("severities"), *others),
        ),
        rows=tuple(rows),
        notes=(_NOTE, *((_PAIRED,) if paired else ()), *unpaired, *notes),
    )
    empty = {table.columns[at].heading for at in range(5, 8) if not any(cell is not None for cell in table.cells(at))}
    return table.keep(lambda column: column.heading not in empty)


def _estimate(found: Difference) -> Estimate:
    return Estimate(found.points, found.low, found.high)
