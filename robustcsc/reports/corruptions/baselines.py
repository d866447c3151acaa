"""What corruption errors are relative to: a run that was measured, or the published errors of AlexNet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Corruption, Pixels, Source
from robustcsc.measurements.policies import NoLambda, TrainingLambda
from robustcsc.measurements.records import Record, Subject
from robustcsc.reports.cohorts.cohorts import SEVERITIES, Cohort, Variant, of_kinds, ranked
from robustcsc.reports.cohorts.words import policy_words
from robustcsc.reports.corruptions.corrupted import Corrupted, Errors

ALEXNET_NAME = "alexnet"
"""What people type for the published errors of AlexNet."""

ALEXNET_TABLE = "imagenet_c"
"""The severity table that the published errors belong to."""

_ALEXNET = (88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7)

ALEXNET = Errors(
    {name: (percent / 100,) * len(SEVERITIES) for name, percent in zip(STANDARD_CORRUPTIONS, _ALEXNET, strict=True)},
    0.435,
)
"""Published means over the five severities stand for each of them: only their sum enters a corruption error.

Source:
    Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
    2019, Table 1; measured there on the published ImageNet-C files.
"""


GENERATED = (
    "These corruptions were generated, stored as published: beside a published mCE they have other random numbers, and "
    "without --frost-root other photographs of frost."
)


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
        subject = self.variant.subject
        return f"Baseline: run {subject.run} ({subject.model}, {policy_words(self.variant.policy)})."

    def is_among(self, subjects: Sequence[Subject]) -> bool:
        """Whether these weights are those of the baseline."""
        return self.variant is not None and self.variant.subject in subjects

    def suits(self, cohort: Cohort) -> bool:
        """Whether its errors are those on such images, to the pixel: published ones are on published files."""
        return self.variant is not None or (cohort.origin is not None and cohort.origin.source is Source.OFFICIAL)

    def errors(self, cells: Corrupted) -> Errors | None:
        """Returns the errors of the baseline on the images of `cells`, ``None`` if it has none there."""
        if self.variant is not None:
            return cells.errors(self.variant) if self.variant in cells.everyone else None
        return ALEXNET if cells.cohort.origin is not None and _is_as_published(cells.cohort.origin) else None


def _is_as_published(origin: Corruption) -> bool:
    """Whether corrupted images are those of AlexNet, or made and stored as they were."""
    stored = origin.source is Source.OFFICIAL or origin.pixels is Pixels.JPEG
    return origin.table.name == ALEXNET_TABLE and stored


PUBLISHED_ALEXNET = Baseline("AlexNet (published)", None)


def measured_baseline(name: str, records: Sequence[Record]) -> Baseline:
    """Returns the baseline that the records of one run make: without lambda, or at the training lambda.

    Args:
        name: Name of the run, for messages and tables.
        records: All records of the run.

    Raises:
        StoreError: The run has no corrupted images without a policy, or those of several models.
    """
    measured = set(map(Variant.of, of_kinds(records, Corruption)))
    if not measured:
        raise StoreError(
            f"The baseline {name!r} has no results on corrupted images: measure them with `robustcsc sweep --run "
            f"{name}`."
        )
    variants = ranked(it for it in measured if isinstance(it.policy, NoLambda | TrainingLambda))
    if not variants:
        raise StoreError(
            f"The baseline {name!r} has corrupted images at chosen lambdas only: measure its training lambda with "
            f"`robustcsc sweep --run {name} --lambda train`."
        )
    if len(variants) > 1:
        found = ", ".join(f"{it.subject.model} {it.subject.weights[:8]} {policy_words(it.policy)}" for it in variants)
        raise StoreError(f"The baseline {name!r} holds several models ({found}): name a run that holds one.")
    return Baseline(name, variants[0])


def check_baseline(measured: Sequence[Corrupted], baseline: Baseline) -> None:
    """Checks that some corrupted images can be related to the baseline.

    Raises:
        StoreError: There are none, or the baseline was not measured on them or not on a whole corruption.
    """
    if not measured:
        raise StoreError(
            f"There is nothing to relate to the baseline {baseline.name!r}: measure corrupted images of the run with "
            "`robustcsc sweep` first."
        )
    theirs = [cells for cells in measured if baseline.errors(cells) is not None]
    if baseline.variant is None:
        if not theirs:
            tables = {cells.cohort.origin.table.name for cells in measured if cells.cohort.origin}
            if ALEXNET_TABLE in tables:
                raise StoreError(
                    "The published errors of AlexNet are on images that were saved as JPEG of quality 85, which these "
                    "were not: measure such images with `robustcsc sweep --as-published` first."
                )
            raise StoreError(
                f"The published errors of AlexNet are for the severity table {ALEXNET_TABLE}, not "
                f"{', '.join(sorted(tables))}: name a run as --baseline instead."
            )
        return
    others = [cells for cells in measured if set(cells.everyone) - {baseline.variant}] or theirs
    shared = [cells for cells in others if baseline.variant in cells.everyone]
    if not shared:
        raise StoreError(_difference(baseline.name, theirs, others))
    if not any(cells.errors(baseline.variant).by_corruption for cells in shared):
        raise StoreError(
            f"The baseline {baseline.name!r} has no corruption at all of the severities 1-5 on these images: measure "
            f"them with `robustcsc sweep --run {baseline.name}`."
        )


def _difference(name: str, theirs: Iterable[Corrupted], others: Iterable[Corrupted]) -> str:
    """Names what the closest two cohorts differ in."""
    pairs = product(map(_facts, theirs), map(_facts, others))
    own, other = min(pairs, key=lambda pair: sum(pair[0][fact] != pair[1][fact] for fact in pair[0]))
    said = "; ".join(f"{fact} {own[fact]} against {other[fact]}" for fact in own if own[fact] != other[fact])
    return f"The baseline {name!r} was not measured on what the report shows ({said}): measure both on the same."


def _facts(cells: Corrupted) -> dict[str, str | int]:
    cohort = cells.cohort
    source, table = cohort.origin_words
    return {
        "data set": cohort.dataset,
        "split": cohort.split,
        "source of the corrupted images": source,
        "severity table": table,
        "images": cohort.images,
        "number of images": cohort.total,
        "seed": cohort.seed,
    }
