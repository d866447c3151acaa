"""All runs of a folder ranked: what was measured on the same images stands in one table, and nothing else does.

Training seeds of one model and recipe are one row, as mean and standard deviation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import replace, tag_of
from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.policies import FixedLambda, Oracle, Policy, WorstOf, typed_policy
from robustcsc.measurements.records import Metric, Precision, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Noted, Table
from robustcsc.presentation.words import slug
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all, robust_heading
from robustcsc.reports.attacks.tables import usual_budget
from robustcsc.reports.cohorts.cells import PERCENT, over_seeds, percentages, summary_columns, summary_notes
from robustcsc.reports.cohorts.cohorts import Cohort, Part, Series, Setting, of_newest_fit, pool, severities_of
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.words import (
    NOISES,
    corruption_rank,
    corruption_words,
    policy_rank,
    policy_words,
    precision_words,
)
from robustcsc.reports.comparisons.groups import Group, groups_of

By = Literal["clean", "noise", "corruptions", "robust"]
"""What rows can be ranked by."""

_NOTES = (
    f"{PERCENT} Several training seeds of one model and recipe: mean ± standard deviation (n - 1).",
    "Under all attacks an image counts only if it stays right under each of them; this accuracy is an upper "
    "bound of the robust accuracy, and rows that met fewer attacks look better than they are.",
    "The oracle and single fixed lambdas are not ranked.",
)

_COUNTS = "Rows of another n show other images of the data set, more or fewer: compare them by their intervals."

BoardImages = tuple[str, str, str, int, Precision]
"""Data set, split, fingerprint and number of images ("" and 0 where rows differ in these), and the precision."""


@dataclass(frozen=True)
class Result:
    """One cell: a score for each training seed that has all of it.

    Attributes:
        scores: The scores.
        attacks: How many attacks were taken together, the fewest of all seeds; 0 if none.
    """

    scores: SeedScores
    attacks: int = 0

    @property
    def cell(self) -> Cell:
        """The result in a table."""
        found, plural = over_seeds(self.scores), "s" if self.attacks > 1 else ""
        return Noted(found, f"{self.attacks} attack{plural}") if self.attacks else found

    def told(self) -> dict[str, object]:
        """Returns the numbers, as fractions."""
        scores = self.scores.scores
        low, high = scores[0].interval if len(scores) == 1 else (None, None)
        found: dict[str, object] = {"mean": self.scores.mean, "std": self.scores.std, "low": low, "high": high}
        return found | {"seeds": len(scores)} | ({"attacks": self.attacks} if self.attacks else {})


@dataclass(frozen=True)
class Entry:
    """A row: a model, its recipe and lambda policy.

    Attributes:
        group: The model and its training seeds.
        policy: The lambda policy.
        total: Number of images.
        results: What was measured, by heading.
        rank: Place by the chosen column, 1 for the best; ``None`` where that was not measured.
    """

    group: Group
    policy: Policy
    total: int
    results: Mapping[str, Result]
    rank: int | None


@dataclass(frozen=True)
class Board:
    """A ranking on one set of images.

    Attributes:
        images: What all of it was measured on.
        headings: Columns, each with what it can be ranked by.
        by: The heading of the column it is ranked by; ``""`` if there is none of that kind.
        entries: The rows, the best one first.
        notes: Sentences on the columns.
    """

    images: BoardImages
    headings: Mapping[str, By]
    by: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """Returns the ranking as a table."""
        dataset, split, images, total, precision = self.images
        counted = [f"{total} images ({images})"] if total else []
        where = [f"{dataset} {split}", *counted, *precision_words(precision)]
        rows = []
        for it in self.entries:
            about = (
                it.rank,
                it.group.model,
                policy_words(it.policy),
                _training(it.group),
                len(it.group.seeds),
                it.total,
            )
            cells = (it.results[heading].cell if heading in it.results else None for heading in self.headings)
            rows.append((*about, *cells, ", ".join(it.group.runs)))
        ranked = f"ranked by {self.by}" if self.by else "not ranked: the chosen column was not measured here"
        words = map(Column, ("rank", "model", "lambda policy", "training", "seeds", "n"))
        return Table(
            name=slug("leaderboard", dataset, split, key=(images, str(total), precision)),
            title=", ".join([*where, ranked]),
            columns=(*words, *percentages(self.headings), Column("runs")),
            rows=tuple(rows),
            notes=(*_NOTES, *(() if total else (_COUNTS,)), *self.notes),
        )

    def told(self) -> dict[str, object]:
        """Returns the ranking in types that `json` writes."""
        rows = [
            {
                "rank": it.rank,
                "model": it.group.model,
                "policy": typed_policy(it.policy) or tag_of(it.policy),
                "training": _training(it.group),
                "runs": list(it.group.runs),
                "seeds": len(it.group.seeds),
                "total": it.total,
                "cells": {heading: result.told() for heading, result in it.results.items()},
            }
            for it in self.entries
        ]
        images = dict(zip(("dataset", "split", "images", "total", "precision"), self.images, strict=True))
        return {**images, "by": self.by, "columns": dict(self.headings), "rows": rows}


def leaderboards(records: Sequence[Record], trainings: Iterable[Training] = (), by: By = "clean") -> list[Board]:
    """Returns a ranking for every set of images, those with most rows first.

    Parts of one data set that differ in their number of images stand in one ranking, with their numbers.

    Args:
        records: What was measured, of any number of runs.
        trainings: How the measured models were trained; those that differ in nothing but their seed are one row.
        by: What to rank by.

    Raises:
        StoreError: There is nothing to rank.
    """
    rows: dict[BoardImages, dict[tuple[object, ...], _Row]] = defaultdict(dict)
    measured: dict[BoardImages, dict[Place, list[Series]]] = defaultdict(lambda: defaultdict(list))
    groups = groups_of(joined(records), trainings)
    boards_of = _boards_of({measure.cohort.clean_images for it in groups for seed in it.seeds for measure in seed})
    for at, group in enumerate(groups):
        for number, seed in enumerate(group.seeds):
            for (cohort, setting, policy), several in seed.items():
                chosen = not isinstance(policy, Oracle | FixedLambda | WorstOf)
                if chosen and cohort.metric is Metric.ACCURACY and isinstance(setting, Clean | Corruption | Attack):
                    images, board = cohort.clean_images, boards_of[cohort.clean_images]
                    row = _Row(group, policy, cohort.total, [{} for _ in group.seeds])
                    row = rows[board].setdefault((at, policy, images), row)
                    place = replace(cohort, images=board[2], total=board[3]), setting
                    row.seeds[number][place] = several
                    measured[board][place] += several
    if not rows:
        raise StoreError("There is nothing to rank: no run has accuracies of a model as it can be used.")
    boards = [_board(images, list(rows[images].values()), measured[images], by) for images in sorted(rows)]
    return sorted(boards, key=lambda board: (-len(board.entries), board.images))


def _boards_of(found: Iterable[BoardImages]) -> dict[BoardImages, BoardImages]:
    """Returns for each set of images its ranking: one for a data set whose sets of images differ in their number."""
    by_name: dict[tuple[str, str, Precision], list[BoardImages]] = defaultdict(list)
    for dataset, split, images, total, precision in found:
        by_name[dataset, split, precision].append((dataset, split, images, total, precision))
    boards: dict[BoardImages, BoardImages] = {}
    for (dataset, split, precision), members in by_name.items():
        parts = len({total for *_, total, _ in members}) == len(members) > 1
        boards |= {it: (dataset, split, "", 0, precision) if parts else it for it in members}
    return boards


Place = tuple[Cohort, Setting]
Cells = Mapping[Place, Sequence[Series]]
"""What was measured under the policies of a row; several series differ in the seed of the measurement."""

Reader = Callable[[Cells], tuple[Score, int] | None]
"""Reads a column off what was measured on one training seed: the score, and how many attacks."""


class _Row(NamedTuple):
    group: Group
    policy: Policy
    total: int
    seeds: list[dict[Place, Sequence[Series]]]


def _board(images: BoardImages, rows: Sequence[_Row], measured: Cells, by: By) -> Board:
    readers, notes = _corruption_readers(measured)
    clean: dict[Place, Sequence[int]] = {place: (0,) for place in measured if place[1] == Clean()}
    if clean:
        readers = {"clean": ("clean", partial(_read_mean, clean)), **readers}
    for threat in _threats([it.threat for _, it in measured if isinstance(it, Attack)]):
        readers[robust_heading(threat)] = ("robust", partial(_read_attacks, threat))
    headings = {heading: kind for heading, (kind, _) in readers.items()}
    column = next((heading for heading, kind in headings.items() if kind == by), "")
    found = [(row.group, row.policy, row.total, _results(row, readers)) for row in rows]
    return Board(images, headings, column, _placed([it for it in found if it[3]], column), notes)


def _corruption_readers(measured: Cells) -> tuple[dict[str, tuple[By, Reader]], tuple[str, ...]]:
    """Returns a reader for each mean over corruptions by heading, and what the means cover."""
    by_origin: dict[Corruption, dict[str, Place]] = defaultdict(dict)
    for cohort, setting in measured:
        if isinstance(setting, Corruption) and cohort.origin:
            by_origin[cohort.origin][setting.name] = (cohort, setting)
    readers: dict[str, tuple[By, Reader]] = {}
    notes: list[str] = []
    for places in by_origin.values():
        names = sorted(places, key=corruption_rank)
        summaries = summary_columns(names)
        notes += summary_notes(summaries)
        for heading, members in summaries or [(corruption_words(name), [name]) for name in names]:
            kind: By = "noise" if set(members) <= set(NOISES) else "corruptions"
            origin = places[members[0]][0].origin_words
            wanted = {places[name]: severities_of(measured[places[name]]) for name in members}
            named = f"{heading} ({', '.join(origin)})" if len(by_origin) > 1 else heading
            readers[named] = (kind, partial(_read_mean, wanted))
    return readers, tuple(dict.fromkeys(notes))


def _placed(found: Sequence[tuple[Group, Policy, int, Mapping[str, Result]]], column: str) -> tuple[Entry, ...]:
    """Returns the rows in their order; equal means share a place, and what lacks the column comes last."""
    means = [results[column].scores.mean if column in results else -1.0 for *_, results in found]
    ranks = [None if mean < 0 else 1 + sum(other > mean for other in means) for mean in means]
    entries = [Entry(*it, rank) for it, rank in zip(found, ranks, strict=True)]
    last = len(entries) + 1
    order = sorted(
        entries, key=lambda it: (it.rank or last, it.group.model, policy_rank(it.policy), it.group.runs, it.total)
    )
    return tuple(order)


def _threats(threats: Iterable[ThreatModel]) -> list[ThreatModel]:
    """Returns the threats that have a column: one budget per norm, as in the headline."""
    budgets: dict[Norm, list[float]] = defaultdict(list)
    for threat in threats:
        if threat.epsilon:
            budgets[threat.norm].append(threat.epsilon)
    return [ThreatModel(norm, usual_budget(norm, budgets[norm])) for norm in sorted(budgets, reverse=True)]


def _read_mean(wanted: Mapping[Place, Sequence[int]], cells: Cells) -> tuple[Score, int] | None:
    """Pools what is wanted over severities, all of it or nothing."""
    parts: list[Part] = [(series, severities) for it, severities in wanted.items() for series in cells.get(it, ())]
    score = pool(parts) if wanted.keys() <= cells.keys() else None
    return None if score is None else (score, 0)


def _read_attacks(threat: ThreatModel, cells: Cells) -> tuple[Score, int] | None:
    attacks = [
        series[0]
        for (_, setting), several in cells.items()
        if isinstance(setting, Attack) and setting.threat == threat
        for series in several
    ]
    kept = of_newest_fit(attacks) if attacked_directly(attacks) else []  # transfer tests alone rank nobody
    return (left_by_all(kept), len(kept)) if kept else None


def _results(row: _Row, readers: Mapping[str, tuple[By, Reader]]) -> dict[str, Result]:
    """Returns the cells of a row; seeds that lack a part of a column do not enter it."""
    results = {}
    for heading, (_, read) in readers.items():
        found = [it for seed in row.seeds if (it := read(seed)) is not None]
        if found:
            results[heading] = Result(SeedScores(tuple(score for score, _ in found)), min(count for _, count in found))
    return results


def _training(group: Group) -> str:
    """Returns what tells a training from others, in words."""
    about = group.about
    if about is None:
        return "not known"
    told = [f"{about.trained_on} images of {about.data}", f"{about.epochs} epochs"]
    return ", ".join([*told, *(f"{name}={value}" for name, value in about.options.items())])
