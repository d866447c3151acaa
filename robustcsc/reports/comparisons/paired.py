"""Two classifiers on the same images: who is right where the other is wrong, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, MinimalBudget, Perturbation
from robustcsc.measurements.policies import FixedLambda, Oracle
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Pair, holm
from robustcsc.presentation.table import Cell, Column, Estimate, Table
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Rows,
    Variant,
    by_cohort,
    labels_of,
    part_of,
    ranked,
)
from robustcsc.reports.cohorts.words import perturbation_words, protocol_name
from robustcsc.reports.comparisons.gains import baselines_of, opponents

_NOTES = (
    "Both rows saw the same images, which are compared one by one. The difference is in percentage points with the "
    "95 % interval of Agresti and Min for matched pairs; p is that of McNemar's exact test (two-sided): how often a "
    "difference this large comes about when both are equally good.",
    "p (Holm) allows for the number of comparisons in this table; only a value below 0.05 there is called better.",
)
_LEVEL = 0.05
_KINDS: dict[str, tuple[type[Perturbation], ...]] = {
    "clean": (Clean,),
    "corrupted": (Corruption,),
    "attacked": (Attack, MinimalBudget),
}
_COLUMNS = (
    *(*map(Column, ("first", "second", "images")), Column("first minus second", digits=2, signed=True)),
    *(Column("only first right"), Column("only second right")),
    *(Column("p", significant=2), Column("p (Holm)", significant=2), Column("better")),
)

_Comparison = tuple[Variant, Variant, str, Pair]
"""Two rows, what was done to the images in words, and how the two fared on them."""


def pair_of(first: Record, second: Record) -> Pair | None:
    """Returns the pair of two records of the same images; ``None`` if single outcomes were not kept."""
    ours, theirs = first.outcomes, second.outcomes
    if ours is None or theirs is None or ours.count != theirs.count or not ours.count:
        return None
    return Pair.of_bits(ours.bits, theirs.bits, ours.count)


def paired_tables(records: Sequence[Record]) -> list[Table]:
    """Returns a table per cohort and kind of image: every row against its training lambda and against other runs.

    Only where the outcomes of single images were kept. Tables without a comparison are left out.
    """
    labels, nested = labels_of(records), by_cohort(records)
    tables = []
    for kind, perturbations in _KINDS.items():
        for cohort, settings in part_of(nested, *perturbations).items():
            found = [each for rows in settings.values() for each in _comparisons(rows)]
            if found:
                tables.append(_paired_table(cohort, kind, found, labels))
    return tables


def _comparisons(rows: Rows) -> Iterator[_Comparison]:
    for first, second in _pairs(rows):
        for severity in sorted(set(rows[first]) & set(rows[second])):
            if pair := pair_of(rows[first][severity], rows[second][severity]):
                yield first, second, _images(rows[first][severity]), pair


def _pairs(rows: Rows) -> Iterator[tuple[Variant, Variant]]:
    """Yields who is compared with whom, every two once; fixed lambdas and the oracle are compared with nobody."""
    met: set[frozenset[Variant]] = set()
    kept = [it for it in rows if not isinstance(it.policy, Oracle | FixedLambda)]
    baselines = baselines_of(kept)
    for first in reversed(ranked(kept)):
        for second in opponents(first, baselines):
            two = frozenset((first, second))
            if len(two) == 2 and two not in met:
                met.add(two)
                yield first, second


def _paired_table(cohort: Cohort, kind: str, found: Sequence[_Comparison], labels: Labels) -> Table:
    p_values = [pair.p_value for *_, pair in found]
    rows: list[tuple[Cell, ...]] = []
    for (first, second, images, pair), p, corrected in zip(found, p_values, holm(p_values), strict=True):
        names = [", ".join(labels[it]) for it in (first, second)]
        better = names[pair.points < 0] if corrected < _LEVEL else "no difference shown"
        points = Estimate(pair.points, *pair.interval)
        counts = (points, pair.only_first, pair.only_second, p, corrected)
        rows.append((*names, images, *counts, better))
    name, title = cohort.file_name("paired", kind), f"Image by image, {kind}: {cohort.title}"
    return Table(name, title, _COLUMNS, tuple(rows), _NOTES)


def _images(record: Record) -> str:
    made = record.measurement.perturbation
    words = perturbation_words(made)
    return f"{words}, {protocol_name(made)}" if isinstance(made, Attack | MinimalBudget) else words
