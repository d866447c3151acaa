"""Plans of universal perturbations, their random controls, and random noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from robustcsc.errors import UnknownNameError
from robustcsc.evaluation.plan import Chain, Planner, targets
from robustcsc.measurements.perturbations import Crafting, RandomControl, RandomNoise, Universal
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.threats import ThreatModel

CONTROLS: tuple[Literal["random-sign", "gaussian"], ...] = ("random-sign", "gaussian")


def uap_plan(
    planner: Planner,
    crafting: Crafting | None,
    threats: Sequence[ThreatModel],
    protocols: Sequence[Protocol],
    control_seeds: Sequence[int],
) -> list[Chain]:
    """Returns the cells of universal perturbations and of random ones of the same norm, one of each kind per seed.

    Args:
        planner: The model and the images.
        crafting: How they are crafted; ``None`` for the random ones only.
        threats: Norms and radii xi.
        protocols: How crafting meets lambda: plain, static or adaptive.
        control_seeds: Seeds of the random perturbations.

    Raises:
        UnknownNameError: A protocol says nothing about how a perturbation is crafted.
        PolicyError: A protocol needs a lambda or a fit that is not there.
    """
    plan: list[Chain] = []
    for protocol in protocols:
        if protocol not in BASIC:
            raise UnknownNameError("protocol of universal perturbations", protocol.value, BASIC)
        (target,) = targets(planner.model, protocol)
        (policy,) = target.policies
        for threat in threats:
            if crafting is not None:
                plan.append(planner.fooling(Universal(threat=threat, protocol=protocol, crafting=crafting), policy))
            plan += [
                planner.fooling(RandomControl(name=name, threat=threat, protocol=protocol, seed=seed), policy)
                for name in CONTROLS
                for seed in control_seeds
            ]
    return plan


def noise_plan(
    planner: Planner, rhos: Sequence[float], policies: Sequence[Policy], seeds: Sequence[int]
) -> list[Chain]:
    """Returns the cells of Gaussian noise of each energy, policy and seed."""
    return [
        planner.fooling(RandomNoise(rho=rho, seed=seed), policy)
        for policy in policies
        for rho in rhos
        for seed in seeds
    ]
