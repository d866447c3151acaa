"""Projected gradient descent and the fast gradient method, through torchattacks.

Workarounds for torchattacks 3.5.1, in addition to those of `guard`:

- ``PGDL2`` reshapes gradients with ``view``, which fails for models in the ``channels_last`` memory format. Here
  gradients are contiguous.
- ``PGDL2`` adds 1e-10 to the gradient's norm before dividing by it. Confidently classified images then hardly move, the
  less the larger the batch. Here gradients are scaled per image first.
- ``PGDL2`` divides 0 by 0 for a budget of 0. Here such images are returned unchanged.
- ``PGD`` and ``PGDL2`` raise the cross-entropy only. Here any loss can take its place (`losses.LossAsLogits`).

Differences from the paper: the SDNet paper (Dai et al., NeurIPS 2022, section 4.3) gives only the budgets of its PGD
attacks (`threat.DEFAULT_EPSILON`). Steps and step sizes here are the usual ones for these budgets.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from robustcsc.attacks.guard import Attacked, Search, check_counts, strongest
from robustcsc.attacks.losses import LOSSES, LossAsLogits
from robustcsc.errors import AttackError, UnknownNameError
from robustcsc.measurements.threats import Norm, ThreatModel, check_step_size

#: Step sizes as shares of the budget: 2/255 of 8/255 (linf), 0.1 of 0.5 (l2).
DEFAULT_STEP_SIZE: dict[Norm, float] = {"linf": 1 / 4, "l2": 1 / 5}


# Model and images, the threat, and the settings that papers state of PGD one by one.
def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    loss: str = "ce",
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` that raise the loss of `model`: untargeted PGD.

    Each step moves along the sign (linf) or the direction (l2) of the gradient and projects back:
    ``x <- project(x + step_size * g)``.

    All images are attacked, including those that are misclassified already, so that the result can be used for a
    transfer test on another model. The random start of an image depends on `seed` and on its place in the batch. See
    `guard.strongest` for what restarts keep and what is restored afterwards.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget; budget 0 returns the images unchanged.
        steps: Gradient steps of each restart, at least 1.
        step_size: In pixel units of [0, 1], positive; by default a quarter of the budget for linf and a fifth for l2.
        restarts: Attacks from different random starts, at least 1; every image keeps its worst case.
        random_start: Whether to start at a random point of the ball instead of the clean image.
        loss: ``"ce"`` (cross-entropy), ``"dlr"`` (difference of logits ratio) or ``"nll"`` (of log-probabilities).
        seed: Seed of the random starts, at least 0.

    Returns:
        (N, C, H, W) of the images' dtype and device, inside the ball and [0, 1] exactly.

    Raises:
        AttackError: Images, labels or settings are invalid, the model does not return logits (N, K), or no finite
            gradient reaches the images.
        UnknownNameError: The loss is unknown.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Examples:
        >>> import robustcsc as rc
        >>> model, batch = rc.open("sdnet-digits").trained.model, next(rc.load("digits", split="test").batches(50))
        >>> attacked = rc.pgd(model, batch.images, batch.labels, rc.ThreatModel("linf", 8 / 255), steps=5)
        >>> [int((model(images).argmax(1) == batch.labels).sum()) for images in (batch.images, attacked)]
        [50, 47]
        >>> f"{255 * (attacked - batch.images).abs().max():.2f}"
        '8.00'
    """
    if restarts > 1 and not random_start:
        raise AttackError("Restarts without a random start are all the same: use one restart, or random starts.")
    search = pgd_search(threat, steps=steps, step_size=step_size, random_start=random_start, loss=loss)
    check_step_size(step_size, threat)
    return strongest(model, images, labels, threat, search, restarts=restarts, seed=seed)


def pgd_search(
    threat: ThreatModel, *, steps: int, loss: str, step_size: float | None = None, random_start: bool = True
) -> Search:
    """Returns what `pgd` does in each restart.

    Raises:
        AttackError: A setting is invalid.
        UnknownNameError: The loss is unknown.
    """
    import torchattacks  # only here: it imports much of SciPy, and a sweep needs none of it

    if step_size is None:
        step_size = DEFAULT_STEP_SIZE[threat.norm] * threat.epsilon or 1.0  # with a budget of 0 nothing moves anyway
    check_counts(steps=steps)
    if not (math.isfinite(step_size) and step_size > 0):
        raise AttackError(f"step_size must be a positive number, not {step_size}.")
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    algorithm = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[threat.norm]

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        seen = attacked if loss == "ce" else LossAsLogits(attacked, labels, LOSSES[loss]).eval()
        search = algorithm(seen, eps=threat.epsilon, alpha=step_size, steps=steps, random_start=random_start)
        found: Tensor = search(start, labels)
        return found

    return Search(attempt)


def fgsm(threat: ThreatModel) -> Search:
    """Returns one gradient step of the length of the budget, from the clean images.

    This is the fast gradient sign method for linf, and the fast gradient method for l2.

    Source:
        Goodfellow, Shlens & Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
    """
    step_size = threat.epsilon or 1.0  # with a budget of 0 nothing moves anyway
    return pgd_search(threat, steps=1, loss="ce", step_size=step_size, random_start=False)
