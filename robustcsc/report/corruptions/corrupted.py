"""What was measured on corrupted images, by set of images: who, which corruptions, what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.records import Record
from robustcsc.report.baselines import Errors
from robustcsc.report.cohorts import Cohort, Nested, Series, Subject, by_cohort, without_fixed
from robustcsc.report.frame import SEVERITIES
from robustcsc.report.join import joined
from robustcsc.report.tables import FIXED_NOTE, Labels, labels_of, ranked
from robustcsc.report.words import corruption_rank, corruption_words, severities_words


@dataclass(frozen=True)
class Corrupted:
    """Everything measured on one set of images with one severity table.

    Attributes:
        cohort: What all of it shares.
        rows: The corrupted cells by corruption, subject and severity.
        clean: The results on the same images without a corruption.
        labels: Run and policy of the subjects in words.
    """

    cohort: Cohort
    rows: Mapping[str, Mapping[Subject, Series]]
    clean: Mapping[Subject, Record]
    labels: Labels

    @property
    def everyone(self) -> list[Subject]:
        """Who was measured, in the order of rows."""
        return ranked(subject for rows in self.rows.values() for subject in rows)

    @property
    def subjects(self) -> list[Subject]:
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

    def series(self, subject: Subject, name: str) -> Series:
        """Returns what was measured of one corruption, by severity."""
        return self.rows.get(name, {}).get(subject, {})

    def errors(self, subject: Subject) -> Errors:
        """Returns the error rates of one subject."""
        return Errors.of({name: self.series(subject, name) for name in self.rows}, self.clean.get(subject))

    def label(self, subject: Subject) -> tuple[str, str, str]:
        """Returns model, run and lambda policy."""
        return (subject.model, *self.labels[subject])

    @property
    def missing_notes(self) -> list[str]:
        """Sentences that name what lacks for the means over the 15 standard corruptions, and in which rows."""
        rows: dict[str, list[str]] = defaultdict(list)
        for subject in self.subjects:
            gaps = []
            for name in STANDARD_CORRUPTIONS:
                absent = set(SEVERITIES) - set(self.series(subject, name))
                partly = f" (severity {severities_words(absent)})" if len(absent) < len(SEVERITIES) else ""
                gaps += [corruption_words(name) + partly] if absent else []
            if gaps:
                rows[", ".join(gaps)].append(", ".join(self.label(subject)))
        return [f"No mean over all 15 for {'; '.join(who)}; missing: {gaps}." for gaps, who in rows.items()]

    @property
    def fixed_notes(self) -> list[str]:
        """A sentence on the fixed lambdas if some have no row."""
        return [] if self.subjects == self.everyone else [FIXED_NOTE]


def corrupted_cells(records: Sequence[Record]) -> Nested:
    """Returns the corrupted cells in which images are counted as labelled, by what they may be compared with."""
    return _of_kind(by_cohort(joined(records)), "corruption")


def _of_kind(nested: Nested, kind: str) -> Nested:
    kept = {
        cohort: {setting: rows for setting, rows in settings.items() if setting.kind == kind}
        for cohort, settings in nested.items()
        if cohort.metric == "accuracy"
    }
    return {cohort: settings for cohort, settings in kept.items() if settings}


def corrupted(records: Sequence[Record]) -> list[Corrupted]:
    """Returns what was measured on corrupted images, one entry for each set of images and severity table.

    Args:
        records: What was measured, of any number of runs that are to stand side by side.
    """
    records = joined(records)
    labels = labels_of(records)
    clean = _of_kind(by_cohort(records), "clean")
    made = []
    for cohort, settings in corrupted_cells(records).items():
        rows = {setting.name: by_subject for setting, by_subject in settings.items()}
        made.append(Corrupted(cohort, rows, _clean(cohort, clean), labels))
    return made


def _clean(cohort: Cohort, nested: Nested) -> dict[Subject, Record]:
    """Returns the clean results on the images of `cohort`."""
    same = [
        rows
        for other, settings in nested.items()
        if (other.dataset, other.split, other.images, other.total)
        == (cohort.dataset, cohort.split, cohort.images, cohort.total)
        for rows in settings.values()
    ]
    return {subject: measured[0] for rows in same for subject, measured in rows.items()}
