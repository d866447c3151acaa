"""What the tables of papers show: sizes, times, accuracies and fooling rates of models over their training seeds."""

from __future__ import annotations

import math
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import ClassVar, NamedTuple

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Crafting, Pixels, Source, Universal
from robustcsc.measurements.policies import Adaptive, Policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import ThreatModel
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Noted, Worded
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all
from robustcsc.reports.cohorts.cells import estimate
from robustcsc.reports.cohorts.cohorts import SEVERITIES, Cohort, Series, Setting, is_basic, of_newest_fit, total_score
from robustcsc.reports.cohorts.words import policy_words
from robustcsc.reports.comparisons.groups import Group, over_seeds
from robustcsc.reports.papers.entrants import Entrant

_PERCENT = Column("", percent=True)


@dataclass(frozen=True)
class Value:
    """A filled cell.

    Attributes:
        cell: The cell.
        basis: The images it was measured on and the number of trainings, in words; ``""`` for what a checkpoint tells.
    """

    cell: Cell
    basis: str = ""


class Quantity(typing.Protocol):
    """What a column of a paper's table shows."""

    @property
    def written(self) -> Column:
        """How its numbers are written; the heading is that of the table."""
        ...

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """Returns the quantity of a group as far as a row asks for it, ``None`` if that was not measured."""
        ...


@dataclass(frozen=True)
class TrainingFact:
    """What the checkpoints of a group tell.

    Attributes:
        read: Makes a cell of the training of the first seed and the mean time of a training in seconds.
        written: See `Quantity`.
    """

    read: Callable[[Training, float], Cell]
    written: Column

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        about = group.about
        return None if about is None else Value(self.read(about, fmean(it.seconds for it in group.trainings)))


def millions(number: float, digits: int = 1) -> Worded:
    """Returns a number of parameters, given in millions, as papers write it: ``"11.2M"``."""
    return Worded(round(1e6 * number), f"{number:.{digits}f}M")


PARAMETERS = TrainingFact(lambda it, _: millions(it.parameters / 1e6, 2), Column(""))
SPEED = TrainingFact(lambda it, seconds: it.trained_on * it.epochs / seconds, Column("", digits=0))
"""Training images of all epochs over the time of the training."""
TRAINING_TIME = TrainingFact(lambda _, seconds: seconds, Column("", digits=0))
TRAINING_TIME_PER_IMAGE = TrainingFact(lambda it, seconds: seconds / it.trained_on, Column("", significant=3))


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on clean images, or under a corruption as the mean over some severities.

    Attributes:
        corruption: Its name, ``""`` for clean images.
        severities: Those that are averaged.
        best: Whether that of the best training seed is shown.
    """

    corruption: str = ""
    severities: tuple[int, ...] = SEVERITIES
    best: bool = False
    written: ClassVar = _PERCENT

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        found = self.found(group, entrant)
        return found and (Value(found.scores.best, found.basis) if self.best else found.value)

    def found(self, group: Group, entrant: Entrant) -> _Found | None:
        """Returns what the accuracy is read from; ``None`` if that was not measured."""
        return _found(group, entrant, self._is_mine, self.severities if self.corruption else (0,))

    def _is_mine(self, setting: Setting) -> bool:
        name = setting.name if isinstance(setting, Corruption) else "" if setting == Clean() else None
        return name == self.corruption


@dataclass(frozen=True)
class ClassificationTime:
    """Mean time to classify a clean image, in seconds."""

    written: ClassVar = Column("", significant=3)

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        found = Accuracy().found(group, entrant)
        return found and Value(fmean(it.provenance.seconds / it.total for it in found.records), found.basis)


@dataclass(frozen=True)
class UsedLambda:
    """Mean lambda that an accuracy was measured at; it stands in columns of accuracies."""

    accuracy: Accuracy
    written: ClassVar = _PERCENT

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        found = self.accuracy.found(group, entrant)
        if found is None or not (used := [it.lam for it in found.records if it.lam is not None]):
            return None
        return Value(Worded(fmean(used), f"{fmean(used):.2f}"), found.basis)


@dataclass(frozen=True)
class PgdAccuracy:
    """Accuracy under PGD with the most steps: static (a transfer test) where the row's lambda is tuned, else plain."""

    threat: ThreatModel
    written: ClassVar = _PERCENT

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        measures = {it for seed in group.seeds for it in seed if it.policy in entrant.policies}
        settings = {it.setting for it in measures if entrant.has_images(it.cohort)}
        efforts = {it: it.steps[0].effort or 0 for it in settings if is_basic(it) and self._counts(it, entrant)}
        longest = max(efforts.values(), default=0)
        found = _found(group, entrant, lambda it: is_basic(it) and efforts.get(it) == longest)
        return found and replace(found.value, cell=Noted(found.value.cell, f"{longest} steps"))

    def _counts(self, made: Attack, entrant: Entrant) -> bool:
        protocol = Protocol.STATIC if entrant.adaptive else Protocol.PLAIN
        return made.steps[0].name == "pgd" and made.protocol is protocol and _is_at(made.threat, self.threat)


