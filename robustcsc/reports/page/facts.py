"""What all numbers of a report share, said once at the top of its page: images, corruptions, seeds, when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from robustcsc.measurements.perturbations import Clean, Corruption, Perturbation
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cohorts import Cohort
from robustcsc.reports.cohorts.words import source_words


def page_facts(records: Sequence[Record]) -> list[str]:
    """Returns short phrases about records, at least one: images, where corrupted ones come from, seeds and days."""
    totals: dict[tuple[str, str], dict[type[Perturbation], set[int]]] = defaultdict(lambda: defaultdict(set))
    cohorts = set()
    for record in records:
        cohorts.add(cohort := Cohort.of(record))
        totals[cohort.dataset, cohort.split][type(record.measurement.perturbation)].add(cohort.total)
    seeds = {cohort.seed for cohort in cohorts}
    days = sorted({record.provenance.created[:10] for record in records} - {""})
    return [
        *(f"{' '.join(name)}: {_images(totals[name])}" for name in sorted(totals)),
        *sorted({f"{source_words(it.origin)}, severity table {it.origin.table.name}" for it in cohorts if it.origin}),
        f"seed{'s' * (len(seeds) > 1)} {_spread(seeds)}",
        *([f"measured {' to '.join(dict.fromkeys((days[0], days[-1])))}"] if days else []),
    ]


def _images(totals: Mapping[type[Perturbation], set[int]]) -> str:
    attacked = {total for kind, of in totals.items() if kind not in (Clean, Corruption) for total in of}
    main = totals.get(Corruption) or totals.get(Clean) or attacked
    return f"{_spread(main)} images" + (f", {_spread(attacked)} under attack" if attacked - main else "")


def _spread(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
