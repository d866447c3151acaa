"""Models over training seeds: what each was trained with, and the mean and spread of what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Setting, series, total_score
from robustcsc.report.table import Table
from robustcsc.report.words import (
    MISSING,
    attack_words,
    corruption_rank,
    corruption_words,
    policy_words,
    severities_words,
    slug,
    spread_words,
)

_NOTES = (
    "One training seed: percent with the 95 % Wilson interval. Several: mean ± standard deviation over the training "
    "seeds (n - 1); seeds of an attack are averaged first.",
    "Training and test times are those of the machines that trained and measured, with all else they had to do.",
)


@dataclass(frozen=True)
class Measure:
    """What was measured on which images, whatever the seed of the measurement."""

    cohort: Cohort
    setting: Setting

    @property
    def words(self) -> str:
        """Names what was measured, in one line."""
        it, metric = self.setting, self.cohort.metric
        if it.kind == "clean":
            return "clean accuracy"
        if it.kind == "corruption":
            return f"accuracy, {corruption_words(it.name)}"
        if it.kind == "random-noise":
            return f"{metric}, random noise, rho {it.epsilon:g}"
        named = attack_words(it if it.kind == "attack" else it._replace(steps=None))
        return f"{metric}, {named}" + (f", {it.protocol}" if it.protocol not in ("", "plain") else "")

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key: clean images, corruptions, attacks, universal perturbations, random noise."""
        kinds = ("clean", "corruption", "attack", "uap", "uap-control", "random-noise")
        place = kinds.index(self.setting.kind) if self.setting.kind in kinds else len(kinds)
        return (place, corruption_rank(self.setting.name), self.cohort.metric, self.setting.rank, self.cohort)


@dataclass(frozen=True)
class TrainedModel:
    """One model with one way of training and one lambda policy, and everything measured on its training seeds.

    Attributes:
        trainings: One per training seed.
        policy: The lambda policy.
        spreads: What was measured.
        severities: The severities that corruption measures pool.
        seconds_per_image: Mean time to classify a clean test image, NaN if that was not measured.
    """

    trainings: tuple[Training, ...]
    policy: str
    spreads: Mapping[Measure, SeedScores]
    severities: Mapping[Measure, frozenset[int]]
    seconds_per_image: float

    @property
    def about(self) -> Training:
        """The training of the first seed: all others differ in seed, weights and time only."""
        return self.trainings[0]

    @property
    def seconds(self) -> float:
        """Mean training time."""
        return fmean(it.seconds for it in self.trainings)

    def of(self, kind: str, **setting: object) -> dict[Measure, SeedScores]:
        """Returns the measures of a kind with these values of `Setting`."""
        return {
            measure: spread
            for measure, spread in self.spreads.items()
            if measure.setting.kind == kind
            and all(getattr(measure.setting, name) == value for name, value in setting.items())
        }


