"""Attacks that search the smallest change that is misclassified: FAB, Carlini & Wagner, DeepFool.

They have no budget of their own. An image counts as broken at a budget if the change found is within it; otherwise the
clean image is returned. Images that are misclassified already are returned unchanged.

FAB and CW use torchattacks. Workarounds for its version 3.5.1, in addition to those of `guard`:

- ``CW`` computes the largest other logit as the largest product of logits and a mask, which is 0 if all are negative.
  Here the margin is exact.
- ``CW`` has one weight c for all images and no search for it. Here every image has its own, found by binary search.
- ``CW`` stops when the cost of the whole batch has risen, so an image's result depends on its batch. Here it takes all
  steps.
- ``CW`` cannot move pixels of exactly 0 and 1, where the inverse of tanh is infinite. Here they start `_MARGIN` inside.
- ``DeepFool`` runs image by image and returns NaN where the gradient is zero. Here it is that of `deepfool`, one step
  at a time, with images clamped in between.
- ``FAB`` takes the gradients of all K classes in each step, whether or not an image needs them. That is not changed.
"""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.deepfool import NUM_CLASSES, search_boundary
from robustcsc.attacks.guard import NORM_NAMES, Attacked, Search, check_counts
from robustcsc.attacks.losses import margin
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

_MARGIN = 1e-4
#: The first c of Carlini & Wagner's attack, and its growth until an attempt succeeds.
_FIRST_WEIGHT, _GROWTH = 1.0, 10.0


def fab(threat: ThreatModel, *, steps: int) -> Search:
    """Returns the fast adaptive boundary attack.

    The first restart begins at the image itself, further ones at random points of half the ball.

    Args:
        threat: Norm and budget.
        steps: Steps of each restart, at least 1; each takes K gradients.

    Raises:
        AttackError: The steps are below 1.

    Source:
        Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020.
    """
    check_counts(steps=steps)
    starts = 0

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        nonlocal starts
        search = torchattacks.FAB(attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps)
        found: Tensor = search.attack_single_run(start, labels, use_rand_start=starts > 0)
        starts += 1
        return found

    return Search(attempt, scaled=False, minimum_norm=True)


def carlini_wagner(threat: ThreatModel, *, steps: int, searches: int, rate: float) -> Search:
    """Returns the L2 attack of Carlini & Wagner.

    Minimises ``||x' - x||^2 + c max(z_y - max_{i != y} z_i, 0)`` over ``x' = (tanh(w) + 1) / 2`` with Adam. Every image
    has its own weight c, found by binary search: it falls after a success and rises after a failure.

    Args:
        threat: The norm l2, and the budget.
        steps: Steps for each c, at least 1.
        searches: Number of values of c, at least 1.
        rate: Learning rate of Adam, above 0.

    Raises:
        AttackError: A setting is invalid.

    Source:
        Carlini & Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, section VI-A.
    """
    check_counts(steps=steps, searches=searches)
    if not 0 < rate < float("inf"):
        raise AttackError(f"rate must be a positive number, not {rate}.")

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        best, shortest = start.clone(), torch.full((len(start),), float("inf"), device=start.device)
        weights = torch.full_like(shortest, _FIRST_WEIGHT)
        low, high = torch.zeros_like(weights), torch.full_like(weights, float("inf"))
        for _ in range(searches):
            found = _Weighted(attacked, weights, steps, rate)(start.clamp(_MARGIN, 1 - _MARGIN), labels)
            with torch.no_grad():
                broken = attacked(found).argmax(dim=1) != labels
            lengths = torch.linalg.vector_norm(found - start, dim=(1, 2, 3)).float()
            better = broken & (lengths < shortest)
            best = torch.where(better.view(-1, 1, 1, 1), found, best)
            shortest = torch.where(better, lengths, shortest)
            high, low = torch.where(broken, weights, high), torch.where(broken, low, weights)
            weights = torch.where(high.isfinite(), (low + high) / 2, weights * _GROWTH)
        return best

    return Search(attempt, scaled=False, minimum_norm=True)


def deepfool_within(threat: ThreatModel, *, steps: int, overshoot: float) -> Search:
    """Returns DeepFool with images clamped to [0, 1] after each step.

    Args:
        threat: The norm l2, and the budget.
        steps: Largest number of steps, at least 1.
        overshoot: Distance beyond the boundary relative to the distance to it, at least 0.

    Raises:
        AttackError: The steps are below 1.
    """
    check_counts(steps=steps)

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        found, remaining = start.clone(), torch.arange(len(start), device=start.device)
        for _ in range(steps):
            shown = found[remaining]
            way = search_boundary(
                attacked, shown, num_classes=NUM_CLASSES, overshoot=overshoot, max_steps=1, reselect=True
            )
            found[remaining] = (shown + way.perturbations).clamp(0, 1)
            with torch.no_grad():
                remaining = remaining[attacked(found[remaining]).argmax(dim=1) == labels[remaining]]
            if len(remaining) == 0:
                break
        return found

    return Search(attempt, scaled=False, minimum_norm=True)


class _Weighted(torchattacks.CW):  # type: ignore[misc]
    """CW with a weight per image, the exact margin, and no early stopping."""

    def __init__(self, model: nn.Module, weights: Tensor, steps: int, rate: float) -> None:
        super().__init__(model, c=1, kappa=0, steps=steps, lr=rate)
        self.weights = weights
        self.calls = 0

    def f(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the weighted margins minus a growing constant: the cost never rises, so CW never stops early."""
        self.calls += 1
        return self.weights * margin(outputs, labels).clamp_min(0) - 1e12 * self.calls
