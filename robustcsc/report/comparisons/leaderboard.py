"""All runs of a folder ranked: what was measured on the same images stands in one table, and nothing else does.

Training seeds of one model and recipe are one row, as mean and standard deviation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from robustcsc.errors import StoreError
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report.adversarial import attacked_directly, left_by_all, of_newest_fit
from robustcsc.report.cohorts import Cohort, Part, pool, severities_of
from robustcsc.report.headline import headline_budget
from robustcsc.report.join import joined
from robustcsc.report.measured import Group, Place, Seed, groups_of
from robustcsc.report.table import Table
from robustcsc.report.tables import PERCENT, summary_columns, summary_notes
from robustcsc.report.words import (
    MISSING,
    NOISE_FAMILIES,
    corruption_rank,
    corruption_words,
    epsilon_words,
    norm_words,
    policy_rank,
    policy_words,
    slug,
    spread_words,
)

By = Literal["clean", "noise", "corruptions", "robust"]
"""What rows can be ranked by."""

NOT_RANKED = ("oracle", "fixed=", "worst=")
"""Policies that use the test labels or one lambda of many: they have no row."""

_NOTES = (
    f"{PERCENT} Several training seeds of one model and recipe: mean ± standard deviation (n - 1).",
    "Under all attacks an image counts only if it stays right under each of them; a number of attacks is an upper "
    "bound of the true robustness, and rows that met fewer attacks look better than they are.",
    "The oracle and single fixed lambdas are not ranked.",
)

Images = tuple[str, str, str, int]
"""Data set, split, fingerprint of the images and their number: what a table shares."""


@dataclass(frozen=True)
class Measured:
    """One cell: a score for each training seed that has all of it.

    Attributes:
        spread: The scores.
        attacks: How many attacks were taken together, the fewest of all seeds; 0 if none.
    """

    spread: SeedScores
    attacks: int = 0

    @property
    def text(self) -> str:
        """The cell in percent."""
        plural = "s" if self.attacks > 1 else ""
        return spread_words(self.spread) + (f", {self.attacks} attack{plural}" if self.attacks else "")

    def told(self) -> dict[str, object]:
        """Returns the numbers, as fractions."""
        scores = self.spread.scores
        low, high = scores[0].interval if len(scores) == 1 else (None, None)
        found: dict[str, object] = {"mean": self.spread.mean, "std": self.spread.std, "low": low, "high": high}
        return found | {"seeds": len(scores)} | ({"attacks": self.attacks} if self.attacks else {})


@dataclass(frozen=True)
class Entry:
    """A row: a model, its recipe and lambda policy.

    Attributes:
        group: The model and its training seeds.
        policy: The lambda policy.
        cells: What was measured, by heading.
        rank: Place by the chosen column, 1 for the best; ``None`` where that was not measured.
    """

    group: Group
    policy: str
    cells: Mapping[str, Measured]
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

    images: Images
    headings: Mapping[str, By]
    by: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def table(self) -> Table:
        """Returns the ranking as a table."""
        dataset, split, images, total = self.images
        rows = [
            (
                MISSING if it.rank is None else str(it.rank),
                *(it.group.model, policy_words(it.policy), _training(it.group), str(len(it.group.seeds))),
                *(it.cells[heading].text if heading in it.cells else MISSING for heading in self.headings),
                ", ".join(it.group.runs),
            )
            for it in self.entries
        ]
        ranked = f"ranked by {self.by}" if self.by else "not ranked: the chosen column was not measured here"
        return Table(
            name=slug("leaderboard", dataset, split, key=(images, str(total))),
            title=f"{dataset} {split}, {total} images ({images}), {ranked}",
            columns=("rank", "model", "lambda policy", "training", "seeds", *self.headings, "runs"),
            rows=tuple(rows),
            notes=(*_NOTES, *self.notes),
        )

    def told(self) -> dict[str, object]:
        """Returns the ranking in types that `json` writes."""
        rows = [
            {
                "rank": it.rank,
                "model": it.group.model,
                "policy": it.policy,
                "training": _training(it.group),
                "runs": list(it.group.runs),
                "seeds": len(it.group.seeds),
                "cells": {heading: cell.told() for heading, cell in it.cells.items()},
            }
            for it in self.entries
        ]
        place = dict(zip(("dataset", "split", "images", "total"), self.images, strict=True))
        return {**place, "by": self.by, "columns": dict(self.headings), "rows": rows}


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
    places: dict[Images, set[Place]] = defaultdict(set)
    for group in groups:
        for place in (place for seed in group.seeds for place in seed if _ranked(place)):
            places[_images(place.cohort)].add(place)
    boards = [_board(images, found, groups, by) for images, found in sorted(places.items())]
    if not boards:
        raise StoreError("There is nothing to rank: no run has accuracies of a model as it can be used.")
    return sorted(boards, key=lambda board: (-len(board.entries), board.images))


def _ranked(place: Place) -> bool:
    kinds = ("clean", "corruption", "attack")
    return place.cohort.metric == "accuracy" and place.setting.kind in kinds and not place.policy.startswith(NOT_RANKED)


def _images(cohort: Cohort) -> Images:
    return (cohort.dataset, cohort.split, cohort.images, cohort.total)


Reader = Callable[[Seed, str], tuple[Score, int] | None]
"""Reads a column off what was measured on one training seed under one policy: the score, and how many attacks."""


def _board(images: Images, places: Iterable[Place], groups: Sequence[Group], by: By) -> Board:
    here = sorted(places, key=lambda it: (it.cohort, it.setting.rank, it.policy))
    severities = _severities(images, groups)
    readers: dict[str, tuple[By, Reader]] = {}
    if any(place.setting.kind == "clean" for place in here):
        readers["clean"] = ("clean", _mean_reader(images, {"clean": (0,)}, None))
    notes: list[str] = []
    for source, by_name in severities.items():
        names = sorted(by_name, key=corruption_rank)
        summaries = summary_columns(names)
        notes += summary_notes(summaries)
        for heading, members in summaries or [(corruption_words(name), [name]) for name in names]:
            kind: By = "noise" if set(members) <= set(NOISE_FAMILIES) else "corruptions"
            named = f"{heading} ({', '.join(filter(None, source))})" if len(severities) > 1 else heading
            readers[named] = (kind, _mean_reader(images, {name: by_name[name] for name in members}, source))
    for norm, epsilon in _threats(here):
        words = f"under all attacks, {norm_words(norm)} {epsilon_words(epsilon)}"
        readers[words] = ("robust", _attack_reader(images, norm, epsilon))
    headings = {heading: kind for heading, (kind, _) in readers.items()}
    column = next((heading for heading, kind in headings.items() if kind == by), "")
    found = [
        (group, policy, cells)
        for group in groups
        for policy in sorted({it.policy for seed in group.seeds for it in seed if _ranked(it)}, key=policy_rank)
        if (cells := _cells(group, policy, readers))
    ]
    return Board(images, headings, column, _placed(found, column), tuple(dict.fromkeys(notes)))


def _placed(found: Sequence[tuple[Group, str, Mapping[str, Measured]]], column: str) -> tuple[Entry, ...]:
    """Returns the rows in their order; equal means share a place, and what lacks the column comes last."""
    means = [cells[column].spread.mean if column in cells else -1.0 for _, _, cells in found]
    ranks = [None if mean < 0 else 1 + sum(other > mean for other in means) for mean in means]
    entries = [Entry(*it, rank) for it, rank in zip(found, ranks, strict=True)]
    last = len(entries) + 1
    order = sorted(entries, key=lambda it: (it.rank or last, it.group.model, policy_rank(it.policy), it.group.runs))
    return tuple(order)


def _severities(images: Images, groups: Iterable[Group]) -> dict[tuple[str, str], dict[str, tuple[int, ...]]]:
    """Returns by source and severity table the corruptions and severities that anyone was measured on."""
    found: dict[tuple[str, str], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for group in groups:
        for seed in group.seeds:
            for place, several in seed.items():
                if place.setting.kind == "corruption" and _images(place.cohort) == images and _ranked(place):
                    found[place.cohort.source, place.cohort.spec][place.setting.name] |= set(severities_of(several))
    return {source: {name: tuple(sorted(it)) for name, it in names.items()} for source, names in found.items()}


def _threats(places: Iterable[Place]) -> list[tuple[str, float]]:
    """Returns norm and budget of the attacks that have a column: one budget per norm, as in the headline."""
    budgets: dict[str, list[float]] = defaultdict(list)
    for it in places:
        if it.setting.kind == "attack" and it.setting.norm and it.setting.epsilon:
            budgets[it.setting.norm].append(it.setting.epsilon)
    return [(norm, headline_budget(norm, budgets[norm])) for norm in sorted(budgets, reverse=True)]


def _mean_reader(images: Images, wanted: Mapping[str, Sequence[int]], source: tuple[str, str] | None) -> Reader:
    """Returns what pools corruptions over severities, all of them or nothing; without a source it reads clean cells."""

    def read(seed: Seed, policy: str) -> tuple[Score, int] | None:
        parts: list[Part] = []
        covered = set()
        for place, several in seed.items():
            it, cohort = place.setting, place.cohort
            same = it.kind == "clean" if source is None else (cohort.source, cohort.spec) == source
            here = _images(cohort) == images and cohort.metric == "accuracy" and place.policy == policy
            if here and same and it.name in wanted:
                parts += [(series, wanted[it.name]) for series in several]
                covered.add(it.name)
        score = pool(parts) if len(covered) == len(wanted) else None
        return None if score is None else (score, 0)

    return read


def _attack_reader(images: Images, norm: str, epsilon: float) -> Reader:
    def read(seed: Seed, policy: str) -> tuple[Score, int] | None:
        attacks = [
            series[0]
            for place, several in seed.items()
            if place.setting.kind == "attack" and place.policy == policy and _images(place.cohort) == images
            if (place.setting.norm, place.setting.epsilon) == (norm, epsilon) and place.cohort.metric == "accuracy"
            for series in several
        ]
        kept = of_newest_fit(attacks) if attacked_directly(attacks) else []  # transfer tests alone rank nobody
        return (left_by_all(kept), len(kept)) if kept else None

    return read


def _cells(group: Group, policy: str, readers: Mapping[str, tuple[By, Reader]]) -> dict[str, Measured]:
    """Returns the cells of a row; seeds that lack a part of a column do not enter it."""
    cells = {}
    for heading, (_, read) in readers.items():
        found = [it for seed in group.seeds if (it := read(seed, policy)) is not None]
        if found:
            cells[heading] = Measured(SeedScores(tuple(score for score, _ in found)), min(count for _, count in found))
    return cells


def _training(group: Group) -> str:
    """Returns what tells a training from others, in words."""
    about = group.about
    if about is None:
        return "not known"
    told = [f"{about.trained_on} images of {about.data}", f"{about.epochs} epochs"]
    return ", ".join([*told, *(f"{name}={value}" for name, value in about.options.items())])
