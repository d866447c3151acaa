"""A ranking of models on one set of images: its rows and columns as facts, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from robustcsc.measurements.adaptations import Tent
from robustcsc.measurements.policies import (
    Adapted,
    Adaptive,
    NoLambda,
    Policy,
    Scope,
    lambda_of,
    told_policy,
)
from robustcsc.measurements.records import Precision
from robustcsc.measurements.statistics import SeedScores
from robustcsc.presentation.table import Cell, Column, Noted, Table
from robustcsc.presentation.words import slug
from robustcsc.reports.cohorts.cells import over_seeds
from robustcsc.reports.cohorts.cohorts import apart
from robustcsc.reports.cohorts.words import policy_words, precision_words
from robustcsc.reports.comparisons.groups import Group
from robustcsc.reports.verdict.facts import Condition, Kind
from robustcsc.reports.verdict.sentences import condition_words
from robustcsc.reports.verdict.shown import columns_note, covered

By = Literal["clean", "noise", "corruptions", "robust"]
"""What rows can be ranked by."""

KINDS: Mapping[By, Kind] = {
    "clean": Kind.CLEAN,
    "noise": Kind.NOISE,
    "corruptions": Kind.CORRUPTIONS,
    "robust": Kind.ATTACK,
}
"""The kind of column that rows are ranked by."""

_PERCENT = "Accuracy in percent."
_RANKED = "Accuracy in percent; where it is ranked, with its 95 % interval over the images."
_SEEDS = "Over several training seeds: mean ± standard deviation (n - 1)."
_ATTACKS = (
    "Under attacks an image counts only if it stays right under each of them: an upper bound of the robust accuracy."
)
_FEWER = "Rows that met fewer attacks look better than they are."
_PER_IMAGE = "Attacks ask an adaptive lambda image by image: what they leave stands in the row per image."

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
    def images(self) -> int:
        """How many images were counted."""
        return self.scores.scores[0].images

    def told(self) -> dict[str, object]:
        """Returns the numbers, as fractions."""
        scores = self.scores.scores
        low, high = scores[0].interval if len(scores) == 1 else (None, None)
        found: dict[str, object] = {"mean": self.scores.mean, "std": self.scores.std, "low": low, "high": high}
        found |= {"seeds": len(scores), "total": self.images}
        return found | ({"attacks": self.attacks} if self.attacks else {})


@dataclass(frozen=True)
class Entry:
    """A row: a model, its recipe and lambda policy.

    Attributes:
        group: The model and its training seeds.
        policy: The lambda policy.
        results: What was measured, each on as many images as there are.
        rank: Place by the chosen column, 1 for the best; ``None`` where that was not measured.
    """

    group: Group
    policy: Policy
    results: Mapping[Condition, Result]
    rank: int | None


@dataclass(frozen=True)
class Board:
    """A ranking on one set of images.

    Attributes:
        images: What all of it was measured on.
        alone: Whether no other ranking is about the same data set.
        conditions: The columns.
        by: What it is ranked by.
        entries: The rows, the best one first.
    """

    images: BoardImages
    alone: bool
    conditions: tuple[Condition, ...]
    by: By
    entries: tuple[Entry, ...]

    @property
    def column(self) -> Condition | None:
        """The column it is ranked by; ``None`` if there is none of that kind."""
        return column_of(self.conditions, self.by)

    def heading(self, condition: Condition) -> str:
        """Returns the heading of a column."""
        words = condition_words(condition)
        alike = [it.cohort for it in self.conditions if condition_words(it) == words]
        return f"{words} ({apart(condition.cohort, alike)})" if len(alike) > 1 else words

    def table(self) -> Table:
        """Returns the ranking as a table; the numbers of images and attacks stand in it only where rows differ."""
        dataset, split, images, total, precision = self.images
        lambdas = any(row.policy != NoLambda() for row in self.entries)
        rows = []
        for it in self.entries:
            about = [_name(it.group), *([policy_words(it.policy)] if lambdas else [])]
            cells = (self._cell(condition, it.results.get(condition)) for condition in self.conditions)
            rows.append((*([it.rank] if self.column else []), *about, *cells))
        words = [*(["rank"] if self.column else []), "model", *(["lambda policy"] if lambdas else [])]
        measured = (
            Column(self.heading(it), digits=1, percent=True, interval=it == self.column) for it in self.conditions
        )
        where = [f"{dataset} {split}", *([] if self.alone else [f"images {images}"]), *precision_words(precision)]
        return Table(
            name=slug("leaderboard", dataset, split, key=(images, str(total), precision)),
            title=f"{', '.join(where)}, "
            + (f"ranked by {self.heading(self.column)}" if self.column else "not ranked: nothing to rank by"),
            columns=(*map(Column, words), *measured),
            rows=tuple(rows),
            notes=tuple(self._notes()),
        )

    def told(self) -> dict[str, object]:
        """Returns the ranking in types that `json` writes."""
        rows = [
            {
                "rank": it.rank,
                "model": it.group.model,
                **told_policy(it.policy),
                "training": _training(it.group),
                "runs": list(it.group.runs),
                "seeds": len(it.group.seeds),
                "cells": {self.heading(condition): result.told() for condition, result in it.results.items()},
            }
            for it in self.entries
        ]
        images = dict(zip(("dataset", "split", "images", "total", "precision"), self.images, strict=True))
        columns = {self.heading(it): by for it in self.conditions for by, kind in KINDS.items() if kind is it.kind}
        return {**images, "by": self.heading(self.column) if self.column else "", "columns": columns, "rows": rows}

    def _differ(self, condition: Condition, of: Literal["images", "attacks"]) -> bool:
        return len({getattr(it.results[condition], of) for it in self.entries if condition in it.results}) > 1

    def _cell(self, condition: Condition, result: Result | None) -> Cell:
        if result is None:
            return None
        own = [_attacks_words(result.attacks)] if self._differ(condition, "attacks") else []
        own += [f"n={result.images}"] if self._differ(condition, "images") else []
        found = over_seeds(result.scores)
        return Noted(found, ", ".join(own)) if own else found

    def _counts(self, condition: Condition) -> list[str]:
        """Returns the numbers of images and attacks that all rows of a column share."""
        found = next(it.results[condition] for it in self.entries if condition in it.results)
        images = [] if self._differ(condition, "images") else [f"{found.images:,} images"]
        return images + (
            [] if self._differ(condition, "attacks") or not found.attacks else [_attacks_words(found.attacks)]
        )

    def _notes(self) -> Iterator[str]:
        yield _RANKED if self.column else _PERCENT
        yield from columns_note({self.heading(it): ", ".join(self._counts(it)) for it in self.conditions})
        yield from dict.fromkeys(covered(it) for it in self.conditions if len(it.names) > 1)
        attacked = [it for it in self.conditions if it.kind is Kind.ATTACK]
        if attacked:
            yield _ATTACKS
        if any(self._differ(it, "attacks") for it in attacked):
            yield _FEWER
        if any(never_attacked(it.policy) for it in self.entries) and attacked:
            yield _PER_IMAGE
        groups = {id(it.group): it.group for it in self.entries}.values()
        if any(len(it.seeds) > 1 for it in groups):
            yield _SEEDS
        for it in groups:
            if it.about:
                yield f"Training of {_called(it)}: {_training(it)}."
        if unknown := [_called(it) for it in groups if not it.about]:
            yield f"Training not known: {', '.join(unknown)}."


def column_of(conditions: Iterable[Condition], by: By) -> Condition | None:
    """Returns the first column of the kind that is ranked by."""
    return next((it for it in conditions if it.kind is KINDS[by]), None)


def never_attacked(policy: Policy) -> bool:
    """Whether attacks never ask a policy directly: what depends on many images is met by a transfer test only."""
    chosen = lambda_of(policy)
    online = isinstance(policy, Adapted) and isinstance(policy.by, Tent) and not policy.by.episodic
    return online or (isinstance(chosen, Adaptive) and chosen.scope is not Scope.IMAGE)


def _name(group: Group) -> str:
    """Returns the run, or how many there are of one model."""
    seeds = len(group.seeds)
    return f"{group.model} ({seeds} training seeds)" if seeds > 1 else ", ".join(group.runs)


def _called(group: Group) -> str:
    """Returns the runs of a group, with the model that they are of where the name of the run is another."""
    runs = ", ".join(group.runs)
    return runs if runs == group.model else f"{runs} ({group.model})"


def _attacks_words(count: int) -> str:
    return f"{count} attack{'s' if count > 1 else ''}"


def _training(group: Group) -> str:
    """Returns what tells a training from others, in words."""
    about = group.about
    if about is None:
        return "not known"
    told = [f"{about.trained_on:,} images of {about.data}", f"{about.epochs} epochs"]
    return ", ".join([*told, *(f"{name}={value}" for name, value in about.options.items())])
