"""What was measured on corrupted images, by set of images: who, which corruptions, what is missing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cells import FIXED_NOTE
from robustcsc.reports.cohorts.cohorts import (
    SEVERITIES,
    Cohort,
    Labels,
    Part,
    Rows,
    Series,
    Variant,
    by_cohort,
    corruptions_of,
    labels_of,
    part_of,
    ranked,
    severities_of,
    without_fixed,
)
from robustcsc.reports.cohorts.words import corruption_rank, corruption_words, severities_words


@dataclass(frozen=True)
class Errors:
    """Error rates of one model on one set of images, fractions in [0, 1].

    Attributes:
        by_corruption: Rates at severities 1 to 5, for the corruptions measured at all of them.
        clean: Rate on the uncorrupted images; ``None`` if it was not measured.
    """

    by_corruption: Mapping[str, tuple[float, ...]]
    clean: float | None

    def worse(self, relative: bool) -> list[str]:
        """Returns the corruptions by whose errors (less the clean error, if `relative`) others can be divided."""
        start = (self.clean or 0.0) if relative else 0.0
        return [name for name, it in self.by_corruption.items() if math.fsum(rate - start for rate in it) > 0]


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

    def only(self, names: Collection[str]) -> Corrupted:
        """Returns what was measured of some corruptions."""
        return replace(self, rows={name: rows for name, rows in self.rows.items() if name in names})

    @cached_property
    def everyone(self) -> list[Variant]:
        """Who was measured, in the order of rows."""
        return ranked(variant for rows in self.rows.values() for variant in rows)

    @cached_property
    def variants(self) -> list[Variant]:
        """Who has a row: fixed lambdas only where a run has nothing else."""
        return without_fixed(self.everyone)

    @cached_property
    def severities(self) -> dict[str, list[int]]:
        """By corruption those that anyone was measured at: a mean has to cover all of them."""
        return {name: severities_of(rows.values()) for name, rows in self.rows.items()}

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

    def parts(self, variant: Variant, names: Iterable[str]) -> list[Part]:
        """Returns what a mean over some corruptions takes from one variant."""
        return [(self.series(variant, name), self.severities[name]) for name in names]

    def errors(self, variant: Variant) -> Errors:
        """Returns the error rates of one variant."""
        rows = {name: self.series(variant, name) for name in self.rows}
        whole = {name: it for name, it in rows.items() if set(SEVERITIES) <= set(it)}
        return Errors(
            {name: tuple(_error(it[severity]) for severity in SEVERITIES) for name, it in whole.items()},
            _error(self.clean[variant]) if variant in self.clean else None,
        )

    def label(self, variant: Variant) -> tuple[str, str, str]:
        """Returns model, run and lambda policy."""
        return (variant.subject.model, *self.labels[variant])

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


def corrupted(records: Sequence[Record]) -> list[Corrupted]:
    """Returns what was measured on corrupted images, one entry for each set of images and severity table."""
    labels, nested = labels_of(records), by_cohort(records)
    clean: dict[tuple[object, ...], dict[Variant, Record]] = defaultdict(dict)
    for cohort, settings in part_of(nested, Clean).items():
        for rows in settings.values():
            clean[cohort.clean_images] |= {variant: measured[0] for variant, measured in rows.items()}
    return [
        Corrupted(cohort, corruptions_of(settings), clean[cohort.clean_images], labels)
        for cohort, settings in part_of(nested, Corruption).items()
    ]


def _error(record: Record) -> float:
    return 1 - record.met / record.total
