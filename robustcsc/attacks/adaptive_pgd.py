"""APGD: projected gradient descent with an adaptive step size, through torchattacks.

Workarounds for torchattacks 3.5.1, in addition to those of `guard`:

- ``APGD`` returns the clean image where it does not succeed. Here it returns the image of highest loss, for transfer
  tests.
- ``APGD`` skips images that are misclassified already. Here all are attacked, as in `gradient.pgd`.
- Its DLR loss raises an index error for fewer than three classes, the targeted one for fewer than four. Here an
  `AttackError` says so.
- ``APGDT`` uses the L2 step size of the batch's first image for all images, and nine target classes whatever the number
  of classes. Here the targeted attack is ``APGD``, whose step sizes are per image, with the targeted loss.
"""

from __future__ import annotations

from functools import partial

import torch
import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.attacks.losses import LOSSES, LossAsLogits, require_classes, targeted_dlr
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

#: The settings of AutoAttack.
DEFAULT_STEPS, DEFAULT_TARGETS = 100, 9


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = DEFAULT_STEPS,
    loss: str = "ce",
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` that raise the loss of `model`: Auto-PGD from a random start.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        steps: Gradient steps of each restart, at least 1.
        loss: ``"ce"``, ``"dlr"`` (at least three classes) or ``"nll"``.
        restarts: Random starts; every image keeps its worst case.
        seed: Seed of the random starts, at least 0.

    Raises:
        AttackError: Images, labels or settings are invalid, the model has too few classes for the loss, or no finite
            gradient reaches the images.

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", ICML 2020.
    """
    _check_steps(steps)

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        seen = attacked if loss != "nll" else LossAsLogits(attacked, targets, LOSSES["nll"]).eval()
        search = torchattacks.APGD(
            seen, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps, loss="dlr" if loss == "dlr" else "ce"
        )
        if loss == "dlr":
            search.dlr_loss = LOSSES["dlr"]  # raises an AttackError for two classes
        best, right, _, broken = search.attack_single_run(start, targets)
        return torch.where(right.bool().view(-1, 1, 1, 1), best, broken)

    return strongest(model, images, labels, threat, attempt, restarts=restarts, seed=seed)


def apgd_targeted(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = DEFAULT_STEPS,
    targets: int = DEFAULT_TARGETS,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat`: Auto-PGD towards one class after the other, with the targeted DLR loss.

    The target classes of an image are those of its largest clean logits, the most likely first; it is attacked until it
    is misclassified.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        steps: Gradient steps towards each class, at least 1.
        targets: Largest number of target classes, at least 1.
        restarts: Random starts; every image keeps its worst case.
        seed: Seed of the random starts, at least 0.

    Raises:
        AttackError: In the cases of `apgd`; the model must have at least four classes.

    Source:
        Croce & Hein, ICML 2020, section 4.
    """
    _check_steps(steps)
    if targets < 1:
        raise AttackError(f"targets must be at least 1, not {targets}.")

    def attempt(attacked: Attacked, start: Tensor, own: Tensor) -> Tensor:
        with torch.no_grad():
            logits = attacked(start)
        require_classes("The targeted DLR loss", logits, 4)
        others = logits.scatter(1, own[:, None], float("-inf")).argsort(dim=1, descending=True)
        found = start.clone()
        remaining = torch.arange(len(start), device=start.device)
        for rank in range(min(targets, logits.shape[1] - 1)):
            search = torchattacks.APGD(
                attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps, loss="dlr"
            )
            search.dlr_loss = partial(targeted_dlr, targets=others[remaining, rank])
            best, right, _, broken = search.attack_single_run(start[remaining], own[remaining])
            found[remaining] = torch.where(right.bool().view(-1, 1, 1, 1), best, broken)
            remaining = remaining[right.bool()]
            if len(remaining) == 0:
                break
        return found

    return strongest(model, images, labels, threat, attempt, restarts=restarts, seed=seed)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise AttackError(f"steps must be at least 1, not {steps}.")
