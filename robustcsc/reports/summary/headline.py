"""The headline table: clean, noisy and attacked accuracy of every run and lambda policy in one row each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import DEFAULT_EPSILON, Norm
from robustcsc.presentation.chart import Chart, dot_plot
from robustcsc.presentation.table import Table
from robustcsc.presentation.words import Title, slug
from robustcsc.reports.attacks.adversarial import ALL_ATTACKS, robust_columns
from robustcsc.reports.cohorts.cells import (
    FIXED_NOTE,
    PERCENT,
    POOLED,
    WHO,
    estimate,
    mean_of,
    percentages,
    severities_note,
    summary_columns,
    summary_notes,
)
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Nested,
    Part,
    Rows,
    Setting,
    Variant,
    apart,
    by_cohort,
    corruptions_of,
    is_basic,
    labels_of,
    part_of,
    pool,
    ranked,
    severities_of,
    without_fixed,
)
from robustcsc.reports.cohorts.words import NOISES, attack_words, corruption_words, perturbation_words
from robustcsc.reports.corruptions.charts import ACCURACY

_ATTACKS_DRAWN = 4
_OTHER_BUDGETS = "Attacks of other budgets stand in the tables over epsilon."
_PROTOCOL_NOTES = {
    Protocol.STATIC: "static: crafted at the training lambda, scored at the fitted lambda (a transfer test).",
    Protocol.ADAPTIVE: "adaptive: crafted through the policy that scores it.",
    Protocol.PLAIN: "plain: crafted at and scored with the training lambda (or without any).",
}


class _Mean(NamedTuple):
    """A column: what it takes the mean over, and the severities that are needed of each."""

    heading: str
    members: tuple[tuple[Rows, tuple[int, ...]], ...]

    def parts(self, variant: Variant) -> list[Part]:
        return [(rows.get(variant, {}), wanted) for rows, wanted in self.members]


def headline_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per data set, split, data source and severity table; cells have n and interval.

    Clean and PGD columns repeat in the tables of different sources. Columns never mix images or seeds: where
    there are several, each has its own column that names them. Fixed lambdas are left to the lambda curves.
    """
    labels = labels_of(records)
    return [_headline(about, nested, labels) for about, nested in _by_source(records, labels).items()]


