"""Everything that was measured, by model and training: what the rows of papers and of leaderboards are filled from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustcsc.measurements.facts import replace
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.records import Record
from robustcsc.measurements.trainings import Training
from robustcsc.reports.cohorts.cohorts import Cohort, Series, Setting, by_cohort


class Measure(NamedTuple):
    """What was measured on which images, whatever the model and the seed of the measurement.

    Attributes:
        cohort: The images, with seed 0.
        setting: What was done to them.
        policy: How lambda was chosen, whatever the fit.
    """

    cohort: Cohort
    setting: Setting
    policy: Policy


OfTraining = Mapping[Measure, Sequence[Series]]
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
    seeds: tuple[OfTraining, ...]
    runs: tuple[str, ...]

    @property
    def about(self) -> Training | None:
        """The training of the first seed: all others differ in seed, weights and time only."""
        return self.trainings[0] if self.trainings else None


def groups_of(records: Sequence[Record], trainings: Iterable[Training]) -> list[Group]:
    """Returns everything that was measured, by model and training."""
    by_weights: dict[tuple[str, str], dict[Measure, list[Series]]] = defaultdict(lambda: defaultdict(list))
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cohort, settings in by_cohort(records).items():
        images = replace(cohort, seed=0)
        for setting, rows in settings.items():
            for variant, measured in rows.items():
                weights = (variant.subject.model, variant.subject.weights)
                by_weights[weights][Measure(images, setting, variant.policy)].append(measured)
                runs[weights].add(variant.subject.run)
    known = {it.weights: it for it in trainings}
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for model, digest in by_weights:
        it = known.get(digest)
        alike[model, repr(it.without_seed) if it else f"~{digest}"].append(digest)
    made = []
    for (model, _), members in sorted(alike.items()):
        trained = sorted((known[it] for it in members if it in known), key=lambda it: (it.seed, it.weights))
        ordered = [it.weights for it in trained] or members
        names = sorted(name for it in ordered for name in runs[model, it])
        seeds = tuple(by_weights[model, it] for it in ordered)
        made.append(Group(model, tuple(trained), seeds, tuple(dict.fromkeys(names))))
    return made
