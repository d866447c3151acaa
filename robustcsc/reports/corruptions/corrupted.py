"""What was measured on corrupted images, by set of images: who, which corruptions, what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cells import FIXED_NOTE
from robustcsc.reports.cohorts.cohorts import (
    SEVERITIES,
    Cohort,
    Labels,
    Nested,
    Rows,
    Series,
    Variant,
    by_cohort,
    corruptions_of,
    labels_of,
    part_of,
    ranked,
    without_fixed,
)
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.words import corruption_rank, corruption_words, severities_words
from robustcsc.reports.corruptions.baselines import Errors


@dataclass(frozen=True)
class Corrupted:
    """Everything measured on one set of images with one severity table.

    Attributes:
        cohort: What all of it shares.
        rows: The corrupted cells by corruption, variant and severity.
        clean: The results on the same images without a corruption.
        labels: Run and policy of the variants in words.
    """

    cohort: Cohort
    rows: Mapping[str, Rows]
    clean: Mapping[Variant, Record]
    labels: Labels

    @property
    def everyone(self) -> list[Variant]:
        """Who was measured, in the order of rows."""
        return ranked(variant for rows in self.rows.values() for variant in rows)

    @property
    def variants(self) -> list[Variant]:
        """Who has a row: fixed lambdas only where a run has nothing else."""
        return without_fixed(self.everyone)

    @property
    def standard(self) -> list[str]:
        """The standard corruptions that anyone was measured on."""
        return [name for name in STANDARD_CORRUPTIONS if name in self.rows]

    @property
    def extra(self) -> list[str]:
        """All other corruptions that anyone was measured on."""
        return sorted(set(self.rows) - set(STANDARD_CORRUPTIONS), key=corruption_rank)

    def series(self, variant: Variant, name: str) -> Series:
        """Returns what was measured of one corruption, by severity."""
        return self.rows.get(name, {}).get(variant, {})

    def errors(self, variant: Variant) -> Errors:
        """Returns the error rates of one variant."""
        return Errors.of({name: self.series(variant, name) for name in self.rows}, self.clean.get(variant))

    def label(self, variant: Variant) -> tuple[str, str, str]:
        """Returns model, run and lambda policy."""
        return (variant.model, *self.labels[variant])

    @property
    def missing_notes(self) -> list[str]:
        """Sentences that name what lacks for the means over the 15 standard corruptions, and in which rows."""
        rows: dict[str, list[str]] = defaultdict(list)
        for variant in self.variants:
            gaps = []
            for name in STANDARD_CORRUPTIONS:
                absent = set(SEVERITIES) - set(self.series(variant, name))
                partly = f" (severity {severities_words(absent)})" if len(absent) < len(SEVERITIES) else ""
                gaps += [corruption_words(name) + partly] if absent else []
            if gaps:
                rows[", ".join(gaps)].append(", ".join(self.label(variant)))
        return [f"No mean over all 15 for {'; '.join(who)}; missing: {gaps}." for gaps, who in rows.items()]

    @property
    def fixed_notes(self) -> list[str]:
        """A sentence on the fixed lambdas if some have no row."""
        return [] if self.variants == self.everyone else [FIXED_NOTE]


def corrupted_cells(records: Sequence[Record]) -> Nested:
    """Returns the corrupted cells in which images are counted as labelled, by what they may be compared with."""
    return part_of(by_cohort(joined(records)), Corruption)


def corrupted(records: Sequence[Record]) -> list[Corrupted]:
    """Returns what was measured on corrupted images, one entry for each set of images and severity table.

    Args:
        records: What was measured, of any number of runs that are to stand side by side.
    """
    records = joined(records)
    labels = labels_of(records)
    clean: dict[tuple[object, ...], dict[Variant, Record]] = defaultdict(dict)
    for cohort, settings in part_of(by_cohort(records), Clean).items():
        for rows in settings.values():
            clean[_images(cohort)] |= {variant: measured[0] for variant, measured in rows.items()}
    return [
        Corrupted(cohort, corruptions_of(settings), clean[_images(cohort)], labels)
        for cohort, settings in corrupted_cells(records).items()
    ]


def _images(cohort: Cohort) -> tuple[object, ...]:
    return (cohort.dataset, cohort.split, cohort.images, cohort.total)
