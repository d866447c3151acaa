"""APGD, projected gradient descent with an adaptive step size, and AutoAttack, both through torchattacks.

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
from torch import Tensor

from robustcsc.attacks.guard import NORM_NAMES, Attacked, Search, check_counts
from robustcsc.attacks.losses import LOSSES, LossAsLogits, require_classes, targeted_dlr
from robustcsc.measurements.threats import ThreatModel


def apgd(threat: ThreatModel, *, steps: int, loss: str) -> Search:
    """Returns Auto-PGD from a random start, which raises a loss.

    Args:
        threat: Norm and budget.
        steps: Gradient steps of each restart, at least 1.
        loss: ``"ce"``, ``"dlr"`` (at least three classes) or ``"nll"``.

    Raises:
        AttackError: The steps are below 1.

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", ICML 2020.
    """
    check_counts(steps=steps)

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        seen = attacked if loss != "nll" else LossAsLogits(attacked, labels, LOSSES["nll"]).eval()
        search = torchattacks.APGD(
            seen, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps, loss="dlr" if loss == "dlr" else "ce"
        )
        if loss == "dlr":
            search.dlr_loss = LOSSES["dlr"]  # raises an AttackError for two classes
        best, right, _, broken = search.attack_single_run(start, labels)
        return torch.where(right.bool().view(-1, 1, 1, 1), best, broken)

    return Search(attempt)


def apgd_targeted(threat: ThreatModel, *, steps: int, targets: int) -> Search:
    """Returns Auto-PGD towards one class after the other, with the targeted DLR loss; for at least four classes.

    The target classes of an image are those of its largest clean logits, the most likely first; it is attacked until it
    is misclassified.

    Args:
        threat: Norm and budget.
        steps: Gradient steps towards each class, at least 1.
        targets: Largest number of target classes, at least 1.

    Raises:
        AttackError: A setting is below 1.

    Source:
        Croce & Hein, ICML 2020, section 4.
    """
    check_counts(steps=steps, targets=targets)

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            logits = attacked(start)
        require_classes("The targeted DLR loss", logits, 4)
        others = logits.scatter(1, labels[:, None], float("-inf")).argsort(dim=1, descending=True)
        found = start.clone()
        remaining = torch.arange(len(start), device=start.device)
        for rank in range(min(targets, logits.shape[1] - 1)):
            search = torchattacks.APGD(
                attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, steps=steps, loss="dlr"
            )
            search.dlr_loss = partial(targeted_dlr, targets=others[remaining, rank])
            best, right, _, broken = search.attack_single_run(start[remaining], labels[remaining])
            found[remaining] = torch.where(right.bool().view(-1, 1, 1, 1), best, broken)
            remaining = remaining[right.bool()]
            if len(remaining) == 0:
                break
        return found

    return Search(attempt)


def autoattack_port(threat: ThreatModel) -> Search:
    """Returns the AutoAttack of torchattacks: APGD-CE, targeted APGD, targeted FAB and Square in turn.

    Each attack gets the images that those before it did not break; for at least four classes. It is called a port
    because it differs from the original (Croce & Hein, ICML 2020): APGD-CE, targeted APGD and targeted FAB take 10
    steps instead of 100, the targeted APGD uses the L2 step size of the batch's first image for all, and the seed is
    the time of day (here: the seed of the attack). Accuracies under it are not comparable with leaderboards.
    """

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            logits = attacked(start[:1])
        require_classes("The AutoAttack port", logits, 4)
        # The four attacks seed the generators of every GPU.
        gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(gpus):
            search = torchattacks.AutoAttack(
                attacked,
                norm=NORM_NAMES[threat.norm],
                eps=threat.epsilon,
                n_classes=logits.shape[1],
                seed=torch.initial_seed(),
            )
            found: Tensor = search(start, labels)
        return found

    return Search(attempt, scaled=False)
