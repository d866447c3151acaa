"""Models that a verdict cannot compare, as they were measured otherwise than the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, Universal
from robustcsc.measurements.policies import Fitted, NoLambda, TrainingLambda, lambda_of
from robustcsc.measurements.records import Metric, Subject
from robustcsc.reports.cohorts.cohorts import Cohort, Nested, Variant, part_of
from robustcsc.reports.verdict.facts import Condition, Kind, Missing, Row

_MADE_OF: Mapping[type[Perturbation], tuple[tuple[Kind, ...], Metric]] = {
    Clean: ((Kind.CLEAN,), Metric.ACCURACY),
    Corruption: ((Kind.NOISE, Kind.CORRUPTIONS), Metric.ACCURACY),
    Attack: ((Kind.ATTACK,), Metric.ACCURACY),
    Universal: ((Kind.FOOLING,), Metric.FOOLING),
}


def is_usable(variant: Variant) -> bool:
    """Whether a row is a model as it can be used: an oracle sees the test labels, and so does the best of a grid."""
    return isinstance(lambda_of(variant.policy), NoLambda | TrainingLambda | Fitted)


def missing_in(conditions: Iterable[Condition], rows: Iterable[Row], nested: Nested) -> tuple[Missing, ...]:
    """Returns which models stand in no column of a kind although they were measured: on which images, most of all."""
    results = [(row, condition) for row in rows for condition in row.results]
    found: list[Missing] = []
    for made, (kinds, metric) in _MADE_OF.items():
        columns = [it for it in conditions if it.kind in kinds]
        there = {subject for row, condition in results if condition in columns for subject in row.subjects}
        others: dict[Subject, Cohort] = {}
        for cohort, settings in part_of(nested, made, metric=metric).items():
            measured = {it.subject for variants in settings.values() for it in variants if is_usable(it)} - there
            for subject in measured if columns else ():
                others[subject] = max(others.get(subject, cohort), cohort, key=lambda it: it.total)
        found += (Missing(subject, columns[0], cohort) for subject, cohort in others.items())
    return tuple(sorted(found, key=lambda it: it.subject.run))
