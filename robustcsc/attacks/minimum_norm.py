"""Attacks that seek the smallest change which is misclassified: FAB, Carlini & Wagner, DeepFool.

They know no budget. An image counts as broken at a budget only if the change that was found is within it; otherwise the
clean image is returned. Images that are misclassified already are left as they are.

FAB and CW go through torchattacks. What is guarded beside what `guard` lists, and why (torchattacks 3.5.1):

- ``CW`` takes the largest product of logits and a mask for the largest other logit, which is 0 where all are negative.
- ``CW`` has one weight c for all images and no search for it. Here every image has its own, by binary search.
- ``CW`` ends when the cost of the whole batch has risen, so that an image depends on its batch. Here it never ends
  early.
- ``CW`` cannot move pixels of exactly 0 and 1, where the arc tangent is infinite. Here they start `_MARGIN` inside.
- ``DeepFool`` takes one image after the other and yields NaN where there is no gradient; here it is our own
  `deepfool.deepfool`, which takes batches, one step at a time between which images are clamped.
- ``FAB`` takes its gradients of all classes whether or not an image needs them; that is its cost: K a step.
"""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.deepfool import MAX_STEPS, NUM_CLASSES, OVERSHOOT, deepfool
from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.attacks.losses import margin
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

_MARGIN = 1e-4
#: Steps and weights of `carlini_wagner`: its first c, and by how much c grows while nothing has succeeded.
CW_STEPS, CW_SEARCHES, CW_RATE, _FIRST_WEIGHT, _GROWTH = 100, 6, 0.05, 1.0, 10.0
FAB_STEPS = 100


def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = FAB_STEPS,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Returns the images that a change within `threat` breaks, changed: the fast adaptive boundary attack.

    Starts at the image itself, and at random points of half the ball for further restarts.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        steps: Steps of each restart, at least 1; each takes K gradients.
        restarts: Starts; every image keeps its worst case.
        seed: Seed of the random starts, at least 0.

    Raises:
        AttackError: Images, labels or settings make no sense, or no finite gradient reaches the images.

    Source:
        Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020.
    """
    _check_positive("steps", steps)
    starts = 0

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        nonlocal starts
        search = torchattacks.FAB(attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps)
        found: Tensor = search.attack_single_run(start, targets, use_rand_start=starts > 0)
        starts += 1
        return found

    return strongest(
        model, images, labels, threat, attempt, restarts=restarts, seed=seed, scaled=False, minimum_norm=True
    )


def carlini_wagner(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = CW_STEPS,
    searches: int = CW_SEARCHES,
    rate: float = CW_RATE,
    seed: int = 0,
) -> Tensor:
    """Returns the images that an L2 change within `threat` breaks, changed: the attack of Carlini & Wagner.

    Minimises ``||x' - x||^2 + c max(z_y - max_{i != y} z_i, 0)`` over ``x' = (tanh(w) + 1) / 2`` with Adam, for a c of
    every image that a binary search finds: it falls after a success and rises after a failure.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: The norm l2, and the budget.
        steps: Steps for each c, at least 1.
        searches: Values of c that are tried, at least 1.
        rate: Learning rate of Adam, above 0.
        seed: Seed while the model runs; nothing here is random.

    Raises:
        AttackError: Images, labels or settings make no sense, the norm is not l2, or no finite gradient reaches the
            images.

    Source:
        Carlini & Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, section VI-A.
    """
    _check_l2("Carlini & Wagner's attack", threat)
    _check_positive("steps", steps)
    _check_positive("searches", searches)
    if not 0 < rate < float("inf"):
        raise AttackError(f"rate must be a positive number, not {rate}.")

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        best, shortest = start.clone(), torch.full((len(start),), float("inf"), device=start.device)
        weights = torch.full_like(shortest, _FIRST_WEIGHT)
        low, high = torch.zeros_like(weights), torch.full_like(weights, float("inf"))
        for _ in range(searches):
            found = _Weighted(attacked, weights, steps, rate)(start.clamp(_MARGIN, 1 - _MARGIN), targets)
            with torch.no_grad():
                broken = attacked(found).argmax(dim=1) != targets
            lengths = torch.linalg.vector_norm(found - start, dim=(1, 2, 3)).float()
            better = broken & (lengths < shortest)
            best[better], shortest[better] = found[better], lengths[better]
            high, low = torch.where(broken, weights, high), torch.where(broken, low, weights)
            weights = torch.where(high.isfinite(), (low + high) / 2, weights * _GROWTH)
        return best

    return strongest(model, images, labels, threat, attempt, seed=seed, scaled=False, minimum_norm=True)


def deepfool_within(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = MAX_STEPS,
    overshoot: float = OVERSHOOT,
    seed: int = 0,
) -> Tensor:
    """Returns the images that an L2 change within `threat` breaks, changed: DeepFool, clamped to [0, 1] at each step.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: The norm l2, and the budget.
        steps: Steps at most, at least 1.
        overshoot: How far beyond the boundary, relative to the way there; at least 0.
        seed: Seed while the model runs; nothing here is random.

    Raises:
        AttackError: Images, labels or settings make no sense, the norm is not l2, or no finite gradient reaches the
            images.
    """
    _check_l2("DeepFool", threat)
    _check_positive("steps", steps)

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        found, remaining = start.clone(), torch.arange(len(start), device=start.device)
        for _ in range(steps):
            way = deepfool(attacked, found[remaining], num_classes=NUM_CLASSES, overshoot=overshoot, max_steps=1)
            found[remaining] = (found[remaining] + way.perturbations).clamp(0, 1)
            with torch.no_grad():
                remaining = remaining[attacked(found[remaining]).argmax(dim=1) == targets[remaining]]
            if len(remaining) == 0:
                break
        return found

    return strongest(model, images, labels, threat, attempt, seed=seed, scaled=False, minimum_norm=True)


class _Weighted(torchattacks.CW):  # type: ignore[misc]
    """CW with a weight per image, the exact margin, and no end before the last step."""

    def __init__(self, model: nn.Module, weights: Tensor, steps: int, rate: float) -> None:
        super().__init__(model, c=1, kappa=0, steps=steps, lr=rate)
        self.weights = weights
        self.calls = 0

    def f(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the weighted margins; a falling constant without gradient keeps the cost from ever rising."""
        self.calls += 1
        return self.weights * margin(outputs, labels).clamp_min(0) - 1e12 * self.calls


def _check_l2(name: str, threat: ThreatModel) -> None:
    if threat.norm != "l2":
        raise AttackError(f"{name} measures changes in l2 only, not in {threat.norm}: choose another attack or norm.")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise AttackError(f"{name} must be at least 1, not {value}.")
