"""The headline table: clean, noisy and attacked accuracy of every run and lambda policy in one row each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import DEFAULT_EPSILON, Norm
from robustcsc.presentation.chart import Chart, grouped_points
from robustcsc.presentation.table import Table
from robustcsc.presentation.words import slug
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
from robustcsc.reports.cohorts.words import attack_words, corruption_words
from robustcsc.reports.corruptions.charts import ACCURACY

_ATTACKS_DRAWN = 4
_OTHER_BUDGETS = "Attacks of other budgets stand in the tables over epsilon."
_PROTOCOL_NOTES = {
    Protocol.STATIC: "static: crafted at the training lambda, scored at the fitted lambda (a transfer test).",
    Protocol.ADAPTIVE: "adaptive: crafted through the policy that scores it.",
    Protocol.PLAIN: "plain: crafted at and scored with the training lambda (or without any).",
}


@dataclass(frozen=True)
class _Mean:
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
    return [_headline(nested, labels) for nested in _by_source(_shown(records, labels))]


def headline_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per headline table: clean accuracy, the means over corruptions, and attacks, with intervals.

    Points of one colour belong to one row. Left out are single corruptions and all but the first `_ATTACKS_DRAWN`
    attacks; so are charts that would show clean accuracy only.
    """
    labels = labels_of(records)
    charts = []
    for nested in _by_source(_shown(records, labels)):
        means = [it for it in _noise_columns(part_of(nested, Corruption)) if len(it.members) > 1]
        attacked = _attack_columns(_one_budget(part_of(nested, Attack)))[:_ATTACKS_DRAWN]
        columns = [*_clean_columns(part_of(nested, Clean)), *means, *attacked]
        if len(columns) > 1:
            headings, about = [column.heading for column in columns], _about(nested)
            charts.append(
                grouped_points(
                    slug("overview", *about),
                    f"Overview: {_title(about)}",
                    f"Accuracy in percent with 95 % intervals: {'; '.join(headings)}.",
                    ACCURACY,
                    headings,
                    {
                        ", ".join(labels[it]): [estimate(pool(column.parts(it))) for column in columns]
                        for it in _everyone(columns)
                    },
                )
            )
    return charts


def _shown(records: Sequence[Record], labels: Labels) -> Nested:
    """Returns the accuracies that have a row, a fixed lambda only where a run has nothing else."""
    kept = set(without_fixed(ranked(labels)))
    found: dict[Cohort, dict[Setting, Rows]] = {}
    for cohort, settings in part_of(by_cohort(records), Clean, Corruption, Attack).items():
        for setting, rows in settings.items():
            if shown := {variant: series for variant, series in rows.items() if variant in kept}:
                found.setdefault(cohort, {})[setting] = shown
    return found


def _by_source(nested: Nested) -> list[Nested]:
    """Returns what stands in one table: one data set and split, one source of corrupted images."""
    parts: list[Nested] = []
    for dataset, split in sorted({(it.dataset, it.split) for it in nested}):
        here = {it: settings for it, settings in nested.items() if (it.dataset, it.split) == (dataset, split)}
        for words in sorted({it.origin_words for it in here if it.origin}) or [()]:
            parts.append({it: settings for it, settings in here.items() if not it.origin or it.origin_words == words})
    return parts


def _headline(nested: Nested, labels: Labels) -> Table:
    every = part_of(nested, Attack)
    attacked, noisy = _one_budget(every), part_of(nested, Corruption)
    columns = [*_clean_columns(part_of(nested, Clean)), *_noise_columns(noisy), *_attack_columns(attacked)]
    robust = robust_columns(
        record
        for settings in attacked.values()
        for rows in settings.values()
        for series in rows.values()
        for record in series.values()
    )
    more = [ALL_ATTACKS] if robust else []
    more += [] if attacked == every else [_OTHER_BUDGETS]
    more += [FIXED_NOTE] if len(without_fixed(ranked(labels))) < len(labels) else []
    headings = (*(column.heading for column in columns), *(heading for heading, _ in robust))
    about = _about(nested)
    return Table(
        name=slug("headline", *about),
        title=f"Headline: {_title(about)}",
        columns=(*WHO, *percentages(headings, show_n=True)),
        rows=tuple(
            (
                *labels[it],
                *(mean_of(column.parts(it)) for column in columns),
                *(estimate(scores.get(it)) for _, scores in robust),
            )
            for it in _everyone(columns)
        ),
        notes=(*_notes(nested, noisy, attacked), *more),
    )


