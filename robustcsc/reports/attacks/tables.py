"""Accuracy over the budget of attacks, and what the other tables of attacks share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import DEFAULT_EPSILON, Norm
from robustcsc.presentation.chart import Chart, line_chart
from robustcsc.presentation.table import Column, Estimate, Table
from robustcsc.reports.cohorts.cells import PERCENT, curve_of, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, Variant, by_cohort, labels_of, part_of
from robustcsc.reports.cohorts.words import (
    attack_words,
    epsilon_words,
    norm_words,
    setting_rank,
    with_protocol,
)

BUDGETS = "Budgets are in pixel units of [0, 1]."

ByNorm = Mapping[Norm, Mapping[str, Mapping[float, Estimate]]]
"""Accuracy by norm, line in words, and budget."""


class Attacked(NamedTuple):
    """One attack on one variant."""

    variant: Variant
    made: Attack
    record: Record


def usual_budget(norm: Norm, budgets: Sequence[float]) -> float:
    """Returns the budget that stands for a norm: the default one if it is among `budgets`, else the largest."""
    usual = DEFAULT_EPSILON[norm]
    return next((it for it in budgets if math.isclose(it, usual, rel_tol=1e-6)), max(budgets))


def attacks_by_cohort(records: Sequence[Record]) -> dict[Cohort, list[Attacked]]:
    """Returns the attacks of each cohort that has any, by variant, then in the order of table columns."""
    found: dict[Cohort, list[Attacked]] = {}
    for cohort, settings in part_of(by_cohort(records), Attack).items():
        attacks = [
            Attacked(variant, made, measured[0])
            for made, rows in settings.items()
            if isinstance(made, Attack)
            for variant, measured in rows.items()
        ]
        found[cohort] = sorted(attacks, key=lambda it: (it.variant.rank, setting_rank(it.made)))
    return found


def epsilon_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: accuracy over epsilon, a panel per norm, a line per row, attack and protocol.

    A curve has to fall, and to reach zero where the budget allows any image. Lines of fewer than two budgets are left
    out; so are charts without a line.
    """
    return [
        line_chart(
            cohort.file_name("epsilon"),
            cohort.titled("Accuracy over epsilon"),
            "Accuracy over the budget;",
            ("epsilon", "accuracy (%)"),
            {words: words for by_words in curves.values() for words in by_words},
            {norm_words(norm): by_words for norm, by_words in curves.items()},
        )
        for cohort, curves in _curves(records)
    ]


def epsilon_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and norm: the accuracies behind `epsilon_charts`, a column per budget."""
    tables = []
    for cohort, curves in _curves(records):
        for norm, lines in curves.items():
            budgets = sorted({epsilon for curve in lines.values() for epsilon in curve})
            tables.append(
                Table(
                    name=cohort.file_name("epsilon", norm),
                    title=cohort.titled(f"Accuracy over epsilon, {norm_words(norm)}"),
                    columns=(Column("run, lambda policy, attack"), *percentages(map(epsilon_words, budgets))),
                    rows=tuple((words, *map(curve.get, budgets)) for words, curve in lines.items()),
                    notes=(PERCENT, BUDGETS),
                )
            )
    return tables


def _curves(records: Sequence[Record]) -> Iterator[tuple[Cohort, ByNorm]]:
    labels = labels_of(records)
    for cohort, attacks in attacks_by_cohort(records).items():
        found: dict[Norm, dict[str, dict[float, Estimate]]] = defaultdict(lambda: defaultdict(dict))
        for variant, made, record in attacks:
            words = with_protocol(", ".join((*labels[variant], attack_words(made, budget=False))), made)
            found[made.threat.norm][words] |= curve_of({made.threat.epsilon: record})
        long = {norm: {words: it for words, it in found[norm].items() if len(it) > 1} for norm in found}
        if curves := {norm: long[norm] for norm in sorted(long, reverse=True) if long[norm]}:
            yield cohort, curves
