"""The smallest budgets that break images: quartiles, and the accuracy over the budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import MinimalBudget
from robustcsc.measurements.records import BudgetDetails, Record
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.chart import MOST_LINES, Chart, line_chart
from robustcsc.presentation.table import Cell, Column, Estimate, Table, Worded
from robustcsc.reports.cohorts.cells import WHO, estimate, percentages, rate_of
from robustcsc.reports.cohorts.cohorts import Cohort, Labels, Variant, by_cohort, labels_of, part_of
from robustcsc.reports.cohorts.words import (
    attack_words,
    epsilon_words,
    norm_words,
    protocol_name,
    protocol_words,
    setting_rank,
)

_NOTE = (
    "The smallest budget at which an image was broken, 0 where it is misclassified when clean: found by binary search, "
    "and an upper bound, because a stronger attack may need less."
)
_COLUMNS = (
    *(*WHO, Column("how the attack met lambda"), Column("attack and largest budget")),
    *(Column(heading, significant=4) for heading in ("first quarter", "median", "third quarter")),
    *percentages(["right at the largest"]),
)


class _Search(NamedTuple):
    variant: Variant
    made: MinimalBudget
    details: BudgetDetails
    record: Record

    @property
    def budgets(self) -> list[float]:
        """The smallest budget of every image, infinity where it resisted the largest one, in their order."""
        step = self.made.threat.epsilon / 2**self.details.levels
        return [math.inf if level == 255 else step * level for level in self.details.minimal]


def minimal_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: quartiles of the smallest budget that breaks an image."""
    labels = labels_of(records)
    return [
        Table(
            name=cohort.file_name("minimal-epsilon"),
            title=cohort.titled("Smallest budgets"),
            columns=_COLUMNS,
            rows=tuple((*labels[it.variant], *_cells(it)) for it in found),
            notes=(_NOTE,),
        )
        for cohort, found in _searches(records).items()
    ]


def minimal_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: the accuracy over the budget, from the smallest budgets that break images."""
    labels = labels_of(records)
    return [_chart(cohort, found, labels) for cohort, found in _searches(records).items()]


def _searches(records: Sequence[Record]) -> dict[Cohort, list[_Search]]:
    found: dict[Cohort, list[_Search]] = {}
    for cohort, settings in part_of(by_cohort(records), MinimalBudget).items():
        searches = [
            _Search(variant, made, details, measured[0])
            for made, rows in settings.items()
            for variant, measured in rows.items()
            if isinstance(made, MinimalBudget) and isinstance(details := measured[0].details, BudgetDetails)
        ]
        found[cohort] = sorted(searches, key=lambda it: (it.variant.rank, it.made.threat.norm, setting_rank(it.made)))
    return found


def _cells(search: _Search) -> tuple[Cell, ...]:
    made, budgets = search.made, search.budgets
    beyond = Worded(math.inf, f"more than {epsilon_words(made.threat.epsilon)}")
    quartiles = (_quantile(budgets, share) for share in (0.25, 0.5, 0.75))
    return (
        protocol_words(made, search.variant.policy),
        attack_words(made),
        *(beyond if size == math.inf else size for size in quartiles),
        rate_of(search.record),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _chart(cohort: Cohort, searches: Sequence[_Search], labels: Labels) -> Chart:
    lines = {
        (it.variant, it.made): ", ".join((*labels[it.variant], attack_words(it.made), protocol_name(it.made)))
        for it in searches
    }
    panels: dict[str, dict[tuple[Variant, MinimalBudget], Mapping[float, Estimate]]] = defaultdict(dict)
    for it in sorted(searches[:MOST_LINES], key=lambda it: it.made.threat.norm, reverse=True):
        panels[norm_words(it.made.threat.norm)][it.variant, it.made] = _curve(it)
    return line_chart(
        cohort.file_name("minimal-epsilon"),
        cohort.titled("Smallest budgets"),
        "Share of images that no smaller budget broke;",
        ("epsilon", "accuracy (%)"),
        lines,
        panels,
    )


def _curve(search: _Search) -> Mapping[float, Estimate]:
    budgets, parts = search.budgets, 2**search.details.levels
    steps = (search.made.threat.epsilon * level / parts for level in range(parts + 1))
    found = {size: estimate(Score(sum(budget > size for budget in budgets), len(budgets))) for size in steps}
    return {size: share for size, share in found.items() if share is not None}
