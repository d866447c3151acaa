"""The headline table: clean, noisy and attacked accuracy of every run and lambda policy in one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcsc.records import Record
from robustcsc.report.cohorts import (
    Cohort,
    Part,
    Series,
    Setting,
    Subject,
    by_cohort,
    mean_cell,
    severities_of,
    without_fixed,
)
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
from robustcsc.report.words import MISSING, attack_words, corruption_rank, corruption_words, slug

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
        parts: list[Part] = [(rows.get(subject, {}), wanted) for rows, wanted in self.members]
        return mean_cell(parts, with_n=True)


Nested = Mapping[Cohort, Mapping[Setting, Mapping[Subject, Series]]]


def headline_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per data set, split, data source and severity table; cells have n and interval.

    Clean and PGD columns repeat in the tables of different sources. Columns never mix images or seeds: where
    there are several, each has its own column that names them. Fixed lambdas are left to the lambda curves.
    """
    subjects = ranked(Subject.of(record) for record in records)
    kept = set(without_fixed(subjects))
    left_out = [] if len(kept) == len(subjects) else [FIXED_NOTE]
    shown = [it for it in records if Subject.of(it) in kept and it.condition.metric == "accuracy"]
    nested = by_cohort(shown)
    corrupted = {it: (it.source, it.spec) for it in _of_kind(nested, "corruption")}
    tables = []
    for dataset, split in sorted({(it.dataset, it.split) for it in nested}):
        here = {it: rows for it, rows in nested.items() if (it.dataset, it.split) == (dataset, split)}
        for source in sorted({corrupted[it] for it in here if it in corrupted}) or [("", "")]:
            joined = {it: rows for it, rows in here.items() if corrupted.get(it, source) == source}
            tables.append(_headline(joined, labels_of(records), left_out))
    return tables


def _headline(nested: Nested, labels: Labels, more_notes: Sequence[str]) -> Table:
    clean, noisy, attacked = (_of_kind(nested, kind) for kind in ("clean", "corruption", "attack"))
    columns = [*_clean_columns(clean), *_noise_columns(noisy), *_attack_columns(attacked)]
    subjects = ranked(subject for column in columns for rows, _ in column.members for subject in rows)
    about = next(iter(noisy or nested))
    title = ", ".join((f"{about.dataset} {about.split}", *about.corruptions))
    return Table(
        name=slug("headline", about.dataset, about.split, *about.corruptions),
        title=f"Headline: {title}",
        columns=("run", "lambda policy", *(column.heading for column in columns)),
        rows=tuple((*labels[it], *(column.cell(it) for column in columns)) for it in subjects),
        notes=(*_notes(nested, noisy, attacked), *more_notes),
    )


def _of_kind(nested: Nested, kind: str) -> Nested:
    picked = {
        cohort: {setting: rows for setting, rows in settings.items() if setting.kind == kind}
        for cohort, settings in nested.items()
    }
    return {cohort: settings for cohort, settings in picked.items() if settings}


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
            if setting.name.startswith("pgd"):
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
