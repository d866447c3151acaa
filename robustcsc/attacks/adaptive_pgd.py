"""APGD: projected gradient descent that halves its steps by itself, through torchattacks.

What is guarded beside what `guard` lists, and why (torchattacks 3.5.1):

- ``APGD`` returns the clean image where it did not succeed; here it is the version of highest loss, for transfer tests.
- ``APGD`` leaves images alone that are misclassified already; here all are attacked, as in `gradient.pgd`.
- Its DLR loss fails for fewer than three classes, and the targeted one for fewer than four, with an index error.
- ``APGDT`` takes every image's L2 step from the step size of the first image of the batch, and aims at nine classes
  however many there are. Here the targeted attack is ``APGD``, whose steps are per image, with the targeted loss.
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

#: What AutoAttack uses.
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
        AttackError: Images, labels or settings make no sense, the model has too few classes for the loss, or no finite
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
            search.dlr_loss = LOSSES["dlr"]  # refuses two classes with a sentence
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

    The classes an image is moved to are those of its largest logits when clean, from the likeliest on, as long as it is
    not broken.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        steps: Gradient steps towards each class, at least 1.
        targets: Classes that are tried at most, at least 1.
        restarts: Random starts; every image keeps its worst case.
        seed: Seed of the random starts, at least 0.

    Raises:
        AttackError: As `apgd`; at least four classes are needed.

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
