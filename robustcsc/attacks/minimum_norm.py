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
- ``DeepFool`` runs image by image and returns NaN where the gradient is zero. Here it is `deepfool.deepfool`, one step
  at a time, with images clamped in between.
- ``FAB`` takes the gradients of all K classes in each step, whether or not an image needs them. That is not changed.
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
#: Settings of `carlini_wagner`; the last two are the first c, and its growth until an attempt succeeds.
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
    """Returns the images, changed where the fast adaptive boundary attack breaks one within `threat`.

    The first restart begins at the image itself, further ones at random points of half the ball.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        steps: Steps of each restart, at least 1; each takes K gradients.
        restarts: Starting points, at least 1; every image keeps its worst case.
        seed: Seed of the random starts, at least 0.

    Raises:
        AttackError: Images, labels or settings are invalid, or no finite gradient reaches the images.

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
    """Returns the images, changed where the L2 attack of Carlini & Wagner breaks one within `threat`.

    Minimises ``||x' - x||^2 + c max(z_y - max_{i != y} z_i, 0)`` over ``x' = (tanh(w) + 1) / 2`` with Adam. Every image
    has its own weight c, found by binary search: it falls after a success and rises after a failure.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: The norm l2, and the budget.
        steps: Steps for each c, at least 1.
        searches: Number of values of c, at least 1.
        rate: Learning rate of Adam, above 0.
        seed: Seed of a random model; the attack itself draws no random numbers.

    Raises:
        AttackError: Images, labels or settings are invalid, the norm is not l2, or no finite gradient reaches the
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
    """Returns the images, changed where DeepFool, clamped to [0, 1] after each step, breaks one within `threat`.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: The norm l2, and the budget.
        steps: Largest number of steps, at least 1.
        overshoot: Distance beyond the boundary relative to the distance to it, at least 0.
        seed: Seed of a random model; the attack itself draws no random numbers.

    Raises:
        AttackError: Images, labels or settings are invalid, the norm is not l2, or no finite gradient reaches the
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
    """CW with a weight per image, the exact margin, and no early stopping."""

    def __init__(self, model: nn.Module, weights: Tensor, steps: int, rate: float) -> None:
        super().__init__(model, c=1, kappa=0, steps=steps, lr=rate)
        self.weights = weights
        self.calls = 0

    def f(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Returns the weighted margins minus a growing constant: the cost never rises, so CW never stops early."""
        self.calls += 1
        return self.weights * margin(outputs, labels).clamp_min(0) - 1e12 * self.calls


def _check_l2(name: str, threat: ThreatModel) -> None:
    if threat.norm != "l2":
        raise AttackError(f"{name} supports l2 only, not {threat.norm}: choose another attack or norm.")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise AttackError(f"{name} must be at least 1, not {value}.")