def headline_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per headline table: clean accuracy, the means over corruptions, and attacks, with intervals.

    There is a panel per column and a dot per row. Left out are single corruptions and all but the first
    `_ATTACKS_DRAWN` attacks; so are charts that would show clean accuracy only.
    """
    labels = labels_of(records)
    charts = []
    for about, nested in _by_source(records, labels).items():
        means = [it for it in _noise_columns(part_of(nested, Corruption)) if len(it.members) > 1]
        attacked = _columns(_one_budget(nested), _pgd_words)[:_ATTACKS_DRAWN]
        columns = [*_columns(part_of(nested, Clean), perturbation_words), *means, *attacked]
        if len(columns) > 1:
            headings = [column.heading for column in columns]
            described = f"Accuracy in percent with 95 % intervals: {'; '.join(headings)}."
            points = {
                ", ".join(labels[it]): [estimate(pool(column.parts(it))) for column in columns]
                for it in _everyone(columns)
            }
            title = _title("Overview", nested)
            charts.append(dot_plot(slug("overview", *about), title, described, ACCURACY, headings, points))
    return charts


def _by_source(records: Sequence[Record], labels: Labels) -> dict[tuple[str, ...], Nested]:
    """Returns what stands in one table, by data set, split, and source and severity table of corrupted images.

    These are the accuracies that have a row, a fixed lambda only where a run has nothing else.
    """
    kept = set(without_fixed(ranked(labels)))
    nested: dict[Cohort, dict[Setting, Rows]] = {}
    for cohort, settings in part_of(by_cohort(records), Clean, Corruption, Attack).items():
        for setting, rows in settings.items():
            if shown := {variant: series for variant, series in rows.items() if variant in kept}:
                nested.setdefault(cohort, {})[setting] = shown
    parts: dict[tuple[str, ...], Nested] = {}
    for images in sorted({(it.dataset, it.split) for it in nested}):
        here = {it: nested[it] for it in nested if (it.dataset, it.split) == images}
        for words in sorted({it.origin_words for it in here if it.origin}) or [()]:
            parts[*images, *words] = {it: here[it] for it in here if it.origin_words in ((), words)}
    return parts


def _headline(about: tuple[str, ...], nested: Nested, labels: Labels) -> Table:
    attacked, noisy = _one_budget(nested), part_of(nested, Corruption)
    columns = _columns(part_of(nested, Clean), perturbation_words)
    columns += [*_noise_columns(noisy), *_columns(attacked, _pgd_words)]
    robust = robust_columns(
        record
        for settings in attacked.values()
        for rows in settings.values()
        for series in rows.values()
        for record in series.values()
    )
    counts = sorted({cohort.total for cohort in nested}, reverse=True)
    notes = [PERCENT, f"Measured on {' and '.join(f'{count:,}' for count in counts)} images."]
    for settings in noisy.values():
        wanted = {name: severities_of(rows.values()) for name, rows in corruptions_of(settings).items()}
        notes += [POOLED, severities_note(wanted), *summary_notes(summary_columns(list(wanted)))]
    protocols = {setting.protocol for settings in attacked.values() for setting in settings if is_basic(setting)}
    notes += [note for protocol, note in _PROTOCOL_NOTES.items() if protocol in protocols]
    notes += [ALL_ATTACKS] if robust else []
    notes += [] if attacked == part_of(nested, Attack) else [_OTHER_BUDGETS]
    notes += [FIXED_NOTE] if len(without_fixed(ranked(labels))) < len(labels) else []
    headings = (*(column.heading for column in columns), *(heading for heading, _ in robust))
    return Table(
        name=slug("headline", *about),
        title=_title("Headline", nested),
        columns=(*WHO, *percentages(headings, show_n=True)),
        rows=tuple(
            (
                *labels[it],
                *(mean_of(column.parts(it)) for column in columns),
                *(estimate(scores.get(it)) for _, scores in robust),
            )
            for it in _everyone(columns)
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def _everyone(columns: Sequence[_Mean]) -> list[Variant]:
    return ranked(variant for column in columns for rows, _ in column.members for variant in rows)


def _title(words: str, nested: Nested) -> Title:
    shared = (fact for cohort in nested for fact in cohort.about if fact.kind in ("data", "source", "table"))
    return Title(words, tuple(dict.fromkeys(shared)))


def _one_budget(nested: Nested) -> Nested:
    """Returns the attacks at one budget per norm, that of `headline_budget`."""
    kept: dict[Cohort, dict[Setting, Rows]] = {}
    for cohort, settings in part_of(nested, Attack).items():
        threats = {setting: setting.threat for setting in settings if isinstance(setting, Attack)}
        budgets: dict[Norm, list[float]] = defaultdict(list)
        for threat in threats.values():
            budgets[threat.norm].append(threat.epsilon)
        chosen = {norm: headline_budget(norm, measured) for norm, measured in budgets.items()}
        kept[cohort] = {it: settings[it] for it, threat in threats.items() if threat.epsilon == chosen[threat.norm]}
    return kept


def headline_budget(norm: Norm, budgets: Sequence[float]) -> float:
    """Returns the budget that stands for a norm: the default one if it is among `budgets`, else the largest."""
    usual = DEFAULT_EPSILON[norm]
    return next((it for it in budgets if math.isclose(it, usual, rel_tol=1e-6)), max(budgets))


def _columns(nested: Nested, words: Callable[[Setting], str]) -> list[_Mean]:
    """Returns a column per setting that has words."""
    return [
        _Mean(_heading(words(setting), cohort, nested), ((rows, (0,)),))
        for cohort, settings in nested.items()
        for setting, rows in settings.items()
        if words(setting)
    ]


def _noise_columns(nested: Nested) -> list[_Mean]:
    """Returns a column per noise, per corruption that no mean covers, and per mean."""
    columns = []
    for cohort, settings in nested.items():
        by_name = corruptions_of(settings)
        members = {name: (rows, tuple(severities_of(rows.values()))) for name, rows in by_name.items()}
        summaries = summary_columns(list(members))
        in_means_only = {name for _, of in summaries[1:] for name in of if name not in NOISES}
        singles = [(corruption_words(name), [name]) for name in members if name not in in_means_only]
        for heading, of in (*singles, *summaries):
            columns.append(_Mean(_heading(heading, cohort, nested), tuple(members[name] for name in of)))
    return columns


def _pgd_words(setting: Setting) -> str:
    """Returns words for PGD with one budget; ``""`` for other attacks, which have no column."""
    if not is_basic(setting) or setting.steps[0].name != "pgd":
        return ""
    transfer = " (a transfer test)" if setting.protocol is Protocol.STATIC else ""
    return f"{attack_words(setting)}, {setting.protocol}{transfer}"


def _heading(words: str, cohort: Cohort, nested: Nested) -> str:
    which = apart(cohort, nested)
    return f"{words} ({which})" if which else words
