"""What all numbers of a report share, said once at the top of its page: images, corruptions, seeds, when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    Perturbation,
    RandomControl,
    RandomNoise,
    Universal,
)
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cohorts import by_cohort
from robustcsc.reports.cohorts.words import source_words


def page_facts(records: Sequence[Record]) -> list[str]:
    """Returns short phrases about records, at least one: images, where corrupted ones come from, seeds and days."""
    totals: dict[tuple[str, str], dict[type[Perturbation], set[int]]] = defaultdict(lambda: defaultdict(set))
    cohorts = by_cohort(records)
    for cohort, settings in cohorts.items():
        for setting in settings:
            totals[cohort.dataset, cohort.split][type(setting)].add(cohort.total)
    seeds = {cohort.seed for cohort in cohorts}
    days = sorted({record.provenance.created[:10] for record in records} - {""})
    return [
        *(f"{' '.join(name)}: {_images(totals[name])}" for name in sorted(totals)),
        *sorted({f"{source_words(it.origin)}, severity table {it.origin.table.name}" for it in cohorts if it.origin}),
        f"seed{'s' * (len(seeds) > 1)} {_spread(seeds)}",
        *([f"measured {' to '.join(dict.fromkeys((days[0], days[-1])))}"] if days else []),
    ]


def _images(totals: Mapping[type[Perturbation], set[int]]) -> str:
    attacked = totals.get(Attack, set()) | totals.get(MinimalBudget, set())
    fooled = {total for kind in (Universal, RandomControl, RandomNoise) for total in totals.get(kind, ())}
    main = totals.get(Corruption) or totals.get(Clean) or attacked or fooled
    others = {"under attack": attacked, "for fooling rates": fooled}
    said = [f"{_spread(of)} {words}" for words, of in others.items() if of - main]
    return ", ".join((f"{_spread(main)} images", *said))


def _spread(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
