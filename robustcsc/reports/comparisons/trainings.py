"""Models over training seeds: what each was trained with, and the mean and spread of what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from robustcsc.measurements.facts import tag_of
from robustcsc.measurements.perturbations import Clean, Corruption, RandomControl, Universal
from robustcsc.measurements.policies import FixedLambda, NoLambda, Policy, lambda_of
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Cell, Column, Table, Worded
from robustcsc.presentation.words import slug
from robustcsc.reports.attacks.fooling import crafting_words
from robustcsc.reports.cohorts.cells import over_seeds, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, Setting, total_score
from robustcsc.reports.cohorts.words import (
    corruption_rank,
    perturbation_words,
    policy_rank,
    policy_words,
    precision_words,
    setting_rank,
    severities_words,
    with_protocol,
)
from robustcsc.reports.comparisons.groups import Group, groups_of

_SEEDS = "Mean ± standard deviation over the training seeds (n - 1); seeds of an attack are averaged first."
_TIMES = "Training and test times are those of the machines that trained and measured, with all else they had to do."

Quantity = tuple[Cohort, Setting, frozenset[int]]
"""What was measured on which images and which severities, whatever the seed of the measurement: a row of the table."""


class _Model(NamedTuple):
    """One model with one way of training and one lambda policy, and everything measured on all its training seeds."""

    trainings: tuple[Training, ...]  # one per seed
    policy: Policy
    scores: Mapping[Quantity, SeedScores]
    seconds_per_image: float | None  # to classify a clean test image, the mean

    @property
    def about(self) -> Training:
        """The training of the first seed: all others differ in seed, weights and time only."""
        return self.trainings[0]

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key of table columns."""
        it, policy = self.about, (tag_of(self.policy), policy_rank(self.policy))
        return (it.data, it.model, it.epochs, repr(it.without_seed), policy)


def training_tables(records: Sequence[Record], trainings: Iterable[Training]) -> list[Table]:
    """Returns one table with a row per model and policy: how it was trained, and how long it takes.

    Trainings that differ in nothing but their seed are one row; weights that nobody described have none.
    """
    rows = [_facts(it) for it in _models(records, trainings)]
    cells = tuple(tuple(row.values()) for row in rows)
    title, columns = "How the models were trained", tuple(map(Column, rows[0] if rows else ()))
    return [Table("trainings", title, columns, cells, (_TIMES,))] if rows else []


def seed_tables(records: Sequence[Record], trainings: Iterable[Training]) -> list[Table]:
    """Returns one table per data set: a column per model and policy with several training seeds, a row per measure.

    A measure that only some of the seeds have is left out for the whole model, and so are records of weights that
    nobody described.
    """
    datasets: dict[tuple[str, str], list[_Model]] = defaultdict(list)
    for model in (it for it in _models(records, trainings) if len(it.trainings) > 1):
        for images in dict.fromkeys((cohort.dataset, cohort.split) for cohort, *_ in model.scores):
            datasets[images].append(model)
    return [_table(dataset, split, found) for (dataset, split), found in sorted(datasets.items())]


def _models(records: Sequence[Record], trainings: Iterable[Training]) -> list[_Model]:
    """Returns the models in the order of tables, those alike but for their seed as one; fixed lambdas are left out."""
    models = (
        _model(group, policy)
        for group in groups_of(records, trainings)
        for policy in {measure.policy for seed in group.seeds for measure in seed}
        if group.trainings and not isinstance(lambda_of(policy), FixedLambda)
    )
    return sorted(models, key=lambda model: model.rank)


def _model(group: Group, policy: Policy) -> _Model:
    scores: dict[Quantity, list[Score]] = defaultdict(list)
    times: list[float] = []
    trainings = []
    for training, seed in zip(group.trainings, group.seeds, strict=True):
        found: dict[Quantity, list[Score]] = defaultdict(list)
        for (cohort, setting, chosen), several in seed.items():
            for series in several if chosen == policy else ():
                found[cohort, setting, frozenset(series)].append(total_score(list(series.values())))
                if isinstance(setting, Clean) and cohort.precision == "fp32":
                    times += [record.provenance.seconds / record.total for record in series.values()]
        for quantity, parts in found.items():
            scores[quantity].append(Score.mean_of(parts))
        trainings += [training] if found else []
    whole = {it: SeedScores(tuple(seeds)) for it, seeds in scores.items() if len(seeds) == len(trainings)}
    return _Model(tuple(trainings), policy, whole, fmean(times) if times else None)


def _table(dataset: str, split: str, models: Sequence[_Model]) -> Table:
    several = {it.about.model for it in models if it.policy != NoLambda()}
    heads = [it.about.model + (f", {policy_words(it.policy)}" if it.about.model in several else "") for it in models]
    quantities = {it for model in models for it in model.scores if (it[0].dataset, it[0].split) == (dataset, split)}
    rows: list[tuple[Cell, ...]] = []
    for it in sorted(quantities, key=lambda it: (_rank(*it[:2]), sorted(it[2]))):
        cohort, made, severities = it
        what = "clean accuracy" if made == Clean() else f"{cohort.metric}, {perturbation_words(made)}"
        words = with_protocol(what, made) + (f", severities {severities_words(severities)}" if any(severities) else "")
        how = (*_how(cohort, made), *precision_words(cohort.precision))
        images = ", ".join((f"{cohort.total} ({cohort.images})", *how))
        cells = (over_seeds(model.scores[it]) if it in model.scores else None for model in models)
        rows.append((words, images, *cells))
    title, columns = f"Models over training seeds: {dataset} {split}", (Column("measured"), Column("images"))
    return Table(slug("seeds", dataset, split), title, (*columns, *percentages(heads)), tuple(rows), (_SEEDS,))


def _facts(model: _Model) -> dict[str, Cell]:
    it = model.about
    return {
        "model": it.model,
        "lambda policy": policy_words(model.policy),
        "options": ", ".join(f"{key}={value}" for key, value in it.options.items()) or None,
        "parameters": it.parameters,
        "training images": it.trained_on,
        "epochs": it.epochs,
        "training seeds": ", ".join(str(seed.seed) for seed in model.trainings),
        "training time (s)": _rounded(fmean(each.seconds for each in model.trainings), ".0f"),
        "test time per image (ms)": _rounded(model.seconds_per_image, ".3g", 1000),
    }


def _rounded(value: float | None, digits: str, factor: int = 1) -> Cell:
    return None if value is None or math.isnan(value) else Worded(factor * value, f"{factor * value:{digits}}")


def _rank(cohort: Cohort, made: Setting) -> tuple[object, ...]:
    """Sorting key: clean images, corruptions, attacks, universal perturbations, random noise."""
    name = corruption_rank(made.name) if isinstance(made, Corruption | RandomControl) else ()
    rank = setting_rank(made)
    return (rank[0], name, cohort.metric, rank[:3], _how(cohort, made), rank, cohort.rank)


def _how(cohort: Cohort, made: Setting) -> tuple[str, ...]:
    return (crafting_words(made.crafting),) if isinstance(made, Universal) else cohort.origin_words
