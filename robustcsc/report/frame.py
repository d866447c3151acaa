"""Records as data frames: one tidy row per record, and one wide row per series of severities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

import pandas as pd

from robustcsc.records import Condition, Record
from robustcsc.report.cohorts import Cohort, Score, Setting, Subject, series, total_score
from robustcsc.report.words import policy_rank, severities_words

_WHOLE_OR_MISSING = ("severity", "steps", "restarts")
COLUMNS = (
    *(field.name for field in fields(Condition)),
    *(field.name for field in fields(Record) if field.name != "condition"),
    "accuracy",
    "low",
    "high",
)
"""Columns of `records_frame`."""
TIMING = ("seconds", "created")
"""Columns that say when and how long: the only ones in which two runs of one command differ."""

SEVERITIES = (1, 2, 3, 4, 5)


def record_order(record: Record) -> tuple[object, ...]:
    """Returns a sorting key: by run and weights, then by what was measured; never by when, among different cells."""
    it = record.condition
    what = (it.run, it.model, it.weights, it.kind, it.dataset, it.split, it.source, it.spec, it.name)
    return (*what, it.severity or 0, it.protocol, policy_rank(it.policy), it.key, record.created, record.correct)


def records_frame(records: Iterable[Record], *, timing: bool = False) -> pd.DataFrame:
    """Returns one row per record: its fields, `accuracy` and the 95 % Wilson interval, as fractions.

    Rows are sorted by `record_order`; without records the frame is empty and still has all columns. The same
    measurements give the same frame, whether or not they were interrupted in between.

    Args:
        records: What was measured, in any order.
        timing: Adds the columns `TIMING`, which differ each time something is measured.
    """
    rows: list[dict[str, object]] = []
    for record in sorted(records, key=record_order):
        score = Score(record.correct, record.total)
        low, high = score.interval
        rows.append({**record.row(), "accuracy": score.accuracy, "low": low, "high": high})
    columns = [name for name in COLUMNS if timing or name not in TIMING]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(_WHOLE_OR_MISSING, "Int64"))


def accuracy_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Returns one row per run, lambda policy, cohort and corruption, one column per severity.

    Accuracies are fractions. `mean`, `low` and `high` pool the severities named in `severities`.
    """
    rows: list[dict[str, object]] = []
    for (cohort, setting, subject), by_severity in series(records).items():
        if setting.kind == "corruption":
            rows.append(_wide_row(cohort, setting, subject, by_severity))
    columns = [
        "run",
        "model",
        "weights",
        "policy",
        "dataset",
        "split",
        "source",
        "spec",
        "images",
        "seed",
        "metric",
    ]
    columns += [
        "corruption",
        "n",
        *(f"severity_{s}" for s in SEVERITIES),
        "severities",
        "mean",
        "low",
        "high",
    ]
    return pd.DataFrame(rows, columns=[*columns, *(f"lambda_{s}" for s in SEVERITIES)])


def _wide_row(cohort: Cohort, setting: Setting, subject: Subject, measured: dict[int, Record]) -> dict[str, object]:
    mean = total_score(list(measured.values()))
    low, high = mean.interval
    row: dict[str, object] = {
        "run": subject.run,
        "model": subject.model,
        "weights": subject.weights,
        "policy": subject.policy,
        "dataset": cohort.dataset,
        "split": cohort.split,
        "source": cohort.source,
        "spec": cohort.spec,
        "images": cohort.images,
        "seed": cohort.seed,
        "metric": cohort.metric,
        "corruption": setting.name,
        "n": cohort.total,
        "severities": severities_words(set(measured)),
        "mean": mean.accuracy,
        "low": low,
        "high": high,
    }
    for severity, record in measured.items():
        row[f"severity_{severity}"] = Score(record.correct, record.total).accuracy
        row[f"lambda_{severity}"] = record.lam
    return row
