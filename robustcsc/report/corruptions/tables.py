"""Tables of accuracies: a headline, one per corruption, means over severities, and attacks.

Rows are runs and lambda policies side by side. A table never holds two cohorts in one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.cohorts import (
    Cohort,
    Series,
    Setting,
    Shown,
    Subject,
    by_cohort,
    mean_cell,
    severities_of,
    subject_labels,
    without_fixed,
)
from robustcsc.report.table import Table
from robustcsc.report.words import (
    MISSING,
    NOISE_FAMILIES,
    attack_words,
    corruption_rank,
    corruption_words,
    fixed_lambda,
    protocol_rank,
    protocol_words,
    score_words,
    severities_words,
)

PERCENT = (
    "Accuracies in percent with 95 % Wilson intervals; a mean over cells has the interval of one cell, because all "
    "show the same images."
)
POOLED = "A mean pools the counts of its severities (equal numbers of images each)."
FIXED_NOTE = "Fixed lambdas stand in the tables by severity and in the lambda curves."

Row = tuple[str, ...]
Labels = Mapping[Subject, tuple[str, str]]


def labels_of(records: Iterable[Record]) -> Labels:
    """Returns run and policy in words for every subject of `records`."""
    return subject_labels(records.subjects if isinstance(records, Shown) else {Subject.of(it) for it in records})


def ranked(subjects: Iterable[Subject]) -> list[Subject]:
    """Returns the subjects in the order of table rows."""
    return sorted(set(subjects), key=lambda subject: subject.rank)


def corruption_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort and corruption: accuracy by severity and the lambda used (SDNet, Table 2)."""
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        corruptions = [setting for setting in settings if setting.kind == "corruption"]
        for setting in sorted(corruptions, key=lambda it: corruption_rank(it.name)):
            tables.append(_corruption_table(cohort, setting, settings[setting], labels))
    return tables


def _corruption_table(cohort: Cohort, setting: Setting, rows: Mapping[Subject, Series], labels: Labels) -> Table:
    severities = severities_of(rows.values())
    cells: list[Row] = []
    for subject in ranked(rows):
        measured = rows[subject]
        run, policy = labels[subject]
        by_severity = [_cell(measured.get(severity)) for severity in severities]
        cells.append((run, policy, *by_severity, mean_cell([(measured, severities)])))
        if fixed_lambda(subject.policy) is None and any(record.lam is not None for record in measured.values()):
            used = [_lambda_cell(measured.get(severity)) for severity in severities]
            cells.append((run, f"λ used by {policy}", *used, ""))
    columns = ("run", "lambda policy", *(f"severity {severity}" for severity in severities), "mean")
    return Table(
        name=cohort.file_name(setting.name),
        title=f"{corruption_words(setting.name).capitalize()}: {cohort.title}",
        columns=columns,
        rows=tuple(cells),
        notes=(f"{PERCENT} n = {cohort.total} images per severity.", POOLED),
    )


def mean_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: mean over severities for each corruption (SDNet, Table 3)."""
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        rows = {setting.name: rows for setting, rows in settings.items() if setting.kind == "corruption"}
        if rows:
            tables.append(_mean_table(cohort, rows, labels))
    return tables


def _mean_table(cohort: Cohort, rows: Mapping[str, Mapping[Subject, Series]], labels: Labels) -> Table:
    measured = ranked(subject for by_subject in rows.values() for subject in by_subject)
    subjects = without_fixed(measured)
    wanted = {name: severities_of(rows[name].values()) for name in sorted(rows, key=corruption_rank)}
    summaries = summary_columns(list(wanted))
    left_out = [] if subjects == measured else [FIXED_NOTE]
    cells: list[Row] = []
    for subject in subjects:
        parts = {name: (rows[name].get(subject, {}), severities) for name, severities in wanted.items()}
        means = [mean_cell([part]) for part in parts.values()]
        pooled = [mean_cell([parts[name] for name in names]) for _, names in summaries]
        cells.append((*labels[subject], *means, *pooled))
    columns = (*map(corruption_words, wanted), *(heading for heading, _ in summaries))
    return Table(
        name=cohort.file_name("means"),
        title=f"Mean over severities: {cohort.title}",
        columns=("run", "lambda policy", *columns),
        rows=tuple(cells),
        notes=(PERCENT, POOLED, severities_note(wanted), *summary_notes(summaries), *left_out),
    )


def summary_columns(corruptions: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns heading and members of means over several corruptions: noise families, the standard set."""
    noises = [name for name in NOISE_FAMILIES if name in corruptions]
    standard = [name for name in STANDARD_CORRUPTIONS if name in corruptions]
    summaries = [(f"mean of {len(noises)} noises", noises)] if len(noises) > 1 else []
    if set(standard) - set(noises) and len(standard) > 1:
        summaries.append((f"mean of {len(standard)} standard corruptions", standard))
    return summaries


def summary_notes(summaries: Sequence[tuple[str, list[str]]]) -> list[str]:
    """Returns one sentence per summary column that names what it covers."""
    return [f"The {heading} covers {', '.join(map(corruption_words, names))}." for heading, names in summaries]


def severities_note(wanted: Mapping[str, Sequence[int]]) -> str:
    """Returns a sentence that names the severities each mean covers."""
    spans = {name: severities_words(set(severities)) for name, severities in wanted.items()}
    if len(set(spans.values())) == 1:
        return f"Severities {next(iter(spans.values()))}."
    return f"Severities: {'; '.join(f'{corruption_words(name)} {span}' for name, span in spans.items())}."


def attack_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: accuracy under single attacks and the protocol in words (SDNet, Table 4).

    What suites measure beyond that stands in `robustcsc.report.adversarial`.
    """
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        attacks = {setting: rows for setting, rows in settings.items() if setting.basic}
        if attacks:
            tables.append(_attack_table(cohort, attacks, labels))
    return tables


def _attack_table(cohort: Cohort, attacks: Mapping[Setting, Mapping[Subject, Series]], labels: Labels) -> Table:
    by_heading: dict[str, dict[tuple[Subject, str], Series]] = {}
    for setting in sorted(attacks, key=lambda it: it.rank):
        column = by_heading.setdefault(attack_words(setting), {})
        column.update({(subject, setting.protocol): it for subject, it in attacks[setting].items()})
    rows = {row for column in by_heading.values() for row in column}
    cells: list[Row] = []
    for subject, protocol in sorted(rows, key=lambda row: (row[0].rank, protocol_rank(row[1]))):
        found = [column.get((subject, protocol), {}) for column in by_heading.values()]
        made = protocol_words(protocol, subject.policy)
        cells.append((*labels[subject], made, *(_cell(measured.get(0)) for measured in found)))
    what = PERCENT if cohort.metric == "accuracy" else f"{cohort.metric} in percent with 95 % Wilson intervals."
    return Table(
        name=cohort.file_name("attacks"),
        title=f"Attacks: {cohort.title}",
        columns=("run", "lambda policy", "how the attack met lambda", *by_heading),
        rows=tuple(cells),
        notes=(f"{what} n = {cohort.total} images. Budgets are in pixel units of [0, 1].",),
    )


def _cell(record: Record | None) -> str:
    return MISSING if record is None else score_words(Score(record.correct, record.total))


def _lambda_cell(record: Record | None) -> str:
    return MISSING if record is None or record.lam is None else f"{record.lam:.2f}"
