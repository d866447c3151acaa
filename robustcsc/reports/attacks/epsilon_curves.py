"""Accuracy over the budget of an attack: the curve has to fall, and to reach zero where the budget allows any image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.threats import Norm
from robustcsc.presentation.chart import MOST_LINES, Chart, Panel, left_out, numbered_series, percent_line
from robustcsc.presentation.table import Column, Estimate, Table
from robustcsc.reports.attacks.tables import BUDGETS, attacks_in, with_protocol
from robustcsc.reports.cohorts.cells import PERCENT, accuracy_of, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, Labels, Rows, Setting, by_cohort, labels_of
from robustcsc.reports.cohorts.words import attack_words, epsilon_words, norm_words

ByNorm = Mapping[Norm, Mapping[str, Mapping[float, Estimate]]]
"""Accuracy by norm, line in words, and budget."""


def epsilon_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: accuracy over epsilon, a panel per norm, a line per row, attack and protocol.

    Lines of fewer than two budgets are left out; so are charts without a line.
    """
    return [_chart(cohort, curves) for cohort, curves in _by_cohort(records)]


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
    for cohort, settings in by_cohort(records).items():
        curves = _curves(settings, labels) if cohort.metric is Metric.ACCURACY else {}
        if curves:
            yield cohort, curves


def _curves(settings: Mapping[Setting, Rows], labels: Labels) -> ByNorm:
    found: dict[Norm, dict[str, dict[float, Estimate]]] = defaultdict(lambda: defaultdict(dict))
    for variant, made, record in attacks_in(settings):
        words = with_protocol(", ".join((*labels[variant], attack_words(made, budget=False))), made)
        accuracy = accuracy_of(record)
        if accuracy is not None:
            found[made.threat.norm][words][made.threat.epsilon] = accuracy
    curves = {
        norm: {words: curve for words, curve in by_words.items() if len(curve) > 1} for norm, by_words in found.items()
    }
    return {norm: curves[norm] for norm in sorted(curves, reverse=True) if curves[norm]}


def _chart(cohort: Cohort, curves: ByNorm) -> Chart:
    everything = list(dict.fromkeys(words for by_words in curves.values() for words in by_words))
    lines = everything[:MOST_LINES]
    panels = tuple(
        Panel(
            norm_words(norm),
            "epsilon",
            "accuracy (%)",
            tuple(percent_line(at, by_words[words]) for at, words in enumerate(lines) if words in by_words),
        )
        for norm, by_words in curves.items()
    )
    described = f"Accuracy over the budget; lines: {'; '.join(lines)}.{left_out(len(everything), MOST_LINES, 'lines')}"
    title = f"Accuracy over epsilon: {cohort.title}"
    return Chart(cohort.file_name("epsilon"), title, described, panels, numbered_series(lines), same_heights=True)
