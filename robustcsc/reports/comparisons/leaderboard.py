"""All runs of a folder ranked: what was measured on the same images stands in one table, and nothing else does.

Training seeds of one model and recipe are one row, as mean and standard deviation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import tag_of
from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.policies import FixedLambda, Oracle, Policy, WorstOf, typed_policy
from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Noted, Table
from robustcsc.presentation.words import slug
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all, robust_heading
from robustcsc.reports.cohorts.cells import PERCENT, percentages, summary_columns, summary_notes
from robustcsc.reports.cohorts.cohorts import Cohort, Part, of_newest_fit, pool, severities_of
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.origins import Origin
from robustcsc.reports.cohorts.words import NOISES, corruption_rank, corruption_words, policy_rank, policy_words
from robustcsc.reports.comparisons.groups import Group, Measure, OfTraining, groups_of, over_seeds
from robustcsc.reports.summary.headline import headline_budget

By = Literal["clean", "noise", "corruptions", "robust"]
"""What rows can be ranked by."""

_NOTES = (
    f"{PERCENT} Several training seeds of one model and recipe: mean ± standard deviation (n - 1).",
    "Under all attacks an image counts only if it stays right under each of them; a number of attacks is an upper "
    "bound of the true robustness, and rows that met fewer attacks look better than they are.",
    "The oracle and single fixed lambdas are not ranked.",
)

BoardImages = tuple[str, str, str, int]
"""Data set, split, fingerprint of the images and their number: what a table shares."""


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
        results: What was measured, by heading.
        rank: Place by the chosen column, 1 for the best; ``None`` where that was not measured.
    """

    group: Group
    policy: Policy
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
        dataset, split, images, total = self.images
        rows = []
        for it in self.entries:
            about = (it.rank, it.group.model, policy_words(it.policy), _training(it.group), len(it.group.seeds))
            cells = (it.results[heading].cell if heading in it.results else None for heading in self.headings)
            rows.append((*about, *cells, ", ".join(it.group.runs)))
        ranked = f"ranked by {self.by}" if self.by else "not ranked: the chosen column was not measured here"
        words = map(Column, ("rank", "model", "lambda policy", "training", "seeds"))
        return Table(
            name=slug("leaderboard", dataset, split, key=(images, str(total))),
            title=f"{dataset} {split}, {total} images ({images}), {ranked}",
            columns=(*words, *percentages(self.headings), Column("runs")),
            rows=tuple(rows),
            notes=(*_NOTES, *self.notes),
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
                "cells": {heading: result.told() for heading, result in it.results.items()},
            }
            for it in self.entries
        ]
        images = dict(zip(("dataset", "split", "images", "total"), self.images, strict=True))
        return {**images, "by": self.by, "columns": dict(self.headings), "rows": rows}


def leaderboards(records: Sequence[Record], trainings: Iterable[Training] = (), by: By = "clean") -> list[Board]:
    """Returns a ranking for every set of images, those with most rows first.

    Args:
        records: What was measured, of any number of runs.
        trainings: How the measured models were trained; those that differ in nothing but their seed are one row.
        by: What to rank by.

    Raises:
        StoreError: There is nothing to rank.
    """
    groups = groups_of(joined(records), trainings)
    measures: dict[BoardImages, set[Measure]] = defaultdict(set)
    for group in groups:
        for measure in (measure for seed in group.seeds for measure in seed if _is_ranked(measure)):
            measures[_images(measure.cohort)].add(measure)
    boards = [_board(images, found, groups, by) for images, found in sorted(measures.items())]
    if not boards:
        raise StoreError("There is nothing to rank: no run has accuracies of a model as it can be used.")
    return sorted(boards, key=lambda board: (-len(board.entries), board.images))


def _is_ranked(measure: Measure) -> bool:
    """Whether it is an accuracy under a policy that neither uses the test labels nor is one lambda of many."""
    chosen = not isinstance(measure.policy, Oracle | FixedLambda | WorstOf)
    accuracy = measure.cohort.metric is Metric.ACCURACY
    return accuracy and chosen and isinstance(measure.setting, Clean | Corruption | Attack)


def _images(cohort: Cohort) -> BoardImages:
    return (cohort.dataset, cohort.split, cohort.images, cohort.total)


Reader = Callable[[OfTraining, Policy], tuple[Score, int] | None]
"""Reads a column off what was measured on one training seed under one policy: the score, and how many attacks."""


def _board(images: BoardImages, measures: Iterable[Measure], groups: Sequence[Group], by: By) -> Board:
    readers, notes = _corruption_readers(images, groups)
    settings = [it.setting for it in measures]
    if any(isinstance(it, Clean) for it in settings):
        readers = {"clean": ("clean", partial(_read_mean, images, {"clean": (0,)}, None)), **readers}
    for threat in _threats([it.threat for it in settings if isinstance(it, Attack)]):
        readers[robust_heading(threat)] = ("robust", partial(_read_attacks, images, threat))
    headings = {heading: kind for heading, (kind, _) in readers.items()}
    column = next((heading for heading, kind in headings.items() if kind == by), "")
    found = [
        (group, policy, results)
        for group in groups
        for policy in {it.policy for seed in group.seeds for it in seed if _is_ranked(it)}
        if (results := _results(group, policy, readers))
    ]
    return Board(images, headings, column, _placed(found, column), notes)


