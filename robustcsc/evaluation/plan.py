"""What is to be measured: lists of cells, made without a model or an image at hand.

A `Cell` is a pure description; `robustcsc.evaluation.measure` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from robustcsc.errors import PolicyError
from robustcsc.measurements.adaptations import Adaptation, Shift, check_suited
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, MinimalBudget, Perturbation
from robustcsc.measurements.policies import (
    Adapted,
    Adaptive,
    Blind,
    Fitted,
    FixedLambda,
    LambdaPolicy,
    NoLambda,
    Policy,
    Scope,
    TrainingLambda,
    adapted,
    batches_of,
    lambda_of,
    multiples_of,
    parse_policy,
    with_lambda,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Measurement, Metric, Precision, Subject

#: Images at a time: a number, or as many as the memory has room for.
BatchSize = int | Literal["auto"]
#: The name of the fit that belongs to the policy blind, among those of noise families.
_BLIND = "blind"
FOOLING_METRICS = (Metric.FOOLING, Metric.FOOLING_OF_CORRECT)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a plan needs to know of a model.

    Attributes:
        subject: Its name and weights.
        precision: What it computes in.
        training_lambdas: The training lambda of each layer; empty without a layer of sparse coding.
        fits: The lambda fits of its run by noise family.
        given_fits: More fits of its weights, which policies name by their digests.
        has_batch_norm: Whether it has batch normalisation with stored statistics.
        test_time: What else is done at test time, each beside every lambda policy; `None` is the model as it is.
        reference: Digest of what it makes of clean images; ``""`` if that is not known.

    Raises:
        PolicyError: An adaptation does not suit the model, or needs a package that is missing.
    """

    subject: Subject
    training_lambdas: tuple[float, ...]
    precision: Precision = "fp32"
    fits: Mapping[str, LambdaFit] = field(default_factory=dict)
    given_fits: tuple[LambdaFit, ...] = ()
    has_batch_norm: bool = False
    test_time: tuple[Adaptation | None, ...] = (None,)
    reference: str = ""

    def __post_init__(self) -> None:
        for made in self.test_time:
            check_suited(made, self.subject.model, has_batch_norm=self.has_batch_norm)

    @property
    def has_lambda(self) -> bool:
        """Whether the model has a layer of sparse coding."""
        return bool(self.training_lambdas)

    @property
    def per_image(self) -> tuple[Fitted, ...]:
        """The policies with one lambda per image that it has a fit for."""
        known = [Adaptive(scope=Scope.IMAGE)] if set(self.fits) - {_BLIND} else []
        return (*known, *([Blind()] if _BLIND in self.fits else [])) if self.has_lambda else ()

    @property
    def lam0(self) -> float | None:
        """The training lambda, ``None`` without one.

        Raises:
            PolicyError: The layers were trained with different lambdas, which no policy can set.
        """
        if len(set(self.training_lambdas)) > 1:
            first, *_, last = sorted(self.training_lambdas)
            raise PolicyError(
                f"The layers of {self.subject.model} have different training lambdas ({first:g} to {last:g}), but a "
                "policy sets one lambda for all: build the model with one."
            )
        return self.training_lambdas[0] if self.training_lambdas else None

    @property
    def grid(self) -> tuple[float, ...]:
        """The lambdas that ``"grid"`` and the oracle try: those that a lambda fit tries by default."""
        return multiples_of(self.lam0)

    @property
    def own_policy(self) -> LambdaPolicy:
        """The lambda that the model was trained with."""
        return TrainingLambda() if self.has_lambda else NoLambda()

    def adapted(self, policies: Iterable[Policy]) -> tuple[Policy, ...]:
        """Returns each policy with each adaptation, but for those that have one already."""
        both = [each if isinstance(each, Adapted) else adapted(each, by) for by in self.test_time for each in policies]
        return tuple(dict.fromkeys(both))

    def fit_for(self, policy: Fitted, corruption: str | None = None) -> LambdaFit:
        """Returns the fit of a policy: of the corruption's noise family, else the pooled one, the Gaussian one, or any.

        Without a corruption (clean images, attacks) the noise is unknown: pooled, then Gaussian. Blind has its own.

        Raises:
            PolicyError: The run has no fit for these weights.
        """
        blind, (named, command) = isinstance(policy, Blind), self._in_precision
        fits = {noise: fit for noise, fit in self.fits.items() if (noise == _BLIND) == blind}
        if not fits:
            needs = "blind lambda fit" if blind else "lambda fit"
            needed = "the policy blind needs" if blind else "the adaptive policies need"
            raise PolicyError(
                f"Run {self.subject.run!r} has no {needs} for its weights{named}, which {needed}: "
                f"run `{command}{' --noise blind' if blind else ''}` first."
            )
        families = [family for family, kernel in NOISE_KERNELS.items() if kernel == corruption]
        known = next((it for it in (*families, "pooled", "gaussian") if it in fits), next(iter(fits)))
        return fits[known]

    def fit_by_digest(self, digest: str) -> LambdaFit:
        """Returns a fit of the model by its digest.

        Raises:
            PolicyError: The model has no such fit.
        """
        known = {fit.digest: fit for fit in (*self.given_fits, *self.fits.values())}
        if digest not in known:
            named, command = self._in_precision
            raise PolicyError(f"Run {self.subject.run!r} has no lambda fit {digest}{named}: run `{command}` again.")
        return known[digest]

    @property
    def _in_precision(self) -> tuple[str, str]:
        """What the model computes in, in words, unless it is float32, and the command that fits its lambda so."""
        command = f"robustcsc fit-lambda --run {self.subject.run}"
        if self.precision == "fp32":
            return "", command
        return f" in {self.precision}", f"{command} --precision {self.precision}"

    def policies(self, asked: Sequence[str | Policy]) -> tuple[Policy, ...]:
        """Returns the policies to measure: those asked for, checked, or every one that suits the model.

        Names are those that people type; ``"grid"`` stands for every lambda of the default grid. If nothing is asked
        for: no lambda without a layer of sparse coding, else the training lambda, and the adaptive one with a fit.

        Raises:
            PolicyError: The model has no lambda, or the run no fit that a policy needs.
            UnknownNameError: There is no such policy.
        """
        chosen: list[Policy] = []
        for each in asked:
            if each == "grid":
                chosen += map(FixedLambda, self.grid)
            else:
                chosen.append(parse_policy(each) if isinstance(each, str) else each)
        if not self.has_lambda:
            if {lambda_of(it) for it in chosen} - {NoLambda(), TrainingLambda()}:
                raise PolicyError(
                    f"{self.subject.model} has no CSC layer and so no lambda to choose: leave out --lambda."
                )
            return self.adapted([with_lambda(it, NoLambda()) for it in chosen or [NoLambda()]])
        if not asked:
            chosen = [TrainingLambda(), *self.whole_set]
        for policy in map(lambda_of, chosen):
            if isinstance(policy, Fitted):  # a missing fit is told now
                self.fit_by_digest(policy.fit) if policy.fit else self.fit_for(policy)
            if isinstance(policy, FixedLambda):
                policy.check_layers(len(self.training_lambdas), self.subject.model)
        return self.adapted(chosen)

    @property
    def whole_set(self) -> tuple[Fitted, ...]:
        """The same, but with the paper's way, one lambda for a whole set of images, where there are lines."""
        return tuple(it if isinstance(it, Blind) else Adaptive(scope=Scope.DATASET) for it in self.per_image)

    @overload
    def resolved(self, policy: Fitted, perturbation: Perturbation) -> Fitted: ...
    @overload
    def resolved(self, policy: Policy, perturbation: Perturbation) -> Policy: ...
    def resolved(self, policy: Policy, perturbation: Perturbation) -> Policy:
        """Returns the policy with the lambda fit that belongs to a perturbation, and what clean images are."""
        if isinstance(policy, Adapted) and isinstance(policy.by, Shift) and not policy.by.reference:
            policy = replace(policy, by=replace(policy.by, reference=self.reference))
        chosen = lambda_of(policy)
        if not isinstance(chosen, Fitted) or chosen.fit:
            return policy
        corruption = perturbation.name if isinstance(perturbation, Corruption) else None
        return with_lambda(policy, replace(chosen, fit=self.fit_for(chosen, corruption).digest))