def trained_models(records: Sequence[Record], trainings: Iterable[Training]) -> list[TrainedModel]:
    """Returns every known model with what was measured on it; records of weights that nobody described are left out.

    Trainings that differ in nothing but their seed stand together. A measure that only some of the seeds have is left
    out for the whole model.
    """
    known = {it.weights: it for it in trainings}
    groups: dict[tuple[Training, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        training = known.get(record.condition.weights)
        if training is not None and not record.condition.policy.startswith("fixed="):
            groups[training.without_seed, record.condition.policy][training.weights].append(record)
    ordered = sorted(groups, key=lambda key: (key[0].data, key[0].model, key[0].epochs, repr(key)))
    return [_model(key[1], groups[key], known) for key in ordered]


def _model(policy: str, by_weights: Mapping[str, Sequence[Record]], known: Mapping[str, Training]) -> TrainedModel:
    seeds = sorted((known[weights] for weights in by_weights), key=lambda it: (it.seed, it.weights))
    scores: dict[Measure, list[Score]] = defaultdict(list)
    severities: dict[Measure, set[frozenset[int]]] = defaultdict(set)
    times = []
    for training in seeds:
        for measure, measured in _scores(by_weights[training.weights]).items():
            scores[measure].append(_mean_score([total_score(list(it.values())) for it in measured]))
            severities[measure] |= {frozenset(it) for it in measured}
            if measure.setting.kind == "clean":
                times += [record.seconds / record.total for it in measured for record in it.values()]
    whole = [it for it in sorted(scores, key=lambda it: it.rank) if len(scores[it]) == len(seeds)]
    whole = [it for it in whole if len(severities[it]) == 1]
    return TrainedModel(
        trainings=tuple(seeds),
        policy=policy,
        spreads={it: SeedScores(tuple(scores[it])) for it in whole},
        severities={it: next(iter(severities[it])) for it in whole},
        seconds_per_image=fmean(times) if times else math.nan,
    )


def _scores(records: Sequence[Record]) -> dict[Measure, list[dict[int, Record]]]:
    """Returns the series of each measure, one per seed of the measurement."""
    found: dict[Measure, list[dict[int, Record]]] = defaultdict(list)
    for (cohort, setting, _), measured in series(records).items():
        found[Measure(cohort._replace(seed=0), setting)].append(measured)
    return found


def _mean_score(scores: Sequence[Score]) -> Score:
    return scores[0]._replace(correct=round(fmean(score.correct for score in scores)))


def seed_tables(models: Sequence[TrainedModel]) -> list[Table]:
    """Returns one table per data set: a column per model and policy, a row per fact and measure."""
    datasets: dict[tuple[str, str], list[TrainedModel]] = defaultdict(list)
    for model in models:
        for place in dict.fromkeys((it.cohort.dataset, it.cohort.split) for it in model.spreads):
            datasets[place].append(model)
    return [_table(dataset, split, found) for (dataset, split), found in sorted(datasets.items())]


def _table(dataset: str, split: str, models: Sequence[TrainedModel]) -> Table:
    several = {it.about.model for it in models if it.policy != "none"}
    heads = [it.about.model + (f", {policy_words(it.policy)}" if it.about.model in several else "") for it in models]
    facts: dict[str, list[str]] = {
        "options": [_options(it.about) for it in models],
        "parameters": [f"{it.about.parameters}" for it in models],
        "training images": [f"{it.about.trained_on}" for it in models],
        "epochs": [f"{it.about.epochs}" for it in models],
        "training seeds": [", ".join(str(seed.seed) for seed in it.trainings) for it in models],
        "training time (s)": [f"{it.seconds:.0f}" for it in models],
        "test time per image (ms)": [_milliseconds(it) for it in models],
    }
    measures = sorted(
        {it for model in models for it in model.spreads if (it.cohort.dataset, it.cohort.split) == (dataset, split)},
        key=lambda it: it.rank,
    )
    rows = [(name, "", *cells) for name, cells in facts.items()]
    for measure in measures:
        covered = {model.severities[measure] for model in models if measure in model.severities}
        for severities in sorted(covered, key=sorted):
            words = f"{measure.words}, severities {severities_words(set(severities))}" if any(severities) else ""
            cells = [
                spread_words(it.spreads[measure]) if it.severities.get(measure) == severities else MISSING
                for it in models
            ]
            rows.append((words or measure.words, _images(measure), *cells))
    title = f"Models over training seeds: {dataset} {split}"
    return Table(slug("seeds", dataset, split), title, ("", "images", *heads), tuple(rows), _NOTES)


def _images(measure: Measure) -> str:
    it = measure.cohort
    how = (it.spec,) if measure.setting.kind == "uap" else it.corruptions  # spec: what it was crafted on
    return ", ".join((f"{it.total} ({it.images})", *how))


def _options(training: Training) -> str:
    return ", ".join(f"{name}={value}" for name, value in training.options.items()) or MISSING


def _milliseconds(model: TrainedModel) -> str:
    return MISSING if math.isnan(model.seconds_per_image) else f"{1000 * model.seconds_per_image:.3g}"
