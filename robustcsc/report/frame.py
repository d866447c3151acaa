"""Records as data frames: one tidy row per record, and one wide row per series of severities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from robustcsc.records import Condition, Record
from robustcsc.report.cohorts import Cohort, Score, Setting, Subject, pool, series
from robustcsc.report.words import severities_words

_WHOLE_OR_MISSING = ("severity", "steps", "restarts")
COLUMNS = (
    *(field.name for field in fields(Condition)),
    *(field.name for field in fields(Record) if field.name != "condition"),
    "accuracy",
    "low",
    "high",
)
"""Columns of `records_frame`."""

SEVERITIES = (1, 2, 3, 4, 5)


def records_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Returns one row per record: all its fields, `accuracy` and the 95 % Wilson interval, as fractions.

    Rows keep the order of `records`; without records the frame is empty and still has all columns.
    """
    rows: list[dict[str, object]] = []
    for record in records:
        score = Score(record.correct, record.total)
        low, high = score.interval
        rows.append({**record.row(), "accuracy": score.accuracy, "low": low, "high": high})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
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
    mean = pool([(measured, sorted(measured))])
    assert mean is not None
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
