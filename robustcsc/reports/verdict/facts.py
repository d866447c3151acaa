"""What a verdict says, as facts: who, under what, how accurate, and who differs from whom by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

import numpy as np

from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import Flag, Subject
from robustcsc.measurements.statistics import Difference, Score, Shares
from robustcsc.measurements.threats import ThreatModel
from robustcsc.presentation.table import Cell, Estimate, Spread
from robustcsc.reports.cohorts.cohorts import Cohort
from robustcsc.reports.corruptions.baselines import Baseline


class Kind(StrEnum):
    """What was done to the images of one column, in the order of columns."""

    CLEAN = "clean"
    NOISE = "noise"
    CORRUPTIONS = "corruptions"
    ATTACK = "attack"
    #: The share of predictions that one universal perturbation changes: lower is better.
    FOOLING = "fooling"


@dataclass(frozen=True)
class Condition:
    """A column: what was done to which images.

    Attributes:
        kind: What was done.
        cohort: The images, and where corrupted ones come from.
        names: The corruptions that a mean covers.
        severities: The severities that are needed of each of them.
        threat: Norm and budget of attacks and universal perturbations.
    """

    kind: Kind
    cohort: Cohort
    names: tuple[str, ...] = ()
    severities: tuple[tuple[int, ...], ...] = ()
    threat: ThreatModel | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a row gave in one column.

    Attributes:
        scores: Pooled counts, one for each training seed, at least one.
        shares: In how many cells, over all training seeds, each image was right; ``None`` if that was not kept.
        attacks: How many attacks were taken together, the fewest of all training seeds; 0 if none.
        strongest: The attack that left fewest images.
        together: Whether they were taken together image by image; else the strongest one counts.
        transfer: Whether no attack asked the model under the policy that is scored: no test of robustness.
        flags: What speaks against the attacks.
        told: Whether each corruption had a lambda fit of its own, so that its type was told.
    """

    scores: tuple[Score, ...]
    shares: Shares | None = None
    attacks: int = 0
    strongest: Attack | None = None
    together: bool = True
    transfer: bool = False
    flags: tuple[Flag, ...] = ()
    told: bool = False

    @classmethod
    def of_seeds(cls, results: Sequence[Result]) -> Result:
        """Returns the results of several training seeds, at least one, as one."""
        if len(results) == 1:
            return results[0]
        shares = [it.shares for it in results if it.shares is not None]
        known = len(shares) == len(results) and len({len(it.counts) for it in shares}) == 1
        return cls(
            scores=tuple(score for it in results for score in it.scores),
            shares=Shares(np.sum([it.counts for it in shares], axis=0), sum(it.cells for it in shares))
            if known
            else None,
            attacks=min(it.attacks for it in results),
            strongest=results[0].strongest,
            together=all(it.together for it in results),
            transfer=any(it.transfer for it in results),
            flags=tuple(dict.fromkeys(flag for it in results for flag in it.flags)),
            told=any(it.told for it in results),
        )

    @property
    def score(self) -> Score:
        """The counts of all training seeds together."""
        if self.shares is not None:
            return self.shares.score
        met, total, cells = (sum(getattr(it, part) for it in self.scores) for part in ("met", "total", "cells"))
        return Score(met, total, cells) if len(self.scores) > 1 else self.scores[0]

    @property
    def images(self) -> int:
        """How many images one cell has."""
        return self.scores[0].images

    @property
    def estimate(self) -> Estimate:
        """The accuracy with its interval over images, as fractions."""
        return Estimate(self.score.rate, *self.score.interval, self.images)

    @property
    def cell(self) -> Cell:
        """The result in a table: over several training seeds their spread."""
        rates = [it.rate for it in self.scores]
        if len(rates) == 1:
            return self.estimate
        mean = sum(rates) / len(rates)
        return Spread(mean, (sum((it - mean) ** 2 for it in rates) / (len(rates) - 1)) ** 0.5, len(rates))

    def minus(self, other: Result) -> Difference:
        """Returns how this result differs from another one on the same images."""
        ours, theirs = self.shares, other.shares
        if ours is None or theirs is None or len(ours.counts) != len(theirs.counts):
            return Difference.between(self.score, other.score)
        return Difference.paired(ours, theirs)


@dataclass(frozen=True, eq=False)
class Row:
    """Weights, those of several training seeds together, under one lambda policy.

    Attributes:
        subjects: The weights, one for each training seed.
        policy: How lambda was chosen, whatever the fit.
        results: What was measured.
    """

    subjects: tuple[Subject, ...]
    policy: Policy
    results: Mapping[Condition, Result]


@dataclass(frozen=True, eq=False)
class Contrast:
    """How the leading row differs from another one.

    Attributes:
        condition: What was done to the images.
        first: The leading row.
        second: The row that it is compared with.
        difference: First minus second.
    """

    condition: Condition
    first: Row
    second: Row
    difference: Difference


@dataclass(frozen=True)
class Missing:
    """A model that stands in no column of some kind, although that was done to it.

    Attributes:
        subject: The model.
        condition: The first column of the kind.
        cohort: What it was measured on; that of the column if not all that the column covers was measured.
    """

    subject: Subject
    condition: Condition
    cohort: Cohort


@dataclass(frozen=True, eq=False)
class Ratios:
    """Errors under the 15 standard corruptions relative to those of a baseline (mCE): below 1 is better than it.

    Attributes:
        baseline: Whose errors the others are divided by.
        by_row: The rows that were measured on all of them, one fraction for each training seed.
    """

    baseline: Baseline
    by_row: Mapping[Row, Sequence[float]]

    def mean(self, row: Row) -> float:
        """Returns the mean over training seeds."""
        return fmean(self.by_row[row])

    def cell(self, row: Row) -> Cell:
        """Returns the cell of a row in a table: over several training seeds their spread."""
        ratios = self.by_row.get(row, ())
        return Spread(fmean(ratios), stdev(ratios), len(ratios)) if len(ratios) > 1 else next(iter(ratios), None)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What was measured on one split of one data set, in short.

    Attributes:
        conditions: The columns.
        rows: The rows.
        main: The column that the first sentence is about.
        leads: By column the row that its sentence is about: the one that is right most often in the main column; under
            attack the one that is left most, and none where only transfer tests were made.
        contrasts: How it differs from its own training lambda, then from each other model, by column.
        doubts: What speaks against all figures of a run, by its name.
        left_out: How many rows are left to the other tables.
        ratios: What the errors are relative to a baseline, if one was named.
        elsewhere: Corrupted images of other sources, severity tables, seeds or numbers, which the verdict is not about.
        missing: Models that cannot be compared in some column, as they were measured otherwise.
    """

    conditions: tuple[Condition, ...]
    rows: tuple[Row, ...]
    main: Condition
    leads: Mapping[Condition, Row]
    contrasts: tuple[Contrast, ...]
    doubts: Mapping[str, Sequence[Doubt]]
    left_out: int = 0
    ratios: Ratios | None = None
    elsewhere: tuple[Cohort, ...] = ()
    missing: tuple[Missing, ...] = ()

    def against(self, condition: Condition) -> list[Contrast]:
        """Returns the contrasts of a column."""
        return [it for it in self.contrasts if it.condition == condition]

    def loss(self, condition: Condition) -> Difference | None:
        """Returns what the leading row of a column loses to its clean accuracy on the same images, if that is known."""
        results, images = self.leads[condition].results, condition.cohort.clean_images
        for other, clean in results.items():
            if other.kind is Kind.CLEAN is not condition.kind and other.cohort.clean_images == images:
                return results[condition].minus(clean)
        return None
