"""The AutoAttack of torchattacks, under the name of a port, because it is not the original.

It differs from the attack of the paper (Croce & Hein, ICML 2020): 10 steps of APGD-CE, targeted APGD and targeted FAB
instead of 100, L2 steps of the targeted APGD from the step size of the batch's first image, and the time of day for a
seed (here: `seed`). An accuracy under it is not comparable with leaderboards. What `guard` lists holds here, too.
"""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.attacks.losses import require_classes
from robustcsc.measurements.threats import ThreatModel


def autoattack_port(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int = 0) -> Tensor:
    """Returns images within `threat`: APGD-CE, targeted APGD, targeted FAB and Square, each on what is left.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable, at least four classes.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        seed: Seed of all four, at least 0.

    Raises:
        AttackError: Images, labels or settings make no sense, there are too few classes, or no finite gradient reaches
            the images.
    """

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            logits = attacked(start[:1])
        require_classes("The AutoAttack port", logits, 4)
        # Its parts seed the generators of every GPU.
        gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(gpus):
            search = torchattacks.AutoAttack(
                attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, n_classes=logits.shape[1], seed=seed
            )
            found: Tensor = search(start, targets)
        return found

    return strongest(model, images, labels, threat, attempt, seed=seed, scaled=False)
