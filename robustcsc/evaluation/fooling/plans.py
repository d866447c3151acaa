"""Plans of universal perturbations, their random controls, and random noise, and settings that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, get_args

from robustcsc.errors import AttackError, PolicyError, UnknownNameError
from robustcsc.evaluation.plan import Chain, ModelFacts, Planner
from robustcsc.evaluation.targets import targets
from robustcsc.measurements.perturbations import Control, Crafting, RandomControl, RandomNoise, Universal
from robustcsc.measurements.policies import Adapted, Oracle, Policy
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.threats import ThreatModel, check_budget, check_crafting, check_rho

if TYPE_CHECKING:
    from robustcsc.data import ImageSet


def uap_plan(
    planner: Planner,
    crafting: Crafting | None,
    threats: Sequence[ThreatModel],
    protocols: Sequence[Protocol],
    control_seeds: Sequence[int],
) -> list[Chain]:
    """Returns the cells of universal perturbations and of random ones of the same norm, one of each kind per seed.

    Without `crafting` there are the random ones only.

    Raises:
        UnknownNameError: A protocol says nothing about how a perturbation is crafted.
        PolicyError: A protocol needs a lambda or a fit that is not there.
    """
    plan: list[Chain] = []
    _check_as_it_is(planner.model, ())
    for protocol in protocols:
        if protocol not in BASIC:
            raise UnknownNameError("protocol of universal perturbations", protocol.value, BASIC)
        policies = [policy for target in targets(planner.model, protocol) for policy in target.policies]
        for threat, policy in product(threats, policies):
            if crafting is not None:
                plan.append(planner.fooling(Universal(threat=threat, protocol=protocol, crafting=crafting), policy))
            plan += [
                planner.fooling(RandomControl(name=name, threat=threat, protocol=protocol, seed=seed), policy)
                for name in get_args(Control)
                for seed in control_seeds
            ]
    return plan


def noise_plan(
    planner: Planner, rhos: Sequence[float], policies: Sequence[Policy], seeds: Sequence[int]
) -> list[Chain]:
    """Returns the cells of Gaussian noise of each energy, policy and seed.

    Raises:
        PolicyError: Something is to be done at test time beside choosing lambda.
    """
    _check_as_it_is(planner.model, policies)
    return [
        planner.fooling(RandomNoise(rho=rho, seed=seed), policy)
        for policy in policies
        for rho in rhos
        for seed in seeds
    ]


def check_uap(threats: Sequence[ThreatModel], crafting: Crafting | None) -> None:
    """Raises an `AttackError` if xi, delta, passes or batch size is out of range."""
    settings = (crafting.delta, crafting.passes, crafting.batch_size) if crafting else (0.0, 1, 1)
    for threat in threats:
        check_budget(threat)
        check_crafting(threat, *settings)


def check_split(images: ImageSet) -> None:
    """Raises an `AttackError` if crafting images are not training images."""
    if images.split != "train":
        raise AttackError(
            f"A universal perturbation is crafted on training images, not on the {images.split} split: the images it "
            "is scored on must be new to it."
        )


def check_noise(rhos: Sequence[float], policies: Sequence[Policy]) -> None:
    """Refuses settings of random noise that make no sense, before anything is measured.

    Raises:
        AttackError: An energy is outside [0, 1].
        PolicyError: The oracle is asked for.
    """
    for rho in rhos:
        check_rho(rho)
    if Oracle() in policies:
        raise PolicyError(
            "The oracle chooses lambda for accuracy, so it has no fooling rate: leave it out of --lambda."
        )


def _check_as_it_is(model: ModelFacts, policies: Sequence[Policy]) -> None:
    if any(model.test_time) or any(isinstance(it, Adapted) for it in policies):
        raise PolicyError("Fooling rates are those of the model as it is: leave --test-time out.")
