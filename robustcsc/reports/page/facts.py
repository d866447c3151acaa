"""What all numbers of a report share, said once at the top of its page: images, corruptions, seeds, when."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cohorts import Cohort
from robustcsc.reports.cohorts.words import source_words


def page_facts(records: Sequence[Record]) -> list[str]:
    """Returns short phrases about records, at least one: images, where corrupted ones come from, seeds and days."""
    plain: dict[Cohort, bool] = {}
    for record in records:
        mild = isinstance(record.measurement.perturbation, Clean | Corruption)
        plain[Cohort.of(record)] = plain.get(Cohort.of(record), False) or mild
    origins = [cohort.origin for cohort in plain if cohort.origin]
    seeds = sorted({cohort.seed for cohort in plain})
    days = sorted({record.provenance.created[:10] for record in records})
    return [
        *(
            _images(name, {it: plain[it] for it in plain if it[:2] == name})
            for name in sorted({it[:2] for it in plain})
        ),
        *sorted({f"{source_words(it)}, severity table {it.table.name}" for it in origins}),
        f"seed {_spread(seeds)}" if len(seeds) == 1 else f"seeds {_spread(seeds)}",
        f"measured {' to '.join(dict.fromkeys((days[0], days[-1])))}",
    ]


def _images(name: tuple[str, ...], plain: dict[Cohort, bool]) -> str:
    mild = {cohort.total for cohort, it in plain.items() if it}
    attacked = {cohort.total for cohort, it in plain.items() if not it}
    words = f"{' '.join(name)}: {_spread(mild or attacked)} images"
    return words if not mild or attacked <= mild else f"{words}, {_spread(attacked)} under attack"


def _spread(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
