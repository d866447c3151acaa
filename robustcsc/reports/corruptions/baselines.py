"""What corruption errors are relative to: a run that was measured, or the published errors of AlexNet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import NoLambda, TrainingLambda
from robustcsc.measurements.records import Metric, Record
from robustcsc.reports.cohorts.cohorts import (
    SEVERITIES,
    Cohort,
    Nested,
    Rows,
    Series,
    Setting,
    Variant,
    corruptions_of,
    of_kinds,
    ranked,
)
from robustcsc.reports.cohorts.words import policy_words

ALEXNET_NAME = "alexnet"
"""What people type for the published errors of AlexNet."""

ALEXNET_TABLE = "imagenet_c"
"""The severity table that the published errors belong to."""

_ALEXNET = (88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7)


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
        variant: The run (with its weights) without lambda or at its training lambda; ``None`` for AlexNet.
    """

    name: str
    variant: Variant | None

    @property
    def words(self) -> str:
        """Says in a sentence where the baseline's errors come from."""
        if self.variant is None:
            return (
                "Baseline: AlexNet, errors as published by Hendrycks & Dietterich (ICLR 2019, Table 1) for the "
                "published ImageNet-C files, not measured here."
            )
        return f"Baseline: run {self.variant.run} ({self.variant.model}, {policy_words(self.variant.policy)})."


PUBLISHED_ALEXNET = Baseline("AlexNet (published)", None)


def measured_baseline(name: str, records: Sequence[Record]) -> Baseline:
    """Returns the baseline that the records of one run make: without lambda, or at the training lambda.

    Args:
        name: Name of the run, for messages and tables.
        records: All records of the run.

    Raises:
        StoreError: The run has no corrupted images without a policy, or those of several models.
    """
    corrupted = set(map(Variant.of, of_kinds(records, Corruption)))
    if not corrupted:
        raise StoreError(
            f"The baseline {name!r} has no results on corrupted images: measure them with `robustcsc sweep --run "
            f"{name}`."
        )
    variants = ranked(it for it in corrupted if isinstance(it.policy, NoLambda | TrainingLambda))
    if not variants:
        raise StoreError(
            f"The baseline {name!r} has corrupted images at chosen lambdas only: measure its training lambda with "
            f"`robustcsc sweep --run {name} --lambda train`."
        )
    if len(variants) > 1:
        found = ", ".join(f"{it.model} {it.weights[:8]} {policy_words(it.policy)}" for it in variants)
        raise StoreError(f"The baseline {name!r} holds several models ({found}): name a run that holds one.")
    return Baseline(name, variants[0])


def check_baseline(nested: Nested, baseline: Baseline) -> None:
    """Checks that some corrupted images can be related to the baseline.

    Args:
        nested: Corrupted cells only, as `by_cohort` returns them for joined records.
        baseline: To relate to.

    Raises:
        StoreError: There are none, or the baseline was not measured on them or not on a whole corruption.
    """
    if baseline.variant is None:
        theirs = [cohort for cohort in nested if baseline_fits(cohort)]
        others = list(nested)
    else:
        theirs = [cohort for cohort, settings in nested.items() if baseline.variant in _variants(settings)]
        others = [cohort for cohort, settings in nested.items() if _variants(settings) - {baseline.variant}] or theirs
    if not others:
        raise StoreError(
            f"There is nothing to relate to the baseline {baseline.name!r}: measure corrupted images of the run with "
            "`robustcsc sweep` first."
        )
    if baseline.variant is None:
        if not theirs:
            tables = ", ".join(sorted({cohort.origin.table.name for cohort in others if cohort.origin}))
            raise StoreError(
                f"The published errors of AlexNet are for the severity table {ALEXNET_TABLE}, not {tables}: name a "
                "run as --baseline instead."
            )
        return
    shared = [cohort for cohort in others if cohort in theirs]
    if not shared:
        raise StoreError(_difference(baseline.name, theirs, others))
    if not any(complete(nested[cohort], baseline.variant) for cohort in shared):
        raise StoreError(
            f"The baseline {baseline.name!r} has no corruption at all of the severities 1-5 on these images: measure "
            f"them with `robustcsc sweep --run {baseline.name}`."
        )


def baseline_fits(cohort: Cohort) -> bool:
    """Returns whether the published errors of AlexNet belong to the severity table of `cohort`."""
    origin = cohort.origin
    return origin is not None and origin.table.name == ALEXNET_TABLE and cohort.metric is Metric.ACCURACY


def complete(settings: Mapping[Setting, Rows], variant: Variant) -> list[str]:
    """Returns the corruptions that `variant` was measured on at all five severities."""
    rows = corruptions_of(settings)
    return [name for name, measured in rows.items() if set(SEVERITIES) <= set(measured.get(variant, {}))]


def _variants(settings: Mapping[Setting, Rows]) -> set[Variant]:
    return {variant for rows in settings.values() for variant in rows}


def _difference(name: str, theirs: Iterable[Cohort], others: Iterable[Cohort]) -> str:
    """Names what the closest two cohorts differ in."""
    pairs = product(map(_facts, theirs), map(_facts, others))
    own, other = min(pairs, key=lambda pair: sum(pair[0][fact] != pair[1][fact] for fact in pair[0]))
    said = "; ".join(f"{fact} {own[fact]} against {other[fact]}" for fact in own if own[fact] != other[fact])
    return f"The baseline {name!r} was not measured on what the report shows ({said}): measure both on the same."


def _facts(cohort: Cohort) -> dict[str, str]:
    source, table = cohort.origin_words or ("none", "none")
    return {
        "data set": cohort.dataset,
        "split": cohort.split,
        "source of the corrupted images": source,
        "severity table": table,
        "images": cohort.images,
        "number of images": str(cohort.total),
        "seed": str(cohort.seed),
        "metric": cohort.metric.value,
    }


def _rate(record: Record) -> float:
    return 1 - record.correct / record.total
