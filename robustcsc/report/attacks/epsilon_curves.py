"""Accuracy over the budget of an attack: the curve has to fall, and to reach zero where the budget allows any image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist

from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Series, Setting, Subject, by_cohort
from robustcsc.report.figures import (
    MOST_LINES,
    Curve,
    Plot,
    draw_line,
    left_out,
    legend_below,
    legend_rows,
    panels,
    share_heights,
    title_panel,
)
from robustcsc.report.table import Table
from robustcsc.report.tables import PERCENT, Labels, labels_of
from robustcsc.report.words import MISSING, attack_words, epsilon_words, norm_words, score_words

Curves = Mapping[str, Mapping[str, Curve]]
"""By norm and line in words."""


def epsilon_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort: accuracy over epsilon, a panel per norm, a line per row, attack and protocol.

    Lines of fewer than two budgets are left out; so are figures without a line.
    """
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        curves = _curves(settings, labels) if cohort.metric == "accuracy" else {}
        if curves:
            plots.append(_plot(cohort, curves))
    return plots


def epsilon_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and norm: the accuracies behind `epsilon_plots`, a column per budget."""
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        for norm, lines in (_curves(settings, labels) if cohort.metric == "accuracy" else {}).items():
            budgets = sorted({epsilon for curve in lines.values() for epsilon in curve})
            rows = [
                (words, *(score_words(curve[it]) if it in curve else MISSING for it in budgets))
                for words, curve in lines.items()
            ]
            tables.append(
                Table(
                    name=cohort.file_name("epsilon", norm),
                    title=f"Accuracy over epsilon, {norm_words(norm)}: {cohort.title}",
                    columns=("run, lambda policy, attack", *map(epsilon_words, budgets)),
                    rows=tuple(rows),
                    notes=(f"{PERCENT} n = {cohort.total} images. Budgets are in pixel units of [0, 1].",),
                )
            )
    return tables


def _curves(settings: Mapping[Setting, Mapping[Subject, Series]], labels: Labels) -> Curves:
    found: dict[str, dict[str, dict[float, Score]]] = defaultdict(lambda: defaultdict(dict))
    lines = [
        (subject.rank, setting.rank, subject, setting, measured[0])
        for setting, rows in settings.items()
        if setting.kind == "attack" and setting.norm and setting.epsilon is not None
        for subject, measured in rows.items()
    ]
    for *_, subject, setting, record in sorted(lines, key=lambda line: line[:2]):
        attack = attack_words(_without_budget(setting))
        protocol = setting.protocol if setting.protocol not in ("", "plain") else ""
        words = ", ".join(filter(None, (*labels[subject], attack, protocol)))
        found[setting.norm or ""][words][setting.epsilon or 0.0] = Score(record.correct, record.total)
    curves = {
        norm: {words: curve for words, curve in by_words.items() if len(curve) > 1} for norm, by_words in found.items()
    }
    return {norm: curves[norm] for norm in sorted(curves, reverse=True) if curves[norm]}


def _without_budget(setting: Setting) -> Setting:
    return Setting(setting.kind, setting.name, None, None, setting.steps, setting.restarts, setting.protocol)


def _plot(cohort: Cohort, curves: Curves) -> Plot:
    everything = list(dict.fromkeys(words for by_words in curves.values() for words in by_words))
    lines = everything[:MOST_LINES]
    figure, axes = panels(len(curves), legend_rows(lines))
    figure.set_figwidth(max(6.8, figure.get_figwidth()))
    handles: dict[str, Artist] = {}
    for ax, (norm, by_words) in zip(axes, curves.items(), strict=True):
        for at, words in enumerate(lines):
            if words in by_words:
                handles.setdefault(words, draw_line(ax, by_words[words], at))
        title_panel(ax, norm_words(norm), "epsilon", "accuracy (%)")
    share_heights(axes)
    shown = [words for words in lines if words in handles]
    legend_below(figure, [handles[words] for words in shown], shown)
    described = f"Accuracy over the budget; lines: {'; '.join(lines)}.{left_out(len(everything), MOST_LINES, 'lines')}"
    return Plot(cohort.file_name("epsilon"), f"Accuracy over epsilon: {cohort.title}", described, figure)
