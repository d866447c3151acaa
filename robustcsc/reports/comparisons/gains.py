"""What the adaptive lambda gains: against the training lambda, and against the other runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import Clean, Corruption, Perturbation
from robustcsc.measurements.policies import Adaptive, NoLambda, TrainingLambda
from robustcsc.measurements.records import Record, Subject
from robustcsc.measurements.statistics import Gain
from robustcsc.presentation.table import Column, Estimate, Table
from robustcsc.reports.cohorts.cells import WHO
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
    score,
    total_score,
)
from robustcsc.reports.cohorts.words import perturbation_words, severities_words

MOST_RUNS = 6
"""Of more runs side by side, each is compared with the first only: all pairs would fill a book."""

_NOTES = (
    "Gains in percentage points, over the severities both were measured at.",
    "The 95 % interval of a gain is Newcombe's hybrid of the two Wilson intervals (method 10, 1998), as if the "
    "images of the two rows were independent; both rows saw the same images, which usually makes it too wide.",
)
_MANY = f"Of more than {MOST_RUNS} runs each is compared with the first only."
_SPOKEN = Column("points", digits=1, signed=True)


def verdict(gain: Gain, first: str, second: str) -> str:
    """Says in plain words which of `first` and `second` is better, or that there is no gain."""
    if gain.low > 0:
        return f"{first} beats {second} by {gain.points:.1f} points"
    if gain.high < 0:
        return f"{first} loses to {second} by {-gain.points:.1f} points"
    return f"no gain: {_SPOKEN.number(gain.points)} points, within the interval"


class _Comparison(NamedTuple):
    setting: Setting
    first: Variant
    second: Variant
    own: bool  # both are of one run
    mean: Gain
    by_severity: dict[int, float]


def gain_tables(
    records: Sequence[Record], *, kinds: Sequence[type[Perturbation]] = (Clean, Corruption), others: bool = True
) -> list[Table]:
    """Returns one table per cohort: adaptive lambda minus the training lambda and minus every other run.

    A run is compared with another run at that run's own baseline: without lambda, else at its training lambda.
    Tables without a comparison are left out.

    Args:
        records: What was measured.
        kinds: What was done to the images that are compared.
        others: Whether other runs are compared with, too.
    """
    labels = labels_of(records)
    many = others and len({(it.subject.run, it.subject.weights) for it in labels}) > MOST_RUNS
    tables = []
    for cohort, settings in part_of(by_cohort(records), *kinds).items():
        compared = (each for setting, rows in settings.items() for each in _comparisons(setting, rows))
        found = [each for each in compared if others or each.own]
        if found:
            tables.append(_gain_table(cohort, found, labels, (*_NOTES, _MANY) if many else _NOTES))
    return tables


def _comparisons(setting: Setting, rows: Rows) -> Iterator[_Comparison]:
    baselines = baselines_of(rows)
    for first in ranked(it for it in rows if isinstance(it.policy, Adaptive)):
        for second in opponents(first, baselines):
            ours, theirs = rows[first], rows[second]
            shared = sorted(set(ours) & set(theirs))
            means = [total_score([measured[it] for it in shared]) for measured in (ours, theirs)]
            if all(mean.total for mean in means):
                points = {it: Gain.between(score(ours[it]), score(theirs[it])).points for it in shared if it}
                own = first.subject == second.subject
                yield _Comparison(setting, first, second, own, Gain.between(*means), points)


def baselines_of(variants: Iterable[Variant]) -> list[Variant]:
    """Returns one row per run, in the order of tables: without lambda, else at its training lambda."""
    baselines: dict[Subject, Variant] = {}
    for variant in ranked(it for it in variants if isinstance(it.policy, NoLambda | TrainingLambda)):
        baselines.setdefault(variant.subject, variant)
    return list(baselines.values())


def opponents(variant: Variant, baselines: Sequence[Variant]) -> list[Variant]:
    """Returns the training lambda of the same weights, then the baseline of every other run (of many, of the first)."""
    own = [it for it in baselines if it.subject == variant.subject]
    others = [it for it in baselines if it not in own]
    return own + others[: 1 if len(baselines) > MOST_RUNS else None]


def _gain_table(cohort: Cohort, found: Sequence[_Comparison], labels: Labels, notes: tuple[str, ...]) -> Table:
    severities = sorted({severity for it in found for severity in it.by_severity})
    headings = ("mean gain", *(f"severity {severity}" for severity in severities))
    mean, *by_severity = (Column(heading, digits=2, signed=True) for heading in headings)
    rows = []
    for setting, first, second, own, gain, points in found:
        (run, policy), (other, baseline) = labels[first], labels[second]
        name = baseline if own else other if second.policy == NoLambda() else f"{other} at its {baseline}"
        told = (Estimate(gain.points, gain.low, gain.high), verdict(gain, policy, f"the {name}" if own else name))
        covered = severities_words(points) if points else None
        rows.append((run, policy, name, perturbation_words(setting), *told, covered, *map(points.get, severities)))
    return Table(
        name=cohort.file_name("gains", "" if severities else "clean"),
        title=f"Gains of the adaptive lambda: {cohort.title}",
        columns=(
            *(*WHO, Column("compared with"), Column("images")),
            *(mean, Column("verdict"), Column("severities"), *by_severity),
        ),
        rows=tuple(rows),
        notes=notes,
    )
