"""Everything that was measured, by model and training: what the rows of papers and of leaderboards are filled from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Series, Setting, by_cohort

PLAIN = ("none", "train")
"""Policies of a model as it was trained."""
ADAPTIVE = ("adaptive", "adaptive-batch", "adaptive-image")


@dataclass(frozen=True, kw_only=True)
class Who:
    """Whose figures a row of a paper's table shows.

    Attributes:
        model: Name in the catalog.
        data: The data set; forms of it (``"cifar10-jpeg"``) count, and are named.
        policies: Lambda policies; of several the first that was measured.
        options: Options of the model that tell its row from others.
        usual: Whether these are the options that the model has by default.
        trained_on: Number of training images, 0 for any.
        lam: The lambda that has to be used; ``None`` for any.
    """

    model: str = ""
    data: str = ""
    policies: tuple[str, ...] = PLAIN
    options: tuple[tuple[str, object], ...] = ()
    usual: bool = True
    trained_on: int = 0
    lam: float | None = None


class Place(NamedTuple):
    """Where one series belongs, whatever its seed."""

    cohort: Cohort
    setting: Setting
    policy: str


Seed = Mapping[Place, Sequence[Series]]
"""What was measured on the weights of one training; several series differ in the seed of the measurement."""


@dataclass(frozen=True)
class Group:
    """Weights that were trained alike but for the seed; or weights of whose training nothing is known.

    Attributes:
        model: Name of the model.
        trainings: One for each of `seeds`; empty if nothing is known.
        seeds: What was measured.
        runs: Where it was measured.
    """

    model: str
    trainings: tuple[Training, ...]
    seeds: tuple[Seed, ...]
    runs: tuple[str, ...]

    @property
    def about(self) -> Training | None:
        """The training of the first seed: all others differ in seed, weights and time only."""
        return self.trainings[0] if self.trainings else None

    def has(self, who: Who) -> bool:
        """Tells whether these weights were trained as a row wants it, as far as that is known."""
        if self.about is None:
            return who.usual and not who.trained_on
        options = self.about.options
        told = all(options[name] == wanted for name, wanted in who.options if name in options)
        return told and who.trained_on in (0, self.about.trained_on)


def groups_of(records: Sequence[Record], trainings: Iterable[Training]) -> list[Group]:
    """Returns everything that was measured, by model and training."""
    by_weights: dict[tuple[str, str], dict[Place, list[Series]]] = defaultdict(lambda: defaultdict(list))
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cohort, settings in by_cohort(records).items():
        for setting, rows in settings.items():
            for subject, measured in rows.items():
                place = Place(cohort._replace(seed=0), setting, subject.policy)
                by_weights[subject.model, subject.weights][place].append(measured)
                runs[subject.model, subject.weights].add(subject.run)
    known = {it.weights: it for it in trainings}
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for model, weights in by_weights:
        it = known.get(weights)
        alike[model, repr(it.without_seed) if it else f"~{weights}"].append(weights)
    made = []
    for (model, _), members in sorted(alike.items()):
        told = [known[weights] for weights in members if weights in known]
        trained = sorted(told, key=lambda it: (it.seed, it.weights))
        ordered = [it.weights for it in trained] or members
        names = sorted(name for weights in ordered for name in runs[model, weights])
        seeds = tuple(by_weights[model, weights] for weights in ordered)
        made.append(Group(model, tuple(trained), seeds, tuple(dict.fromkeys(names))))
    return made


def form_of(group: Group, data: str) -> str | None:
    """Returns which form of a paper's data set a group was measured on (``"-jpeg"``), ``None`` if on none.

    Of several the paper's own, else the first by name.
    """
    measured = {place.cohort.dataset for seed in group.seeds for place in seed}
    forms = sorted(it.removeprefix(data) for it in measured if data and (it == data or it.startswith(f"{data}-")))
    return forms[0] if forms else None


def is_form(cohort: Cohort, data: str) -> bool:
    """Tells whether a cohort's images are of a data set or a form of it (``"cifar10-jpeg"``)."""
    return cohort.dataset == data or cohort.dataset.startswith(f"{data}-")