@dataclass(frozen=True)
class Cell:
    """Measurements, at least one, that share the same perturbed images: they differ in policy or metric only."""

    measurements: tuple[Measurement, ...]

    @property
    def perturbation(self) -> Perturbation:
        """What is done to the images."""
        return self.measurements[0].perturbation


#: Cells to be measured one after the other: attacks in turn get the images that the ones before them left.
Chain = tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes the cells of one model on one set of images.

    Attributes:
        model: The model.
        images: The clean images.
        batch_size: Images at a time, which enters a cell where its counts depend on it.
    """

    model: ModelFacts
    images: Images
    batch_size: BatchSize

    def cell(
        self,
        perturbation: Perturbation,
        policies: Iterable[Policy],
        metrics: Sequence[Metric] = (Metric.ACCURACY,),
        *,
        batched: bool = False,
    ) -> Cell:
        """Returns the cell of a perturbation under some policies; `batched` if counts depend on the batch size.

        Raises:
            PolicyError: As for `counted_size`, if they do.
        """
        measurements = []
        for policy in dict.fromkeys(self.model.resolved(policy, perturbation) for policy in policies):
            chosen = lambda_of(policy)
            looks_at_batches = batched or (isinstance(chosen, Adaptive) and chosen.scope is Scope.BATCH)
            looks_at_batches &= batches_of(policy) is None  # which says it, and in which order
            measurements += [
                Measurement(
                    subject=self.model.subject,
                    images=self.images,
                    perturbation=perturbation,
                    policy=policy,
                    metric=metric,
                    batch_size=counted_size(self.batch_size) if looks_at_batches else None,
                    precision=self.model.precision,
                )
                for metric in metrics
            ]
        return Cell(tuple(measurements))

    def clean(self, policies: Iterable[Policy]) -> Chain:
        """Returns the cell of the clean images."""
        return (self.cell(Clean(), policies),)

    def sweep(self, corruptions: Iterable[Corruption], policies: Sequence[Policy]) -> Iterator[Chain]:
        """Yields the cell of each corruption."""
        return ((self.cell(corruption, policies),) for corruption in corruptions)

    def attacks(self, attacks: Iterable[Attack | MinimalBudget], target: Target) -> Chain:
        """Returns the cells of attacks on one target, or of searches for the smallest budgets."""
        return tuple(self.cell(attack, target.policies, batched=True) for attack in attacks)

    def fooling(self, perturbation: Perturbation, policy: Policy) -> Chain:
        """Returns the cell that counts the predictions a perturbation changes."""
        return (self.cell(perturbation, [policy], FOOLING_METRICS),)


@dataclass(frozen=True)
class Target:
    """What an attack meets.

    Attributes:
        protocol: How the attack meets lambda, as records name it.
        policies: The policies that score the result.
    """

    protocol: Protocol
    policies: tuple[Policy, ...]


def counted_size(batch_size: BatchSize) -> int:
    """Returns the batch size of a measurement whose counts depend on it.

    Raises:
        PolicyError: It is left to the memory.
    """
    if batch_size == "auto":
        raise PolicyError(
            "The random starts of an attack and the policy adaptive-batch depend on the batch size, so it cannot be "
            "auto: type a number, such as --batch-size 250."
        )
    return batch_size
