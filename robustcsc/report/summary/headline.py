"""The headline table: clean, noisy and attacked accuracy of every run and lambda policy in one row each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.adversarial import ALL_ATTACKS, robust_columns
from robustcsc.report.cohorts import (
    Cohort,
    Nested,
    Part,
    Series,
    Subject,
    by_cohort,
    mean_cell,
    pool,
    severities_of,
    without_fixed,
)
from robustcsc.report.figures import Plot, grouped_points
from robustcsc.report.table import Table
from robustcsc.report.tables import (
    FIXED_NOTE,
    PERCENT,
    POOLED,
    Labels,
    labels_of,
    ranked,
    severities_note,
    summary_columns,
    summary_notes,
)
from robustcsc.report.words import MISSING, attack_words, corruption_rank, corruption_words, score_words, slug

_ATTACKS_DRAWN = 4
HEADLINE_BUDGETS = {"linf": 8 / 255, "l2": 0.5}
"""The budgets of an attack that is given none; other ones of the same attacks stand in the tables over epsilon."""
_OTHER_BUDGETS = "Attacks of other budgets stand in the tables over epsilon."
_PROTOCOLS = {"static": "static (a transfer test)", "adaptive": "adaptive", "plain": "plain"}
_PROTOCOL_NOTES = {
    "static": "static: crafted at lambda_0, scored at the tuned lambda (a transfer test).",
    "adaptive": "adaptive: crafted through the policy that scores it.",
    "plain": "plain: crafted at and scored with the training lambda (or without any).",
}


@dataclass(frozen=True)
class _Column:
    heading: str
    members: tuple[tuple[Mapping[Subject, Series], tuple[int, ...]], ...]

    def cell(self, subject: Subject) -> str:
        return mean_cell(self.parts(subject), with_n=True)

    def score(self, subject: Subject) -> Score | None:
        return pool(self.parts(subject))

    def parts(self, subject: Subject) -> list[Part]:
        return [(rows.get(subject, {}), wanted) for rows, wanted in self.members]


def headline_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per data set, split, data source and severity table; cells have n and interval.

    Clean and PGD columns repeat in the tables of different sources. Columns never mix images or seeds: where
    there are several, each has its own column that names them. Fixed lambdas are left to the lambda curves.
    """
    labels = labels_of(records)
    kept = set(without_fixed(ranked(labels)))
    left_out = [] if len(kept) == len(labels) else [FIXED_NOTE]
    nested = _kept(by_cohort(records), kept)
    return [_headline(part, labels, left_out) for part in _by_source(nested)]


