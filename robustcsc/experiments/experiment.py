"""A whole experiment file as facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from robustcsc.experiments.steps import (
    Attack,
    Data,
    Evaluate,
    Fit,
    Model,
    RandomNoise,
    Report,
    Runs,
    Step,
    Sweep,
    Table,
    Train,
    Uap,
)


class Experiment(Table, frozen=True):
    """A whole file; it is carried out in the order of these fields."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: Data = Data()
    train: tuple[Train, ...] = ()
    model: tuple[Model, ...] = ()
    fit_lambda: tuple[Fit, ...] = ()
    evaluate: tuple[Evaluate, ...] = ()
    sweep: tuple[Sweep, ...] = ()
    attack: tuple[Attack, ...] = ()
    uap: tuple[Uap, ...] = ()
    random_noise: tuple[RandomNoise, ...] = ()
    report: Report | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs, those that are trained first."""
        return (*(str(it.run) for each in self.train for it in each.requests), *(it.run for it in self.model))

    def meant(self, names: Runs) -> tuple[str, ...]:
        """Returns the runs that a table names, where the name of a training stands for all its seeds; all if none."""
        groups = {each.run: tuple(str(it.run) for it in each.requests) for each in self.train}
        named = (run for name in names for run in groups.get(name, (name,)))
        return tuple(dict.fromkeys(named)) if names else self.runs

    def steps(self) -> Iterator[tuple[tuple[str, int], Step]]:
        """Yields what is done with the models, in order, each with its place in the file."""
        for key in ("fit-lambda", "evaluate", "sweep", "attack", "uap", "random-noise"):
            for number, step in enumerate(getattr(self, key.replace("-", "_"))):
                yield (key, number), step
