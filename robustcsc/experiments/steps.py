"""The tables of an experiment file: a table is a command, and a key is its option without the dashes.

What is left out has the default of the command. Making a table checks what can be known without PyTorch.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from robustcsc.errors import AttackError, RobustCSCError, SpecError
from robustcsc.evaluation.attacks.plans import AttackRequest
from robustcsc.evaluation.attacks.suites import suite_of
from robustcsc.evaluation.fooling.plans import check_noise, check_uap
from robustcsc.experiments.values import (
    Adaptations,
    AnyBatchSize,
    AtLeastOne,
    BasicProtocols,
    Budget,
    Budgets,
    Noises,
    Numbers,
    Policies,
    Protocols,
    Seed,
    Severities,
    SpecName,
    Steps,
)
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.datasets import check_asked
from robustcsc.measurements.perturbations import Crafting
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Answers, ClassOrder, Precision
from robustcsc.measurements.severity_tables import load_spec, select
from robustcsc.measurements.threats import DEFAULT_EPSILON, DEFAULT_XI, Norm, ThreatModel, check_budget
from robustcsc.models.known import check_known
from robustcsc.reports.papers.names import Paper
from robustcsc.training.request import TrainingRequest

Runs = tuple[str, ...]


class Table(Struct, frozen=True, kw_only=True, rename="kebab", dict=True):
    """A table of the file; keys are the options of a command."""


class Data(Table, frozen=True):
    """Where the images lie, for trainings and measurements alike; what is left out is what a run was trained on."""

    name: str | None = None
    root: Path | None = None
    download: bool = False
    image_size: AtLeastOne | None = None
    class_order: ClassOrder | None = None
    classes: Path | None = None
    answers: Answers | None = None
    readers: Annotated[int, Meta(ge=0)] = 2

    def __post_init__(self) -> None:
        if self.name is not None:
            check_asked(
                self.name,
                image_size=self.image_size,
                class_order=self.class_order,
                download=self.download,
                readers=self.readers,
            )


class Train(Table, frozen=True):
    """`robustcsc train`; with `seeds`, one run for each seed, called RUN-SEED."""

    run: str
    model: str
    model_option: dict[str, Any] = field(default_factory=dict)
    heldout: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    train_images: AtLeastOne | None = None
    recipe: str | None = None
    epochs: AtLeastOne | None = None
    learning_rate: float | None = None
    augment: Literal["none", "gaussian"] = "none"
    adversarial: Literal["none", "pgd-7", "fgsm"] = "none"
    epsilon: Budget | None = None
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()

    def __post_init__(self) -> None:
        for seed in self.seeds:
            if self.seeds.count(seed) > 1:
                raise RobustCSCError(f"seed {seed} stands there twice: leave one out.")
        self.requests  # noqa: B018 (it checks)

    @cached_property
    def requests(self) -> tuple[TrainingRequest, ...]:
        """The trainings, one for each seed."""
        named = [(f"{self.run}-{seed}", seed) for seed in self.seeds] or [(self.run, self.seed)]
        return tuple(
            TrainingRequest(
                model=self.model,
                run=run,
                options=self.model_option,
                heldout=self.heldout,
                train_images=self.train_images,
                recipe=self.recipe,
                epochs=self.epochs,
                learning_rate=self.learning_rate,
                augment=self.augment,
                adversarial=self.adversarial,
                epsilon=self.epsilon,
                seed=seed,
                precision=self.precision,
            )
            for run, seed in named
        )


class Model(Table, frozen=True):
    """A model that is not trained here: a run, a shipped model, or weights from elsewhere."""

    run: str
    model: str | None = None
    weights: Path | None = None
    model_option: dict[str, Any] = field(default_factory=dict)
    mean: Numbers = ()
    std: Numbers = ()
    output: str = ""

    def __post_init__(self) -> None:
        if self.model is not None:
            check_known(self.model, self.model_option)


class Fit(Table, frozen=True):
    """`robustcsc fit-lambda`, for the models that have a lambda."""

    runs: Runs = ()
    noise: Noises = ("gaussian",)
    grid: Numbers | None = None
    per_layer: bool = False
    limit: Annotated[int, Meta(ge=2)] = 5000
    spec: SpecName | None = None
    as_published: bool = True
    precision: Precision = "fp32"
    batch_size: AnyBatchSize = 250
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.spec is not None:
            load_spec(self.spec)


class Evaluate(Table, frozen=True):
    """`robustcsc evaluate`."""

    runs: Runs = ()
    lambdas: Policies = field(default=(), name="lambda")
    test_time: Adaptations = ()
    limit: AtLeastOne | None = None
    precision: Precision = "fp32"
    batch_size: AnyBatchSize = 250


class Sweep(Table, frozen=True):
    """`robustcsc sweep`."""

    runs: Runs = ()
    corruptions: tuple[str, ...] = ()
    severities: Severities = (1, 2, 3, 4, 5)
    spec: SpecName | None = None
    frost_root: Path | None = None
    corrupted_root: Path | None = None
    as_published: bool = True
    lambdas: Policies = field(default=(), name="lambda")
    test_time: Adaptations = ()
    limit: AtLeastOne | None = None
    precision: Precision = "fp32"
    batch_size: AnyBatchSize = 250
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.corrupted_root is not None and self.frost_root is not None:
            raise SpecError("frost-root is for generated frost: leave it out where corrupted-root is given.")
        if self.corrupted_root is not None and not self.as_published:
            raise SpecError("as-published is for generated corruptions: leave it out where corrupted-root is given.")
        # Those of the package have the same corruptions.
        select(load_spec(self.spec or "cifar10_c", self.frost_root), ",".join(self.corruptions) or "all")


class Attack(Table, frozen=True):
    """`robustcsc attack`: PGD if nothing is named; settings of an attack stand behind colons."""

    runs: Runs = ()
    attack: Steps = ()
    suite: str | None = None
    norm: Norm | None = None
    epsilon: Budgets = ()
    in_turn: bool = False
    min_epsilon: bool = False
    surrogate: str | None = field(default=None, name="from")
    protocols: Protocols = ()
    lambdas: Numbers | None = None
    test_time: Adaptations = ()
    limit: AtLeastOne = 1000
    precision: Precision = "fp32"
    batch_size: AtLeastOne = 250
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.suite is None:
            self.request  # noqa: B018 (it checks)
            return
        suite_of(self.suite)
        own = {"attack": self.attack, "in-turn": self.in_turn, "min-epsilon": self.min_epsilon}
        own |= {"protocols": self.protocols, "lambdas": self.lambdas}
        if foreign := [key for key, value in own.items() if value]:
            raise AttackError(f"A suite has attacks and protocols of its own: leave {' and '.join(foreign)} out.")
        if self.surrogate and not any(it.protocol is Protocol.TRANSFER for it in suite_of(self.suite).rounds):
            raise AttackError(f"The suite {self.suite} has no transfer attacks: leave from out.")
        for threat in self.threats:
            check_budget(threat)

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """Norm and budgets."""
        norm = self.norm or "linf"
        return tuple(ThreatModel(norm, size) for size in self.epsilon or [DEFAULT_EPSILON[norm]])

    @property
    def request(self) -> AttackRequest:
        """The attacks, if it is no suite."""
        return AttackRequest(
            steps=self.attack or (AttackStep.of("pgd"),),
            threats=self.threats,
            protocols=self.protocols,
            lambdas=self.lambdas,
            in_turn=self.in_turn,
            smallest=self.min_epsilon,
            seed=self.seed,
        )


class Uap(Table, frozen=True):
    """`robustcsc uap`."""

    runs: Runs = ()
    norm: Norm = "linf"
    xi: Budgets = ()
    delta: float = 0.2
    passes: AtLeastOne = 10
    crafting_images: AtLeastOne = 1000
    seeds: Annotated[int, Meta(ge=0)] = 3
    only_controls: bool = False
    protocols: BasicProtocols = (Protocol.PLAIN,)
    limit: AtLeastOne = 1000
    precision: Precision = "fp32"
    batch_size: AtLeastOne = 25
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_uap(self.threats, self.crafting)

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """Norm and radii."""
        return tuple(ThreatModel(self.norm, size) for size in self.xi or [DEFAULT_XI[self.norm]])

    @property
    def crafting(self) -> Crafting | None:
        """How the perturbation is crafted; ``None`` for the random ones only."""
        if self.only_controls:
            return None
        return Crafting(
            images="",
            count=self.crafting_images,
            delta=self.delta,
            passes=self.passes,
            batch_size=self.batch_size,
            seed=self.seed,
        )


class RandomNoise(Table, frozen=True):
    """`robustcsc random-noise`."""

    runs: Runs = ()
    rho: Numbers = (0.01, 0.02, 0.05, 0.1, 0.2)
    seeds: AtLeastOne = 3
    lambdas: Policies = field(default=(), name="lambda")
    limit: AtLeastOne = 1000
    precision: Precision = "fp32"
    batch_size: AnyBatchSize = 250
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_noise(self.rho, ())


class Report(Table, frozen=True):
    """`robustcsc report`."""

    title: str | None = None
    paper: Paper | None = None
    baseline: str | None = None
    out: Path | None = None
    html: Path | None = None
    examples: Annotated[int, Meta(ge=1, le=50)] | None = None


Step = Fit | Evaluate | Sweep | Attack | Uap | RandomNoise
