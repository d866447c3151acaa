"""The CSV files of a report: their rows in order, and columns in which each different cell is kept once.

Files and the page are made from such columns, so that 200,000 records take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from robustcsc.measurements.facts import to_json
from robustcsc.measurements.frames import factors
from robustcsc.measurements.perturbations import Corruption, Perturbation
from robustcsc.measurements.policies import Fitted, Policy, lambda_of
from robustcsc.measurements.records import Images, Record, Subject
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.presentation.csv_table import csv_line
from robustcsc.presentation.table import Coded, Column, Plain
from robustcsc.reports.attacks.fooling import NOISE, UNIVERSAL, changed_by
from robustcsc.reports.cohorts.cohorts import SEVERITIES, by_cohort, score, total_score
from robustcsc.reports.cohorts.settings import setting_of
from robustcsc.reports.cohorts.words import policy_rank, setting_rank

T = TypeVar("T")

_WHO = ("run", "model", "weights", "policy", "policy.value", "policy.scope", "dataset", "split", "images", "precision")
_CORRUPTED = ("source", "pixels", "table.name", "table.digest", "table.photographs", "files", "seed", "metric", "name")
_FOOLED = ("kind", "protocol", "norm", "epsilon", "name", "rho", "metric")
_CRAFTED = tuple(f"crafting.{name}" for name in ("images", "count", "delta", "passes", "batch_size"))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Returns records by run and weights, then by what was measured, then by when, whatever their order was."""
    found = list(records)
    measured = [it.measurement for it in found]
    whose = _places([it.subject for it in measured], _who_rank)
    what = _places([(it.images, it.perturbation) for it in measured], lambda it: _images_rank(*it))
    how = _places([it.policy for it in measured], _how_rank)
    ranks = list(zip(whose, what, how, strict=True))
    ordered = []
    for _, alike in groupby(sorted(range(len(found)), key=ranks.__getitem__), key=ranks.__getitem__):
        several = [found[at] for at in alike]
        ordered += sorted(several, key=_rest_rank) if len(several) > 1 else several
    return ordered


def _rest_rank(record: Record) -> tuple[object, ...]:
    it = record.measurement
    return (str(it.metric), it.batch_size or 0, record.provenance.created, to_json(record))


def _places(values: Sequence[T], rank: Callable[[T], tuple[object, ...]]) -> Iterator[int]:
    """Yields for each value the place of its rank among all: numbers are compared faster than ranks."""
    ranks = {value: rank(value) for value in dict.fromkeys(values)}
    places = {it: at for at, it in enumerate(sorted(set(ranks.values())))}
    by_value = {value: places[it] for value, it in ranks.items()}
    return map(by_value.__getitem__, values)


def _who_rank(subject: Subject) -> tuple[object, ...]:
    return (subject.run, subject.model, subject.weights)


def _how_rank(policy: Policy) -> tuple[object, ...]:
    chosen = lambda_of(policy)
    return (policy_rank(policy), chosen.fit if isinstance(chosen, Fitted) else "")


def _images_rank(images: Images, made: Perturbation) -> tuple[object, ...]:
    setting = setting_of(made)
    severity = made.severity if isinstance(made, Corruption) else 0
    named = (setting_rank(setting), images.dataset, images.split, images.fingerprint)
    return (*named, to_json(setting), severity, to_json(made))


def coded_records(records: Sequence[Record]) -> list[Coded]:
    """Returns the columns of `records_frame`."""
    columns = factors(records).items()
    return [Coded(Column(name, significant=5), values, codes) for name, (values, codes) in columns]


def coded_csv(columns: Sequence[Coded]) -> str:
    """Returns comma-separated values at full precision; each different cell is written once."""
    lines = [csv_line(it.column.heading for it in columns)]
    texts = ([csv_line([_written(cell)]) for cell in it.cells] for it in columns)
    rows = zip(*(map(text.__getitem__, it.codes) for text, it in zip(texts, columns, strict=True)), strict=True)
    return "".join(f"{line}\n" for line in (*lines, *map(",".join, rows)))


Columns = Mapping[str, Sequence[Plain]]
"""Columns of plain values, as many each, by their heading; ``None`` where there is none."""


def columns_csv(columns: Columns) -> str:
    """Returns comma-separated values at full precision."""
    rows = zip(*(map(texts.__getitem__, it) for texts, it in map(_texts, columns.values())), strict=True)
    return "".join(f"{line}\n" for line in (csv_line(columns), *map(",".join, rows)))


def _texts(column: Sequence[Plain]) -> tuple[dict[object, str], Sequence[object]]:
    """Returns the text of each different cell by its key, and the keys of the cells."""
    kinds = set(map(type, column)) - {type(None)}
    if len(kinds) < 2:
        return {cell: csv_line([_written(cell)]) for cell in dict.fromkeys(column)}, column
    typed = [(type(cell), cell) for cell in column]  # 1, 1.0 and True are equal
    return {key: csv_line([_written(key[1])]) for key in dict.fromkeys(typed)}, typed


def _written(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def accuracy_columns(records: Sequence[Record]) -> Columns:
    """Returns one row per run, lambda policy, cohort and corruption, one column per severity.

    Accuracies are fractions. `mean`, `low` and `high` pool the severities that were measured; `n` counts the images of
    one of them.
    """
    found = [
        measured
        for settings in by_cohort(records).values()
        for setting, variants in settings.items()
        if isinstance(setting, Corruption)
        for measured in variants.values()
    ]
    facts = _facts([next(iter(measured.values())) for measured in found], (*_WHO, *_CORRUPTED))
    means = [total_score(list(measured.values())) for measured in found]
    intervals = [it.interval for it in means]
    return {
        **{"corruption" if name == "name" else name: values for name, values in facts.items()},
        "n": [it.images for it in means],
        **{f"severity_{at}": [score(it[at]).rate if at in it else None for it in found] for at in SEVERITIES},
        "mean": [it.rate for it in means],
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
        **{f"lambda_{at}": [it[at].lam if at in it else None for it in found] for at in SEVERITIES},
    }


def _facts(records: Sequence[Record], names: Sequence[str]) -> Columns:
    """Returns some of the columns of `records_frame`, empty ones, too."""
    found = factors(records)
    names = (*names, *(name for name in found if name.startswith("test_time")))
    columns = ((name, found.get(name, ([None], [0] * len(records)))) for name in names)
    return {name: [values[code] for code in codes] for name, (values, codes) in columns}


def fooling_columns(records: Sequence[Record]) -> Columns:
    """Returns one row per point of a fooling curve: whose predictions, what changed them, the rate over its seeds.

    Rates are fractions. `std` is over seeds (empty for one); `low` and `high` end the 95 % Wilson interval of the mean
    rate on the images of one seed, as other seeds see the same images.
    """
    points = [
        seeds
        for kinds in (UNIVERSAL, NOISE)
        for rows in changed_by(records, kinds).values()
        for measured in rows.values()
        for seeds in measured.values()
        if seeds
    ]
    facts = _facts([seeds[0] for seeds in points], (*_WHO, *_FOOLED, *_CRAFTED))
    scores = [SeedScores(tuple(map(score, seeds))) for seeds in points]
    intervals = [Score.mean_of(it.scores).interval for it in scores]
    return {
        **{"xi" if name == "epsilon" else name: values for name, values in facts.items()},
        "seeds": list(map(len, points)),
        "n": [seeds[0].total for seeds in points],
        "rate": [it.mean for it in scores],
        "std": [it.std for it in scores],
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
    }
