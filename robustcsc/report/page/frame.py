"""Records as data frames: one tidy row per record, and one wide row per series of severities."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustcsc.measurements.statistics import Score
from robustcsc.records import Condition, Record
from robustcsc.report.cohorts import Cohort, Series, Setting, Subject, by_cohort, total_score
from robustcsc.report.words import policy_rank, severities_words

_WHOLE_OR_MISSING = ("severity", "steps", "restarts")
_CONDITION = tuple(field.name for field in fields(Condition))
COLUMNS = (
    *_CONDITION,
    *(field.name for field in fields(Record) if field.name not in ("condition", "outcomes")),
    "accuracy",
    "low",
    "high",
)
"""Columns of `records_frame`: all but the outcomes of single images, which are for comparing records."""
TIMING = ("seconds", "created")
"""Columns that say when and how long: the only ones in which two runs of one command differ."""

SEVERITIES = (1, 2, 3, 4, 5)

Coded = tuple[list[str], NDArray[np.intp]]
"""The different cells of a column as text, and for each row which of them it has."""


def record_order(record: Record) -> tuple[object, ...]:
    """Returns a sorting key: by run and weights, then by what was measured; never by when, among different cells."""
    it = record.condition
    what = (it.run, it.model, it.weights, it.kind, it.dataset, it.split, it.source, it.spec, it.name)
    how = (it.severity or 0, it.protocol, policy_rank(it.policy), it.norm or "", it.epsilon or 0.0, it.steps or 0)
    rest = (it.restarts or 0, it.seed, it.metric, it.images, it.fit, it.batch_size or 0, record.created, record.correct)
    return (*what, *how, *rest)


def records_frame(records: Iterable[Record], *, timing: bool = False) -> pd.DataFrame:
    """Returns one row per record: its fields, `accuracy` and the 95 % Wilson interval, as fractions.

    Rows are sorted by `record_order`; without records the frame is empty and still has all columns. The same
    measurements give the same frame, whether or not they were interrupted in between.

    Args:
        records: What was measured, in any order.
        timing: Adds the columns `TIMING`, which differ each time something is measured.
    """
    return ordered_frame(sorted(records, key=record_order), timing=timing)


def ordered_frame(ordered: Sequence[Record], *, timing: bool = False) -> pd.DataFrame:
    """Returns `records_frame` of records that are sorted by `record_order`."""
    conditions = [record.condition for record in ordered]
    counts = [(record.correct, record.total) for record in ordered]
    scores = {count: Score(*count) for count in set(counts)}
    accuracies = {count: score.accuracy for count, score in scores.items()}
    ends = {count: score.interval for count, score in scores.items()}
    of_score = {
        "accuracy": [accuracies[count] for count in counts],
        "low": [ends[count][0] for count in counts],
        "high": [ends[count][1] for count in counts],
    }
    columns: dict[str, Sequence[object]] = {}
    for name in COLUMNS:
        if name in of_score:
            columns[name] = of_score[name]
        elif timing or name not in TIMING:
            columns[name] = list(map(attrgetter(name), conditions if name in _CONDITION else ordered))
    frame = pd.DataFrame(columns)
    return frame.astype(dict.fromkeys(_WHOLE_OR_MISSING, "Int64"))


def coded_columns(frame: pd.DataFrame) -> dict[str, Coded]:
    """Returns every column as text, each different value once."""
    columns = {}
    for name in frame.columns:
        codes, values = pd.factorize(frame[name], use_na_sentinel=False)
        columns[name] = ([cell_text(value) for value in values], codes)
    return columns


def cell_text(value: object) -> str:
    """Returns a value as CSV files have it."""
    return "" if value is None or value is pd.NA or (isinstance(value, float) and value != value) else str(value)


def frame_csv(columns: Mapping[str, Coded]) -> str:
    """Returns comma-separated values as pandas writes them, in a fraction of the time: each value is written once."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    lines = []
    for values, codes in columns.values():
        quoted = list(map(_quoted, values))
        lines.append([quoted[code] for code in codes.tolist()])
    return text.getvalue() + "".join(f"{','.join(cells)}\n" for cells in zip(*lines, strict=True))


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(letter in cell for letter in ',"\n\r') else cell


def accuracy_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Returns one row per run, lambda policy, cohort and corruption, one column per severity.

    Accuracies are fractions. `mean`, `low` and `high` pool the severities named in `severities`.
    """
    rows: list[dict[str, object]] = []
    for cohort, settings in by_cohort(records).items():
        for setting, measured in settings.items():
            if setting.kind == "corruption":
                rows += [_wide_row(cohort, setting, subject, series) for subject, series in measured.items()]
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


def _wide_row(cohort: Cohort, setting: Setting, subject: Subject, measured: Series) -> dict[str, object]:
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