def _corruption_readers(
    images: BoardImages, groups: Sequence[Group]
) -> tuple[dict[str, tuple[By, Reader]], tuple[str, ...]]:
    """Returns a reader for each mean over corruptions by heading, and what the means cover."""
    readers: dict[str, tuple[By, Reader]] = {}
    notes: list[str] = []
    severities = _severities(images, groups)
    for origin, by_name in severities.items():
        names = sorted(by_name, key=corruption_rank)
        summaries = summary_columns(names)
        notes += summary_notes(summaries)
        for heading, members in summaries or [(corruption_words(name), [name]) for name in names]:
            kind: By = "noise" if set(members) <= set(NOISES) else "corruptions"
            named = f"{heading} ({', '.join(origin.words)})" if len(severities) > 1 else heading
            readers[named] = (kind, partial(_read_mean, images, {name: by_name[name] for name in members}, origin))
    return readers, tuple(dict.fromkeys(notes))


def _placed(found: Sequence[tuple[Group, Policy, Mapping[str, Result]]], column: str) -> tuple[Entry, ...]:
    """Returns the rows in their order; equal means share a place, and what lacks the column comes last."""
    means = [results[column].scores.mean if column in results else -1.0 for _, _, results in found]
    ranks = [None if mean < 0 else 1 + sum(other > mean for other in means) for mean in means]
    entries = [Entry(*it, rank) for it, rank in zip(found, ranks, strict=True)]
    last = len(entries) + 1
    order = sorted(entries, key=lambda it: (it.rank or last, it.group.model, policy_rank(it.policy), it.group.runs))
    return tuple(order)


def _severities(images: BoardImages, groups: Iterable[Group]) -> dict[Origin, dict[str, tuple[int, ...]]]:
    """Returns by origin the corruptions and severities that anyone was measured on."""
    found: dict[Origin, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for measure, several in (item for group in groups for seed in group.seeds for item in seed.items()):
        setting, origin = measure.setting, measure.cohort.origin
        if isinstance(setting, Corruption) and origin and _images(measure.cohort) == images and _is_ranked(measure):
            found[origin][setting.name] |= set(severities_of(several))
    return {origin: {name: tuple(sorted(it)) for name, it in names.items()} for origin, names in found.items()}


def _threats(threats: Iterable[ThreatModel]) -> list[ThreatModel]:
    """Returns the threats that have a column: one budget per norm, as in the headline."""
    budgets: dict[Norm, list[float]] = defaultdict(list)
    for threat in threats:
        if threat.epsilon:
            budgets[threat.norm].append(threat.epsilon)
    return [ThreatModel(norm, headline_budget(norm, budgets[norm])) for norm in sorted(budgets, reverse=True)]


def _read_mean(
    images: BoardImages, wanted: Mapping[str, Sequence[int]], origin: Origin | None, seed: OfTraining, policy: Policy
) -> tuple[Score, int] | None:
    """Pools corruptions over severities, all of them or nothing; without an origin it reads clean cells."""
    parts: list[Part] = []
    covered = set()
    for measure, several in seed.items():
        setting, cohort = measure.setting, measure.cohort
        name = setting.name if isinstance(setting, Corruption) else "clean" if isinstance(setting, Clean) else ""
        here = _images(cohort) == images and cohort.metric is Metric.ACCURACY and measure.policy == policy
        if here and cohort.origin == origin and name in wanted:
            parts += [(series, wanted[name]) for series in several]
            covered.add(name)
    score = pool(parts) if len(covered) == len(wanted) else None
    return None if score is None else (score, 0)


def _read_attacks(
    images: BoardImages, threat: ThreatModel, seed: OfTraining, policy: Policy
) -> tuple[Score, int] | None:
    attacks = [
        series[0]
        for measure, several in seed.items()
        if isinstance(measure.setting, Attack) and measure.setting.threat == threat and measure.policy == policy
        if _images(measure.cohort) == images and measure.cohort.metric is Metric.ACCURACY
        for series in several
    ]
    kept = of_newest_fit(attacks) if attacked_directly(attacks) else []  # transfer tests alone rank nobody
    return (left_by_all(kept), len(kept)) if kept else None


def _results(group: Group, policy: Policy, readers: Mapping[str, tuple[By, Reader]]) -> dict[str, Result]:
    """Returns the cells of a row; seeds that lack a part of a column do not enter it."""
    results = {}
    for heading, (_, read) in readers.items():
        found = [it for seed in group.seeds if (it := read(seed, policy)) is not None]
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
