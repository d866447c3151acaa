"""What was done to the images and how lambda was chosen, without what the cells of one row or column differ in."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeGuard

from robustcsc.measurements.adaptations import Shift
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, Universal
from robustcsc.measurements.policies import Adapted, Fitted, Policy, lambda_of, with_lambda
from robustcsc.measurements.protocols import BASIC


@lru_cache(maxsize=2**12)
def without_fit(policy: Policy) -> Policy:
    """Returns a policy without the lambda fit, and what clean images are, that it used."""
    if isinstance(policy, Adapted) and isinstance(policy.by, Shift):
        policy = replace(policy, by=replace(policy.by, reference=""))
    chosen = lambda_of(policy)
    return with_lambda(policy, replace(chosen, fit="")) if isinstance(chosen, Fitted) else policy


@lru_cache(maxsize=2**12)
def setting_of(perturbation: Perturbation) -> Perturbation:
    """Returns a perturbation without what differs between the cells of one column or belongs to the cohort."""
    match perturbation:
        case Clean():
            return perturbation
        case Corruption():
            return replace(perturbation, severity=0, seed=0, files="")
        case Universal(crafting=crafting):
            return replace(perturbation, crafting=replace(crafting, seed=0))
        case _:
            return replace(perturbation, seed=0)


def origin_and_seed(made: Perturbation) -> tuple[Corruption | None, int]:
    """Returns what a cohort has of a perturbation: where corrupted images come from, and the seed."""
    match made:
        case Clean():
            return None, 0
        case Corruption(seed=seed):
            return replace(made, name="", severity=0, seed=0), seed
        case Universal(crafting=crafting):
            return None, crafting.seed
        case _:
            return None, made.seed


def is_basic(setting: Perturbation) -> TypeGuard[Attack]:
    """Whether a setting is a single attack under plain, static or adaptive, and not part of a suite."""
    match setting:
        case Attack(steps=[_], saved=None, protocol=protocol):
            return protocol in BASIC
        case _:
            return False
