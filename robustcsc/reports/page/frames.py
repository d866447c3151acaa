"""Data frames of a report, their rows in order, and columns in which each different cell is kept once.

Files and the page are made from such columns, so that 200,000 records take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import pandas as pd

from robustcsc.measurements.facts import to_json
from robustcsc.measurements.frames import factors, records_frame
from robustcsc.measurements.perturbations import Corruption, Perturbation
from robustcsc.measurements.records import Images, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.presentation.csv_table import csv_line
from robustcsc.presentation.html_table import Coded
from robustcsc.presentation.table import Column
from robustcsc.reports.attacks.fooling import NOISE, UNIVERSAL, changed_by
from robustcsc.reports.cohorts.cohorts import SEVERITIES, Series, by_cohort, fit_of, score, setting_of, total_score
from robustcsc.reports.cohorts.words import policy_rank, setting_rank

_WHO = ("run", "model", "weights", "policy", "policy.value", "policy.scope", "dataset", "split", "images")
_CORRUPTED = ("source", "pixels", "table.name", "table.digest", "table.photographs", "files", "seed", "metric", "name")
_FOOLED = ("kind", "protocol", "norm", "epsilon", "name", "rho", "metric")
_CRAFTED = tuple(f"crafting.{name}" for name in ("images", "count", "delta", "passes", "batch_size"))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Returns records by run and weights, then by what was measured, then by when, whatever their order was."""
    return sorted(sorted(records, key=to_json), key=_rank)


def _rank(record: Record) -> tuple[object, ...]:
    it = record.measurement
    who = (it.subject.run, it.subject.model, it.subject.weights)
    policy = (policy_rank(it.policy), fit_of(record), it.metric.value, it.batch_size or 0)
    return (*who, *_images_rank(it.images, it.perturbation), *policy, record.provenance.created)


@lru_cache(maxsize=2**14)
def _images_rank(images: Images, made: Perturbation) -> tuple[object, ...]:
    setting = setting_of(made)
    severity = made.severity if isinstance(made, Corruption) else 0
    named = (setting_rank(setting), images.dataset, images.split, images.fingerprint)
    return (*named, to_json(setting), severity, to_json(made))


def coded_records(records: Sequence[Record]) -> list[Coded]:
    """Returns the columns of `records_frame`."""
    columns = factors(records).items()
    return [Coded(Column(name, significant=5), values, codes.tolist()) for name, (values, codes) in columns]


def coded_csv(columns: Sequence[Coded]) -> str:
    """Returns comma-separated values at full precision; each different cell is written once."""
    lines = [csv_line(it.column.heading for it in columns)]
    texts = [[csv_line(["" if cell is None else str(cell)]) for cell in it.cells] for it in columns]
    rows = zip(*([text[code] for code in it.codes] for text, it in zip(texts, columns, strict=True)), strict=True)
    return "".join(f"{line}\n" for line in (*lines, *map(",".join, rows)))


def accuracy_frame(records: Sequence[Record]) -> pd.DataFrame:
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
    numbers = (*(f"severity_{at}" for at in SEVERITIES), "mean", "low", "high", *(f"lambda_{at}" for at in SEVERITIES))
    firsts = [next(iter(measured.values())) for measured in found]
    frame = records_frame(firsts).reindex(columns=[*_WHO, *_CORRUPTED]).rename(columns={"name": "corruption"})
    return frame.join(pd.DataFrame(map(_by_severity, found), columns=["n", *numbers]))


def _by_severity(measured: Series) -> dict[str, object]:
    mean = total_score(list(measured.values()))
    low, high = mean.interval
    row: dict[str, object] = {"n": mean.images, "mean": mean.rate, "low": low, "high": high}
    row |= {f"severity_{severity}": score(record).rate for severity, record in measured.items()}
    return row | {f"lambda_{severity}": record.lam for severity, record in measured.items()}


def fooling_frame(records: Sequence[Record]) -> pd.DataFrame:
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
    frame = records_frame([seeds[0] for seeds in points]).reindex(columns=[*_WHO, *_FOOLED, *_CRAFTED])
    numbers = pd.DataFrame(map(_over_seeds, points), columns=["seeds", "n", "rate", "std", "low", "high"])
    return frame.rename(columns={"epsilon": "xi"}).join(numbers)


def _over_seeds(seeds: Sequence[Record]) -> tuple[float | None, ...]:
    scores = SeedScores(tuple(map(score, seeds)))
    return len(seeds), seeds[0].total, scores.mean, scores.std, *Score.mean_of(scores.scores).interval
