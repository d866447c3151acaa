"""Projected gradient descent and its single step, through torchattacks.

What is guarded beside what `guard` lists, and why (torchattacks 3.5.1):

- ``PGDL2`` reshapes gradients with ``view``, which fails for models in the ``channels_last`` memory format.
- ``PGDL2`` adds 1e-10 to the gradient's norm before dividing by it, so that confidently classified images hardly
  move, and the fewer the larger the batch. Here gradients are scaled per image first.
- ``PGDL2`` divides 0 by 0 for a budget of 0.
- Both know the cross-entropy only. Here any loss takes its place (`losses.LossAsLogits`).

Differences from the paper: the SDNet paper (Dai et al., NeurIPS 2022, section 4.3) names only the budgets of its PGD
attacks (`threat.DEFAULT_EPSILON`). Steps and step sizes here are the customary ones for these budgets.
"""

from __future__ import annotations

import math

import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import Attacked, strongest
from robustcsc.attacks.losses import LOSSES, LossAsLogits
from robustcsc.errors import AttackError, UnknownNameError
from robustcsc.measurements.threats import Norm, ThreatModel

#: As shares of the budget: 2/255 of 8/255, and 0.1 of 0.5.
DEFAULT_STEP_SIZE: dict[Norm, float] = {"linf": 1 / 4, "l2": 1 / 5}
DEFAULT_STEPS = 20


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = DEFAULT_STEPS,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` that raise the loss of `model`: untargeted PGD.

    Each step moves along the sign (linf) or the direction (l2) of the gradient and projects back:
    ``x <- project(x + step_size * g)``.

    All images are attacked, also those that are misclassified without an attack, so that the result can be used for a
    transfer test on another model. The random start of an image depends on `seed` and on its place in the batch. What
    is kept of several restarts, and what is restored afterwards: `guard.strongest`.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget; budget 0 returns the images unchanged.
        steps: Gradient steps of each restart, at least 1.
        step_size: In pixel units of [0, 1], positive; by default a quarter of the budget for linf and a fifth for l2.
        restarts: Number of attacks from different random starts, at least 1.
        random_start: Starts at a random point of the ball instead of the clean image.
        loss: ``"ce"`` (cross-entropy), ``"dlr"`` (difference of logits ratio) or ``"nll"`` (of log-probabilities).
        seed: Seed of the random starts, at least 0.

    Returns:
        (N, C, H, W) of the images' dtype and device, inside the ball and [0, 1] exactly.

    Raises:
        AttackError: Images, labels or settings make no sense, the model returns no logits (N, K), or no finite
            gradient reaches the images.
        UnknownNameError: The loss is unknown.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """
    if step_size is None:
        step_size = DEFAULT_STEP_SIZE[threat.norm] * threat.epsilon or 1.0  # with a budget of 0 nothing moves anyway
    if steps < 1:
        raise AttackError(f"steps must be at least 1, not {steps}.")
    if not (math.isfinite(step_size) and step_size > 0):
        raise AttackError(f"step_size must be a positive number, not {step_size}.")
    if restarts > 1 and not random_start:
        raise AttackError("Restarts without a random start would all be the same: use one, or random starts.")
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    algorithm = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[threat.norm]

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        seen = attacked if loss == "ce" else LossAsLogits(attacked, targets, LOSSES[loss]).eval()
        search = algorithm(seen, eps=threat.epsilon, alpha=step_size, steps=steps, random_start=random_start)
        found: Tensor = search(start, targets)
        return found

    return strongest(model, images, labels, threat, attempt, restarts=restarts, seed=seed)


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int = 0) -> Tensor:
    """Returns images one gradient step away: the fast gradient sign method, and for l2 the fast gradient method.

    One step of `pgd` from the clean image, as long as the budget.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        seed: Seed while the model runs; nothing here is random.

    Raises:
        AttackError: As `pgd`.

    Source:
        Goodfellow, Shlens & Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
    """
    step_size = threat.epsilon or 1.0  # with a budget of 0 nothing moves anyway
    return pgd(model, images, labels, threat, steps=1, step_size=step_size, random_start=False, seed=seed)
