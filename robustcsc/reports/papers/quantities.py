"""What the tables of papers show, and of whom: sizes, times, accuracies and fooling rates over training seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Crafting, Pixels, Source, Universal
from robustcsc.measurements.policies import Adaptive, NoLambda, Policy, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import ThreatModel
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Noted, Worded
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all
from robustcsc.reports.cohorts.cells import estimate, over_seeds
from robustcsc.reports.cohorts.cohorts import SEVERITIES, Cohort, Series, Setting, of_newest_fit, total_score
from robustcsc.reports.cohorts.settings import is_basic
from robustcsc.reports.cohorts.words import policy_words
from robustcsc.reports.comparisons.groups import Group

PLAIN: tuple[Policy, ...] = (NoLambda(), TrainingLambda())
"""Policies of a model as it was trained."""


_PERCENT = Column("", percent=True)


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Whose figures a row of a paper's table shows.

    Attributes:
        model: Name in the catalog; ``""`` if this toolkit has none of the kind.
        data: The data set; forms of it (``"cifar10-jpeg"``) count, and are named.
        policies: Lambda policies; of several the first that was measured.
        options: Options of the model that tell its row from others.
        usual: Whether these are the options that the model has by default.
        trained_on: Number of training images, 0 for any.
        lam: The lambda that has to be used; ``None`` for any.
    """

    model: str = ""
    data: str = ""
    policies: tuple[Policy, ...] = PLAIN
    options: tuple[tuple[str, object], ...] = ()
    usual: bool = True
    trained_on: int = 0
    lam: float | None = None

    @property
    def adaptive(self) -> bool:
        """Whether lambda is predicted when the model is used."""
        return isinstance(self.policies[0], Adaptive)

    def is_trained_as(self, group: Group) -> bool:
        """Whether a group's weights were trained as the row wants it, as far as that is known."""
        if group.about is None:
            return self.usual and not self.trained_on
        options = group.about.options
        told = all(options[name] == wanted for name, wanted in self.options if name in options)
        return told and self.trained_on in (0, group.about.trained_on)

    def form(self, group: Group) -> str | None:
        """Returns which form of the data set a group was measured on (``"-jpeg"``), ``None`` if on none.

        Of several the paper's own (``""``), else the first by name.
        """
        cohorts = {measure.cohort for seed in group.seeds for measure in seed}
        forms = (it.dataset.removeprefix(self.data) for it in cohorts if self.data and self.has_images(it))
        return min(forms, default=None)

    def has_images(self, cohort: Cohort) -> bool:
        """Whether a cohort's images are of the data set or a form of it, and answered in float32, as in all papers."""
        known = cohort.dataset == self.data or cohort.dataset.startswith(f"{self.data}-")
        return known and cohort.precision == "fp32"


@dataclass(frozen=True)
class Value:
    """A filled cell.

    Attributes:
        cell: The cell.
        basis: The images it was measured on and the number of trainings, in words; ``""`` for what a checkpoint tells.
    """

    cell: Cell
    basis: str = ""


@dataclass(frozen=True)
class Quantity:
    """What a column of a paper's table shows.

    Attributes:
        of: Returns it for a group as far as a row asks for it, ``None`` if that was not measured.
        written: How its numbers are written; the heading is that of the table.
    """

    of: Callable[[Group, Entrant], Value | None]
    written: Column = _PERCENT


def millions(number: float, digits: int = 1) -> Worded:
    """Returns a number of parameters, given in millions, as papers write it: ``"11.2M"``."""
    return Worded(round(1e6 * number), f"{number:.{digits}f}M")


def _of_training(read: Callable[[Training, float], Cell], written: Column) -> Quantity:
    """Returns what `read` makes of the training of a group's first seed and the mean seconds of a training."""

    def of(group: Group, _: Entrant) -> Value | None:
        return Value(read(group.about, fmean(it.seconds for it in group.trainings))) if group.about else None

    return Quantity(of, written)


PARAMETERS = _of_training(lambda it, _: millions(it.parameters / 1e6, 2), Column(""))
SPEED = _of_training(lambda it, seconds: it.trained_on * it.epochs / seconds, Column("", digits=0))
"""Training images of all epochs over the time of the training."""
TRAINING_TIME = _of_training(lambda _, seconds: seconds, Column("", digits=0))
TRAINING_TIME_PER_IMAGE = _of_training(lambda it, seconds: seconds / it.trained_on, Column("", significant=3))


def accuracy(corruption: str = "", severities: tuple[int, ...] = SEVERITIES, *, best: bool = False) -> Quantity:
    """Returns the accuracy on clean images, or under a corruption as the mean over some severities.

    Args:
        corruption: Its name, ``""`` for clean images.
        severities: Those that are averaged.
        best: Whether that of the best training seed is shown.
    """

    def of(group: Group, entrant: Entrant) -> Value | None:
        found = _accuracy(group, entrant, corruption, severities)
        return found and (Value(found.scores.best, found.basis) if best else found.value)

    return Quantity(of)


def used_lambda(corruption: str, severities: tuple[int, ...]) -> Quantity:
    """Returns the mean lambda that such an accuracy was measured at; it stands in columns of accuracies."""

    def of(group: Group, entrant: Entrant) -> Value | None:
        found = _accuracy(group, entrant, corruption, severities)
        used = [it.lam for it in found.records if it.lam is not None] if found else []
        return Value(Worded(fmean(used), f"{fmean(used):.2f}"), found.basis) if found and used else None

    return Quantity(of)


