"""Runs compared on nothing but what all of them were measured on, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import islice
from operator import and_

from robustcsc.errors import StoreError
from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.policies import NoLambda, told_policy
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import holm
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Estimate, Table
from robustcsc.presentation.words import enumerated
from robustcsc.reports.cohorts.cohorts import Cohort, severity_of
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.settings import setting_of
from robustcsc.reports.verdict.facts import Row, Verdict
from robustcsc.reports.verdict.judge import verdicts
from robustcsc.reports.verdict.sentences import MOST_NAMED, condition_words, row_words, verdict_sentences
from robustcsc.reports.verdict.shown import verdict_tables

_NOTE = (
    "First minus second in percentage points with 95 % intervals over the images, each compared with itself; p (Holm) "
    "allows for the number of comparisons."
)


@dataclass(frozen=True)
class Comparison:
    """How runs differ on the images that all of them were measured on.

    Attributes:
        verdicts: One for each split of each data set.
    """

    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """The verdict in words."""
        return verdict_sentences(self.verdicts)

    @property
    def tables(self) -> list[Table]:
        """The accuracies of each verdict, and the differences where the sentences do not name all of them."""
        tables = []
        for table, verdict in zip(verdict_tables(self.verdicts), self.verdicts, strict=True):
            many = any(len(verdict.against(it)) > MOST_NAMED for it in verdict.leads)
            tables += [table, _differences(table.name, verdict)] if many else [table]
        return tables

    def told(self) -> list[dict[str, object]]:
        """Returns the verdicts in types that `json` writes; accuracies are fractions, differences points."""
        return [_told(it) for it in self.verdicts]


def comparison(of: Mapping[str, Sequence[Record]], trainings: Sequence[Training] = ()) -> Comparison:
    """Returns how runs differ, at least two of them.

    Args:
        of: The records of each run by its name.
        trainings: How the models were trained; those that differ in nothing but their seed are compared together.

    Raises:
        StoreError: The runs share nothing that was measured, or single outcomes were not kept.
    """
    names = enumerated(of)
    together = iter(joined([record for records in of.values() for record in records]))
    runs = [list(islice(together, len(records))) for records in of.values()]
    if not _shared(runs):
        raise StoreError(
            f"The runs {names} were not measured on the same images: measure each with the same --data, --limit and "
            "--seed, such as `robustcsc sweep --run RUN`."
        )
    kept = [[record for record in records if record.outcomes is not None] for records in runs]
    shared = _shared(kept)
    found = verdicts(joined([it for records in kept for it in records if _place(it) in shared]), trainings)
    if not found:
        raise StoreError(
            f"Which images the runs {names} are right on was not kept, so they cannot be compared image by image: "
            "measure them again with --remeasure, or see `robustcsc report`."
        )
    return Comparison(tuple(found))


def _shared(runs: Sequence[Sequence[Record]]) -> set[tuple[object, ...]]:
    """Returns what all runs were measured on."""
    return reduce(and_, (set(map(_place, records)) for records in runs))


def _place(record: Record) -> tuple[object, ...]:
    """Returns what records have to share: of attacks, which may be others for every run, the budget."""
    made = record.measurement.perturbation
    return (Cohort.of(record), made.threat if isinstance(made, Attack) else setting_of(made), severity_of(record))


def _differences(name: str, verdict: Verdict) -> Table:
    corrected = holm([it.difference.p_value or 0.0 for it in verdict.contrasts])
    rows: list[tuple[Cell, ...]] = []
    for it, p in zip(verdict.contrasts, corrected, strict=True):
        names = (", ".join(row_words(row)[: 1 if row.policy == NoLambda() else 2]) for row in (it.first, it.second))
        found = it.difference
        points = Estimate(found.points, found.low, found.high)
        rows.append((*names, condition_words(it.condition), points, found.p_value, p))
    headings = (*map(Column, ("first", "second", "images")), Column("first minus second", digits=1, signed=True))
    columns = (*headings, Column("p", significant=2), Column("p (Holm)", significant=2))
    return Table(f"{name}-differences", "Differences, image by image", columns, tuple(rows), (_NOTE,))


def _told(verdict: Verdict) -> dict[str, object]:
    cohort = verdict.main.cohort
    return {
        "dataset": cohort.dataset,
        "split": cohort.split,
        "sentences": verdict_sentences([verdict]),
        "rows": [
            {
                **_who(row),
                "accuracies": {
                    condition_words(it): {**asdict(result.estimate), "attacks": result.attacks or None}
                    for it, result in row.results.items()
                },
            }
            for row in verdict.rows
        ],
        "differences": [
            {
                "images": condition_words(it.condition),
                "first": _who(it.first),
                "second": _who(it.second),
                **asdict(it.difference),
            }
            for it in verdict.contrasts
        ],
    }


def _who(row: Row) -> dict[str, object]:
    return {
        "runs": [it.run for it in row.subjects],
        **told_policy(row.policy),
    }
