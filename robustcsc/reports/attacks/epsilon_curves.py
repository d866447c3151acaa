"""Accuracy over the budget of an attack: the curve has to fall, and to reach zero where the budget allows any image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import Norm
from robustcsc.presentation.chart import Chart, line_chart
from robustcsc.presentation.table import Column, Estimate, Table
from robustcsc.reports.attacks.tables import BUDGETS, attacks_by_cohort
from robustcsc.reports.cohorts.cells import PERCENT, curve_of, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, labels_of
from robustcsc.reports.cohorts.words import attack_words, epsilon_words, norm_words, with_protocol

ByNorm = Mapping[Norm, Mapping[str, Mapping[float, Estimate]]]
"""Accuracy by norm, line in words, and budget."""


def epsilon_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: accuracy over epsilon, a panel per norm, a line per row, attack and protocol.

    Lines of fewer than two budgets are left out; so are charts without a line.
    """
    return [
        line_chart(
            cohort.file_name("epsilon"),
            f"Accuracy over epsilon: {cohort.title}",
            "Accuracy over the budget;",
            ("epsilon", "accuracy (%)"),
            {words: words for by_words in curves.values() for words in by_words},
            {norm_words(norm): by_words for norm, by_words in curves.items()},
        )
        for cohort, curves in _by_cohort(records)
    ]


def epsilon_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and norm: the accuracies behind `epsilon_charts`, a column per budget."""
    tables = []
    for cohort, curves in _by_cohort(records):
        for norm, lines in curves.items():
            budgets = sorted({epsilon for curve in lines.values() for epsilon in curve})
            tables.append(
                Table(
                    name=cohort.file_name("epsilon", norm),
                    title=f"Accuracy over epsilon, {norm_words(norm)}: {cohort.title}",
                    columns=(Column("run, lambda policy, attack"), *percentages(map(epsilon_words, budgets))),
                    rows=tuple((words, *map(curve.get, budgets)) for words, curve in lines.items()),
                    notes=(f"{PERCENT} n = {cohort.total} images. {BUDGETS}",),
                )
            )
    return tables


def _by_cohort(records: Sequence[Record]) -> Iterator[tuple[Cohort, ByNorm]]:
    labels = labels_of(records)
    for cohort, attacks in attacks_by_cohort(records).items():
        found: dict[Norm, dict[str, dict[float, Estimate]]] = defaultdict(lambda: defaultdict(dict))
        for variant, made, record in attacks:
            words = with_protocol(", ".join((*labels[variant], attack_words(made, budget=False))), made)
            found[made.threat.norm][words] |= curve_of({made.threat.epsilon: record})
        long = {norm: {words: it for words, it in found[norm].items() if len(it) > 1} for norm in found}
        if curves := {norm: long[norm] for norm in sorted(long, reverse=True) if long[norm]}:
            yield cohort, curves