@dataclass(frozen=True)
class LeftByAll:
    """What all attacks together leave, image by image, on the weights that they leave least of.

    Transfer tests alone fill no cell. Where nothing else met the policy of an adaptive row, the cell shows another
    adaptive policy and names it: attacks through the adaptive lambda are scored with one lambda per image.
    """

    threat: ThreatModel
    written: ClassVar = _PERCENT

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        left: dict[tuple[Cohort, Policy], list[tuple[Score, int]]] = defaultdict(list)
        for seed in group.seeds:
            by_target: dict[tuple[Cohort, Policy], list[Record]] = defaultdict(list)
            for (cohort, setting, policy), several in seed.items():
                asked = isinstance(policy, Adaptive) if entrant.adaptive else policy in entrant.policies
                counts = asked and cohort.metric is Metric.ACCURACY and entrant.has_images(cohort)
                if counts and isinstance(setting, Attack) and _is_at(setting.threat, self.threat):
                    by_target[cohort, policy] += [series[0] for series in several]
            for target, found in by_target.items():
                if attacked_directly(records := of_newest_fit(found)):
                    left[target].append((left_by_all(records), len(records)))
        if not left:
            return None
        own = [it for it in left if it[1] in entrant.policies]
        cohort, policy = max(own or left, key=lambda it: (len(left[it]), it[0].total, it[0].rank))
        score, count = min(left[cohort, policy])
        note = f"{count} attack{'s' if count > 1 else ''}" + ("" if own else f", {policy_words(policy)}")
        return Value(Noted(estimate(score), note), _basis(cohort, len(left[cohort, policy])))


@dataclass(frozen=True)
class FoolingRate:
    """Share of predictions that a universal perturbation changes; ``None`` where the rows name the threat."""

    threat: ThreatModel | None = None
    written: ClassVar = _PERCENT

    def __call__(self, group: Group, entrant: Entrant) -> Value | None:
        """See `Quantity`."""
        found = _found(group, entrant, self._is_mine, metric=Metric.FOOLING)
        return found and found.value

    def _is_mine(self, setting: Setting) -> bool:
        return self.threat is not None and isinstance(setting, Universal) and _is_at(setting.threat, self.threat)


def _is_at(threat: ThreatModel, wanted: ThreatModel) -> bool:
    return threat.norm == wanted.norm and math.isclose(threat.epsilon, wanted.epsilon, rel_tol=1e-6)


class _Found(NamedTuple):
    scores: SeedScores
    records: list[Record]
    basis: str

    @property
    def value(self) -> Value:
        return Value(over_seeds(self.scores), self.basis)


_Images = tuple[Cohort, Crafting | None]


def _found(
    group: Group,
    entrant: Entrant,
    accept: Callable[[Setting], bool],
    severities: Sequence[int] = (0,),
    metric: Metric = Metric.ACCURACY,
) -> _Found | None:
    """Returns one score for each training: those on the most images, of the first policy that was measured.

    Trainings that lack one of the severities are left out; published files go before generated corruptions.
    """
    for policy in entrant.policies:
        found: dict[_Images, list[list[list[Record]]]] = defaultdict(list)
        for seed in group.seeds:
            mine: dict[_Images, list[list[Record]]] = defaultdict(list)
            for (cohort, setting, measured), several in seed.items():
                if measured == policy and cohort.metric is metric and entrant.has_images(cohort) and accept(setting):
                    whole = [[it[at] for at in severities] for it in several if _is_whole(it, severities, entrant.lam)]
                    mine[cohort, _crafting(setting)] += whole
            for images, parts in mine.items():
                found[images] += [parts] if parts else []
        chosen = max((it for it in found if found[it]), key=lambda it: (len(found[it]), *_rank(*it)), default=None)
        if chosen is not None:
            seeds = found[chosen]
            scores = tuple(Score.mean_of([*map(total_score, parts)]) for parts in seeds)
            return _Found(SeedScores(scores), [*chain(*chain(*seeds))], _basis(chosen[0], len(seeds)))
    return None


def _crafting(setting: Setting) -> Crafting | None:
    return setting.crafting if isinstance(setting, Universal) else None


def _rank(cohort: Cohort, crafting: Crafting | None) -> tuple[object, ...]:
    origin = cohort.origin
    official = origin is not None and origin.source is Source.OFFICIAL
    generated = origin is not None and origin.source is Source.GENERATED and origin.pixels is Pixels.FLOAT
    return (cohort.total, official, generated, cohort.rank, repr(crafting))


def _is_whole(series: Series, severities: Iterable[int], lam: float | None) -> bool:
    return all(
        it in series and (lam is None or math.isclose(series[it].lam or 0.0, lam, abs_tol=1e-6)) for it in severities
    )


def _basis(cohort: Cohort, seeds: int) -> str:
    words = f"{cohort.dataset}, {cohort.total} images"
    return f"{words}, {seeds} seeds" if seeds > 1 else words
