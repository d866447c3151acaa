"""The smallest budget at which each image breaks, by binary search: a whole security curve for a few attacks."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcsc.attacks.budget import Calls, counted
from robustcsc.attacks.catalog import craft
from robustcsc.attacks.guard import outcome
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import MinimalBudget
from robustcsc.measurements.records import BudgetDetails, Cost
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress

#: The budget is divided into 2^LEVELS parts; an image that resists all of it counts as `RESISTED`.
LEVELS, RESISTED = 6, 255


def smallest_budgets(
    search: MinimalBudget,
    victim: Victim,
    images: ImageSet,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> BudgetDetails:
    """Returns the smallest budgets, up to that of the search, at which the attack breaks each image.

    The number for an image is an upper bound: a budget at which it was broken. That it resisted the next smaller budget
    that was tried proves nothing about those between.

    Args:
        search: The attack and the largest budget, above 0.
        victim: A model whose own gradients are asked for.
        images: Clean images.
        batch_size: Images at a time.
        device: Where to compute.
        progress: Told after each batch.

    Raises:
        PolicyError: The victim is not the model that is scored.
        AttackError: The attack does not support the norm.
    """
    if not search.protocol.white_box or victim.averaged:
        raise PolicyError(
            f"--min-epsilon goes with the protocols plain, fixed and adaptive, not with {search.protocol}."
        )
    search.step.check_norm(search.threat.norm)
    calls, levels = Calls(), list[int]()
    label = f"smallest {search.threat.norm} budget against {victim.name}"
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(victim.model):
        for batch in images.batches(batch_size, device=device):
            levels += _search(search, victim, batch.images, batch.labels, calls)
            progress(label, len(levels), len(images))
    cost = Cost(attacked=len(levels), forward_calls=calls.forward, gradient_calls=calls.gradient)
    return BudgetDetails(levels=LEVELS, minimal=bytes(levels), cost=cost)


def _search(search: MinimalBudget, victim: Victim, images: Tensor, labels: Tensor, calls: Calls) -> list[int]:
    """Returns the level of each image, by bisection."""
    broken = torch.full((len(labels),), RESISTED, device=labels.device)
    wrong, _ = outcome(victim.model, images, labels)
    broken[wrong] = 0
    resisted = torch.zeros_like(broken)
    level = torch.full_like(broken, 2**LEVELS)
    for _ in range(LEVELS + 1):
        undecided = (broken != 0) & (
            (broken == RESISTED) & (resisted == 0) | (broken - resisted > 1) & (broken != RESISTED)
        )
        for size in sorted(set(level[undecided].tolist())):
            rows = (undecided & (level == size)).nonzero().flatten()
            found = _broken(search, victim, size, images[rows], labels[rows], calls)
            broken[rows[found]], resisted[rows[~found]] = size, size
        level = (broken + resisted) // 2
    return [int(each) for each in broken.tolist()]


def _broken(search: MinimalBudget, victim: Victim, level: int, images: Tensor, labels: Tensor, calls: Calls) -> Tensor:
    """Returns which images the attack breaks at a level of the budget, ``(N,)`` bool."""
    threat = ThreatModel(search.threat.norm, search.threat.epsilon * level / 2**LEVELS)
    step = search.step
    if "step_size" in step.kind.settings:
        settings = {**dict(step.settings), "step_size": threat.epsilon / 4}
        step = AttackStep.of(step.name, restarts=step.restarts, **settings)
    with counted(victim.model) as asked:
        found = craft(step, victim.model, images, labels, threat, seed=search.seed)
    calls.forward += asked.forward
    calls.gradient += asked.gradient
    return outcome(victim.model, found, labels)[0]
