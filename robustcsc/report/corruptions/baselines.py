"""What corruption errors are relative to: a run that was measured, or the published errors of AlexNet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from robustcsc.errors import StoreError
from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Nested, Series, Setting, Subject
from robustcsc.report.frame import SEVERITIES
from robustcsc.report.words import policy_words

ALEXNET_NAME = "alexnet"
"""What people type for the published errors of AlexNet."""

ALEXNET_TABLE = "imagenet_c"
"""The severity table that the published errors belong to."""

_ALEXNET = (88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7)
_PLAIN = ("none", "train")

_WORDS = {
    "dataset": "data set",
    "split": "split",
    "source": "source of the corrupted images",
    "spec": "severity table",
    "images": "images",
    "total": "number of images",
    "seed": "seed",
    "metric": "metric",
}


@dataclass(frozen=True)
class Errors:
    """Error rates of one model on one set of images, fractions in [0, 1].

    Attributes:
        by_corruption: Rates at severities 1 to 5, for the corruptions measured at all of them.
        clean: Rate on the uncorrupted images; ``None`` if it was not measured.
    """

    by_corruption: Mapping[str, tuple[float, ...]]
    clean: float | None

    @classmethod
    def of(cls, rows: Mapping[str, Series], clean: Record | None) -> Errors:
        """Returns the error rates behind the counts of one model."""
        complete = {name: it for name, it in rows.items() if set(SEVERITIES) <= set(it)}
        return cls(
            {name: tuple(_rate(it[severity]) for severity in SEVERITIES) for name, it in complete.items()},
            None if clean is None else _rate(clean),
        )

    def worse(self, relative: bool) -> list[str]:
        """Returns the corruptions by whose errors (less the clean error, if `relative`) others can be divided."""
        start = (self.clean or 0.0) if relative else 0.0
        return [name for name, it in self.by_corruption.items() if math.fsum(rate - start for rate in it) > 0]


ALEXNET = Errors(
    {name: (percent / 100,) * len(SEVERITIES) for name, percent in zip(STANDARD_CORRUPTIONS, _ALEXNET, strict=True)},
    0.435,
)
"""Published means over the five severities stand for each of them: only their sum enters a corruption error.

Source:
    Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
    2019, Table 1; measured there on the published ImageNet-C files.
"""


@dataclass(frozen=True)
class Baseline:
    """Whose errors the others are divided by.

    Attributes:
        name: What tables call it.
        subject: The run (with its weights) without lambda or at its training lambda; ``None`` for AlexNet.
    """

    name: str
    subject: Subject | None

    @property
    def words(self) -> str:
        """Says in a sentence where the baseline's errors come from."""
        if self.subject is None:
            return (
                "Baseline: AlexNet, errors as published by Hendrycks & Dietterich (ICLR 2019, Table 1) for the "
                "published ImageNet-C files, not measured here."
            )
        return f"Baseline: run {self.subject.run} ({self.subject.model}, {policy_words(self.subject.policy)})."


PUBLISHED_ALEXNET = Baseline("AlexNet (published)", None)


def measured_baseline(name: str, records: Sequence[Record]) -> Baseline:
    """Returns the baseline that the records of one run make: without lambda, or at the training lambda.

    Args:
        name: Name of the run, for messages and tables.
        records: All records of the run.

    Raises:
        StoreError: The run has no corrupted images without a policy, or those of several models.
    """
    corrupted = [Subject.of(it) for it in records if it.condition.kind == "corruption"]
    if not corrupted:
        raise StoreError(
            f"The baseline {name!r} has no results on corrupted images: measure them with `robustcsc sweep --run "
            f"{name}`."
        )
    subjects = sorted({it for it in corrupted if it.policy in _PLAIN}, key=lambda it: it.rank)
    if not subjects:
        raise StoreError(
            f"The baseline {name!r} has corrupted images at chosen lambdas only: measure its training lambda with "
            f"`robustcsc sweep --run {name} --lambda train`."
        )
    if len(subjects) > 1:
        found = ", ".join(f"{it.model} {it.weights[:8]} {policy_words(it.policy)}" for it in subjects)
        raise StoreError(f"The baseline {name!r} holds several models ({found}): name a run that holds one.")
    return Baseline(name, subjects[0])


def check_baseline(nested: Nested, baseline: Baseline) -> None:
    """Raises StoreError unless some corrupted images of `nested` can be related to the baseline.

    Args:
        nested: Corrupted cells only, as `by_cohort` returns them for joined records.
        baseline: To relate to.
    """
    if baseline.subject is None:
        others = list(nested)
        theirs = [cohort for cohort in others if baseline_fits(cohort)]
    else:
        theirs = [cohort for cohort, settings in nested.items() if baseline.subject in _subjects(settings)]
        others = [cohort for cohort, settings in nested.items() if _subjects(settings) - {baseline.subject}] or theirs
    if not others:
        raise StoreError(
            f"There is nothing to relate to the baseline {baseline.name!r}: measure corrupted images of the run with "
            "`robustcsc sweep` first."
        )
    if baseline.subject is None:
        if not theirs:
            tables = ", ".join(sorted({cohort.spec.partition("@")[0] for cohort in others}))
            raise StoreError(
                f"The published errors of AlexNet are for the severity table {ALEXNET_TABLE}, not {tables}: name a "
                "run as --baseline instead."
            )
        return
    shared = [cohort for cohort in others if cohort in theirs]
    if not shared:
        raise StoreError(_difference(baseline.name, theirs, others))
    if not any(complete(nested[cohort], baseline.subject) for cohort in shared):
        raise StoreError(
            f"The baseline {baseline.name!r} has no corruption at all of the severities 1-5 on these images: measure "
            f"them with `robustcsc sweep --run {baseline.name}`."
        )


def baseline_fits(cohort: Cohort) -> bool:
    """Returns whether the published errors of AlexNet belong to the severity table of `cohort`."""
    return cohort.spec.partition("@")[0] == ALEXNET_TABLE and cohort.metric == "accuracy"


def complete(settings: Mapping[Setting, Mapping[Subject, Series]], subject: Subject) -> list[str]:
    """Returns the corruptions that `subject` was measured on at all five severities."""
    return [it.name for it, rows in settings.items() if set(SEVERITIES) <= set(rows.get(subject, {}))]


def _subjects(settings: Mapping[Setting, Mapping[Subject, Series]]) -> set[Subject]:
    return {subject for rows in settings.values() for subject in rows}


def _difference(name: str, theirs: Iterable[Cohort], others: Iterable[Cohort]) -> str:
    """Names what the closest two cohorts differ in."""
    own, other = min(product(theirs, others), key=lambda pair: len(_different(*pair)))
    said = "; ".join(f"{_WORDS[it]} {getattr(own, it)} against {getattr(other, it)}" for it in _different(own, other))
    return f"The baseline {name!r} was not measured on what the report shows ({said}): measure both on the same."


def _different(own: Cohort, other: Cohort) -> list[str]:
    return [name for name in _WORDS if getattr(own, name) != getattr(other, name)]


def _rate(record: Record) -> float:
    return 1 - record.correct / record.total