def _classification_time(group: Group, entrant: Entrant) -> Value | None:
    found = _accuracy(group, entrant)
    return found and Value(fmean(it.provenance.seconds / it.total for it in found.records), found.basis)


CLASSIFICATION_TIME = Quantity(_classification_time, Column("", significant=3))
"""Mean time to classify a clean image, in seconds."""


def pgd_accuracy(threat: ThreatModel) -> Quantity:
    """Accuracy under PGD with the most steps: static (a transfer test) where the row's lambda is tuned, else plain."""

    def of(group: Group, entrant: Entrant) -> Value | None:
        protocol = Protocol.STATIC if entrant.adaptive else Protocol.PLAIN
        measures = {it for seed in group.seeds for it in seed if it.policy in entrant.policies}
        settings = {it.setting for it in measures if entrant.has_images(it.cohort)}
        attacks = [it for it in settings if is_basic(it) and it.steps[0].name == "pgd" and it.protocol is protocol]
        efforts = {it: it.steps[0].effort or 0 for it in attacks if _is_at(it.threat, threat)}
        longest = max(efforts.values(), default=0)
        found = _found(group, entrant, lambda it: is_basic(it) and efforts.get(it) == longest)
        return found and replace(found.value, cell=Noted(found.value.cell, f"{longest} steps"))

    return Quantity(of)


def lowest_accuracy(threat: ThreatModel) -> Quantity:
    """Returns what all attacks together leave, image by image, on the weights that they leave least of.

    Transfer tests alone fill no cell. Where nothing else met the policy of an adaptive row, the cell shows another
    adaptive policy and names it: attacks through the adaptive lambda are scored with one lambda per image.
    """

    def of(group: Group, entrant: Entrant) -> Value | None:
        left: dict[tuple[Cohort, Policy], list[tuple[Score, int]]] = defaultdict(list)
        for seed in group.seeds:
            by_target: dict[tuple[Cohort, Policy], list[Record]] = defaultdict(list)
            for (cohort, setting, policy), several in seed.items():
                asked = isinstance(policy, Adaptive) if entrant.adaptive else policy in entrant.policies
                counts = asked and cohort.metric is Metric.ACCURACY and entrant.has_images(cohort)
                if counts and isinstance(setting, Attack) and _is_at(setting.threat, threat):
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

    return Quantity(of)


def fooling_rate(threat: ThreatModel | None = None) -> Quantity:
    """Returns the share of predictions that a universal perturbation changes; none where the rows name the threat."""

    def is_mine(made: Setting) -> bool:
        return threat is not None and isinstance(made, Universal) and _is_at(made.threat, threat)

    def of(group: Group, entrant: Entrant) -> Value | None:
        found = _found(group, entrant, is_mine, metric=Metric.FOOLING)
        return found and found.value

    return Quantity(of)


def _is_at(threat: ThreatModel, wanted: ThreatModel) -> bool:
    return threat.norm == wanted.norm and math.isclose(threat.epsilon, wanted.epsilon, rel_tol=1e-6)


class _Found(NamedTuple):
    scores: SeedScores
    records: list[Record]
    basis: str

    @property
    def value(self) -> Value:
        return Value(over_seeds(self.scores), self.basis)


def _accuracy(
    group: Group, entrant: Entrant, corruption: str = "", severities: Sequence[int] = SEVERITIES
) -> _Found | None:
    def is_mine(made: Setting) -> bool:
        return isinstance(made, Corruption) and made.name == corruption if corruption else made == Clean()

    return _found(group, entrant, is_mine, severities if corruption else (0,))


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
        found: dict[tuple[Cohort, Crafting | None], list[list[list[Record]]]] = defaultdict(list)
        for seed in group.seeds:
            mine: dict[tuple[Cohort, Crafting | None], list[list[Record]]] = defaultdict(list)
            for (cohort, setting, measured), several in seed.items():
                if measured == policy and cohort.metric is metric and entrant.has_images(cohort) and accept(setting):
                    whole = [[it[at] for at in severities] for it in several if _is_whole(it, severities, entrant.lam)]
                    mine[cohort, setting.crafting if isinstance(setting, Universal) else None] += whole
            for images, parts in mine.items():
                found[images] += [parts] if parts else []
        chosen = max((it for it in found if found[it]), key=lambda it: (len(found[it]), *_rank(*it)), default=None)
        if chosen is not None:
            seeds = found[chosen]
            scores = tuple(Score.mean_of([*map(total_score, parts)]) for parts in seeds)
            return _Found(SeedScores(scores), [*chain(*chain(*seeds))], _basis(chosen[0], len(seeds)))
    return None


def _rank(cohort: Cohort, crafting: Crafting | None) -> tuple[object, ...]:
    origin = cohort.origin
    official = origin is not None and origin.source is Source.OFFICIAL
    generated = origin is not None and origin.source is Source.GENERATED
    published = origin is not None and origin.pixels is not Pixels.FLOAT
    return (cohort.total, official, generated, published, cohort.rank, repr(crafting))


def _is_whole(series: Series, severities: Iterable[int], lam: float | None) -> bool:
    found = [series.get(severity) for severity in severities]
    return all(it and (lam is None or math.isclose(it.lam or 0.0, lam, abs_tol=1e-6)) for it in found)


def _basis(cohort: Cohort, seeds: int) -> str:
    words = f"{cohort.dataset}, {cohort.total} images"
    return f"{words}, {seeds} seeds" if seeds > 1 else words
