"""Counts as cells of tables, and the sentences that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.presentation.table import Column, Estimate, Noted, Spread, Table
from robustcsc.reports.cohorts.cohorts import Part, pool
from robustcsc.reports.cohorts.words import NOISES, corruption_words, severities_words

WHO = (Column("run"), Column("lambda policy"))
"""Columns of what `labels_of` returns."""

PERCENT = (
    "Accuracies in percent with 95 % Wilson intervals over the images; a mean has the interval of one cell where "
    "single outcomes were not kept."
)
POOLED = "A mean pools the counts of its severities (equal numbers of images each)."
FIXED_NOTE = "Fixed lambdas stand in the tables by severity and in the lambda curves."


def told_once(table: Table) -> Table:
    """Returns a table that tells in a note what is the same in all of its rows."""
    told, rest = table.without_same()
    return replace(rest, notes=(f"In all rows: {told}.", *rest.notes)) if told else rest


def percentages(headings: Iterable[str], *, digits: int = 2, show_n: bool = False) -> tuple[Column, ...]:
    """Returns columns of fractions that are written in percent."""
    return tuple(Column(heading, digits=digits, percent=True, show_n=show_n) for heading in headings)


@lru_cache(maxsize=2**16)  # a report shows the same counts again and again
def estimate(counts: Score | None) -> Estimate | None:
    """Returns a share with its interval and the number of images, as fractions; ``None`` if there are no images."""
    if counts is None or not counts.total:
        return None
    return Estimate(counts.rate, *counts.interval, counts.images)


def rate_of(record: Record | None) -> Estimate | None:
    """Returns the rate that one record counts."""
    return None if record is None else _rate(record.met, record.total)


@lru_cache(maxsize=2**16)
def _rate(met: int, total: int) -> Estimate | None:
    return estimate(Score(met, total))


def over_seeds(scores: SeedScores) -> Estimate | Spread | None:
    """Returns what training seeds gave: the accuracy of one with its interval, or mean and spread of several."""
    if scores.std is None:
        return estimate(scores.scores[0])
    return Spread(scores.mean, scores.std, len(scores.scores))


def curve_of(measured: Mapping[int, Record] | Mapping[float, Record]) -> dict[float, Estimate]:
    """Returns the accuracies that records count, as points of a line of a chart."""
    return {x: found for x, record in measured.items() if (found := rate_of(record)) is not None}


def mean_of(parts: Sequence[Part]) -> Estimate | Noted | None:
    """Returns the pooled accuracy, or how much of it was measured."""
    found = pool(parts)
    if found is not None:
        return estimate(found)
    there = sum(len(set(wanted) & set(measured)) for measured, wanted in parts)
    return Noted(None, f"{there} of {sum(len(wanted) for _, wanted in parts)}") if there else None


def summary_columns(corruptions: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns heading and members of means over several corruptions: the noises, the standard set."""
    noises = [name for name in NOISES if name in corruptions]
    standard = [name for name in STANDARD_CORRUPTIONS if name in corruptions]
    summaries = [(f"mean of {len(noises)} noises", noises)] if len(noises) > 1 else []
    if set(standard) - set(noises) and len(standard) > 1:
        summaries.append((f"mean of {len(standard)} standard corruptions", standard))
    return summaries


def summary_notes(summaries: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Returns one sentence per summary column that names what it covers."""
    return [f"The {heading} covers {', '.join(map(corruption_words, names))}." for heading, names in summaries]


def severities_note(wanted: Mapping[str, Sequence[int]]) -> str:
    """Returns a sentence that names the severities each mean covers."""
    spans = {name: severities_words(severities) for name, severities in wanted.items()}
    if len(set(spans.values())) == 1:
        return f"Severities {next(iter(spans.values()))}."
    return f"Severities: {'; '.join(f'{corruption_words(name)} {span}' for name, span in spans.items())}."
