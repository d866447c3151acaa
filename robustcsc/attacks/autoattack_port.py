"""The AutoAttack of torchattacks, called a port because it differs from the original (Croce & Hein, ICML 2020).

APGD-CE, targeted APGD and targeted FAB take 10 steps instead of 100, the targeted APGD uses the L2 step size of the
batch's first image for all, and the seed is the time of day (here: `seed`). Accuracies under it are not comparable with
leaderboards. The workarounds of `guard` apply.
"""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.attacks.losses import require_classes
from robustcsc.measurements.threats import ThreatModel


def autoattack_port(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int = 0) -> Tensor:
    """Returns images within `threat`, by APGD-CE, targeted APGD, targeted FAB and Square.

    Each attack gets the images that those before it did not break.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable, at least four classes.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        seed: Seed of all four attacks, at least 0.

    Raises:
        AttackError: Images, labels or settings are invalid, the model has fewer than four classes, or no finite
            gradient reaches the images.
    """

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            logits = attacked(start[:1])
        require_classes("The AutoAttack port", logits, 4)
        # The four attacks seed the generators of every GPU.
        gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(gpus):
            search = torchattacks.AutoAttack(
                attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, n_classes=logits.shape[1], seed=seed
            )
            found: Tensor = search(start, targets)
        return found

    return strongest(model, images, labels, threat, attempt, seed=seed, scaled=False)