def _everyone(columns: Sequence[_Mean]) -> list[Variant]:
    return ranked(variant for column in columns for rows, _ in column.members for variant in rows)


def _about(nested: Nested) -> tuple[str, ...]:
    """Returns data set, split, and source and severity table of corrupted images."""
    cohort = next(iter(part_of(nested, Corruption) or nested))
    return (cohort.dataset, cohort.split, *cohort.origin_words)


def _title(about: tuple[str, ...]) -> str:
    return ", ".join((" ".join(about[:2]), *about[2:]))


def _one_budget(nested: Nested) -> Nested:
    """Returns the attacks at one budget per norm, that of `headline_budget`."""
    kept: dict[Cohort, dict[Setting, Rows]] = {}
    for cohort, settings in nested.items():
        threats = {setting: setting.threat for setting in settings if isinstance(setting, Attack)}
        measured: dict[Norm, list[float]] = defaultdict(list)
        for threat in threats.values():
            measured[threat.norm].append(threat.epsilon)
        chosen = {norm: headline_budget(norm, budgets) for norm, budgets in measured.items()}
        kept[cohort] = {it: settings[it] for it, threat in threats.items() if threat.epsilon == chosen[threat.norm]}
    return kept


def headline_budget(norm: Norm, budgets: Sequence[float]) -> float:
    """Returns the budget that stands for a norm: the default one if it is among `budgets`, else the largest."""
    usual = DEFAULT_EPSILON[norm]
    return next((it for it in budgets if math.isclose(it, usual, rel_tol=1e-6)), max(budgets))


def _clean_columns(nested: Nested) -> list[_Mean]:
    return [
        _Mean(_heading("clean", cohort, nested), ((rows, (0,)),))
        for cohort, settings in nested.items()
        for rows in settings.values()
    ]


def _noise_columns(nested: Nested) -> list[_Mean]:
    columns = []
    for cohort, settings in nested.items():
        by_name = corruptions_of(settings)
        members = {name: (rows, tuple(severities_of(rows.values()))) for name, rows in by_name.items()}
        summaries = summary_columns(list(members))
        noises = summaries[0][1] if summaries else list(members)
        singles = [(corruption_words(name), [name]) for name in members if name in noises]
        for heading, of in (*singles, *summaries):
            columns.append(_Mean(_heading(heading, cohort, nested), tuple(members[name] for name in of)))
    return columns


def _attack_columns(nested: Nested) -> list[_Mean]:
    columns = []
    for cohort, settings in nested.items():
        for setting, rows in settings.items():
            if is_basic(setting) and setting.steps[0].name == "pgd":
                protocol = f"{setting.protocol}{' (a transfer test)' if setting.protocol is Protocol.STATIC else ''}"
                heading = _heading(f"{attack_words(setting)}, {protocol}", cohort, nested)
                columns.append(_Mean(heading, ((rows, (0,)),)))
    return columns


def _heading(words: str, cohort: Cohort, nested: Nested) -> str:
    return f"{words} ({cohort.words})" if len(nested) > 1 else words


def _notes(nested: Nested, noisy: Nested, attacked: Nested) -> tuple[str, ...]:
    notes = [PERCENT, f"Measured on {'; '.join(sorted({cohort.words for cohort in nested}))}."]
    for settings in noisy.values():
        wanted = {name: severities_of(rows.values()) for name, rows in corruptions_of(settings).items()}
        notes += [POOLED, severities_note(wanted), *summary_notes(summary_columns(list(wanted)))]
    protocols = {setting.protocol for settings in attacked.values() for setting in settings if is_basic(setting)}
    notes += [note for protocol, note in _PROTOCOL_NOTES.items() if protocol in protocols]
    return tuple(dict.fromkeys(notes))