def headline_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per headline table: clean accuracy, the means over corruptions, and attacks, with intervals.

    Points of one colour belong to one row. Left out are single corruptions and all but the first `_ATTACKS_DRAWN`
    attacks; so are figures that would show clean accuracy only.
    """
    labels = labels_of(records)
    plots = []
    for nested in _by_source(_kept(by_cohort(records), set(without_fixed(ranked(labels))))):
        clean, noisy = (_of_kind(nested, kind) for kind in ("clean", "corruption"))
        attacked = _one_budget(_of_kind(nested, "attack"))
        means = [it for it in _noise_columns(noisy) if len(it.members) > 1]
        columns = [*_clean_columns(clean), *means, *_attack_columns(attacked)[:_ATTACKS_DRAWN]]
        everyone = ranked(subject for column in columns for rows, _ in column.members for subject in rows)
        if len(columns) > 1:
            about = next(iter(noisy or nested))
            described = "; ".join(column.heading for column in columns)
            plots.append(
                grouped_points(
                    slug("overview", about.dataset, about.split, *about.corruptions),
                    f"Overview: {', '.join((f'{about.dataset} {about.split}', *about.corruptions))}",
                    f"Accuracy in percent with 95 % intervals: {described}.",
                    [column.heading for column in columns],
                    {", ".join(labels[it]): [column.score(it) for column in columns] for it in everyone},
                )
            )
    return plots


def _by_source(nested: Nested) -> list[Nested]:
    """Returns what stands in one table: one data set and split, one source of corrupted images."""
    corrupted = {it: (it.source, it.spec) for it in _of_kind(nested, "corruption")}
    parts: list[Nested] = []
    for dataset, split in sorted({(it.dataset, it.split) for it in nested}):
        here = {it: rows for it, rows in nested.items() if (it.dataset, it.split) == (dataset, split)}
        for source in sorted({corrupted[it] for it in here if it in corrupted}) or [("", "")]:
            joined = {it: rows for it, rows in here.items() if corrupted.get(it, source) == source}
            parts.append(joined)
    return parts


def _kept(nested: Nested, kept: Set[Subject]) -> Nested:
    """Returns the accuracies of the subjects in `kept`."""
    found = {
        cohort: {
            setting: {subject: series for subject, series in rows.items() if subject in kept}
            for setting, rows in settings.items()
        }
        for cohort, settings in nested.items()
        if cohort.metric == "accuracy"
    }
    filled = {cohort: {it: rows for it, rows in settings.items() if rows} for cohort, settings in found.items()}
    return {cohort: settings for cohort, settings in filled.items() if settings}


def _headline(nested: Nested, labels: Labels, more_notes: Sequence[str]) -> Table:
    clean, noisy, every = (_of_kind(nested, kind) for kind in ("clean", "corruption", "attack"))
    attacked = _one_budget(every)
    columns = [*_clean_columns(clean), *_noise_columns(noisy), *_attack_columns(attacked)]
    subjects = ranked(subject for column in columns for rows, _ in column.members for subject in rows)
    robust = robust_columns(
        it
        for settings in attacked.values()
        for rows in settings.values()
        for row in rows.values()
        for it in row.values()
    )
    others = [] if attacked == every else [_OTHER_BUDGETS]
    about = next(iter(noisy or nested))
    title = ", ".join((f"{about.dataset} {about.split}", *about.corruptions))
    return Table(
        name=slug("headline", about.dataset, about.split, *about.corruptions),
        title=f"Headline: {title}",
        columns=("run", "lambda policy", *(column.heading for column in columns), *(heading for heading, _ in robust)),
        rows=tuple(
            (
                *labels[it],
                *(column.cell(it) for column in columns),
                *(score_words(scores[it], with_n=True) if it in scores else MISSING for _, scores in robust),
            )
            for it in subjects
        ),
        notes=(*_notes(nested, noisy, attacked), *([ALL_ATTACKS] if robust else []), *others, *more_notes),
    )


def _of_kind(nested: Nested, kind: str) -> Nested:
    picked = {
        cohort: {setting: rows for setting, rows in settings.items() if setting.kind == kind}
        for cohort, settings in nested.items()
    }
    return {cohort: settings for cohort, settings in picked.items() if settings}


def _one_budget(nested: Nested) -> Nested:
    """Returns the attacks at one budget per norm: that of `HEADLINE_BUDGETS` where measured, else the largest."""
    kept = {}
    for cohort, settings in nested.items():
        measured: dict[str | None, list[float]] = defaultdict(list)
        for it in settings:
            measured[it.norm].append(it.epsilon or 0.0)
        chosen = {norm: headline_budget(norm, budgets) for norm, budgets in measured.items()}
        kept[cohort] = {it: rows for it, rows in settings.items() if (it.epsilon or 0.0) == chosen[it.norm]}
    return kept


def headline_budget(norm: str | None, budgets: Sequence[float]) -> float:
    """Returns the budget that stands for a norm: that of `HEADLINE_BUDGETS` if it is there, else the largest."""
    usual = HEADLINE_BUDGETS.get(norm or "", math.nan)
    return next((it for it in budgets if math.isclose(it, usual, rel_tol=1e-6)), max(budgets))


def _clean_columns(nested: Nested) -> list[_Column]:
    return [
        _Column(_heading("clean", cohort, nested), ((rows, (0,)),))
        for cohort, settings in nested.items()
        for rows in settings.values()
    ]


def _noise_columns(nested: Nested) -> list[_Column]:
    columns = []
    for cohort, settings in nested.items():
        members = {setting.name: (rows, tuple(severities_of(rows.values()))) for setting, rows in settings.items()}
        names = sorted(members, key=corruption_rank)
        summaries = summary_columns(names)
        noises = summaries[0][1] if summaries else names
        singles = [(corruption_words(name), [name]) for name in names if name in noises]
        for heading, of in (*singles, *summaries):
            columns.append(_Column(_heading(heading, cohort, nested), tuple(members[name] for name in of)))
    return columns


def _attack_columns(nested: Nested) -> list[_Column]:
    columns = []
    for cohort, settings in nested.items():
        for setting in sorted(settings, key=lambda it: it.rank):
            if setting.name.startswith("pgd") and setting.basic:
                protocol = _PROTOCOLS.get(setting.protocol, setting.protocol or MISSING)
                words = f"{attack_words(setting)}, {protocol}"
                columns.append(_Column(_heading(words, cohort, nested), ((settings[setting], (0,)),)))
    return columns


def _heading(words: str, cohort: Cohort, nested: Nested) -> str:
    return f"{words} ({cohort.words})" if len(nested) > 1 else words


def _notes(nested: Nested, noisy: Nested, attacked: Nested) -> tuple[str, ...]:
    notes = [PERCENT]
    notes.append(f"Measured on {'; '.join(sorted({cohort.words for cohort in nested}))}.")
    for settings in noisy.values():
        wanted = {setting.name: severities_of(rows.values()) for setting, rows in settings.items()}
        wanted = dict(sorted(wanted.items(), key=lambda item: corruption_rank(item[0])))
        notes += [POOLED, severities_note(wanted), *summary_notes(summary_columns(list(wanted)))]
    protocols = {setting.protocol for settings in attacked.values() for setting in settings}
    notes += [note for protocol, note in _PROTOCOL_NOTES.items() if protocol in protocols]
    return tuple(dict.fromkeys(notes))
