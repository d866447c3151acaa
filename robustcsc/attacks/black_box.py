"""Attacks that use logits only: Square, through torchattacks.

Workaround for torchattacks 3.5.1, in addition to those of `guard`: if a square exceeds a side of the image, or for L2
if a side is below five pixels, ``Square`` fails or draws positions outside the image. Here this is an `AttackError`.
"""

from __future__ import annotations

import math

import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

#: The settings of AutoAttack: queries, and the share of an image that the first squares cover.
DEFAULT_QUERIES, FIRST_SHARE = 5000, 0.8


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    queries: int = DEFAULT_QUERIES,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` found by random search with squares; no gradient is taken.

    Misclassified images are not queried again. In each step all images of a batch get squares at the same place and of
    the same colour, so results depend on the batches.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K); it need not be differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        queries: Largest number of forward passes per image and restart, at least 1.
        restarts: Random searches, at least 1; every image keeps its worst case.
        seed: Seed of the search, at least 0.

    Raises:
        AttackError: Images, labels or settings are invalid, or the images are too small or too narrow.

    Source:
        Andriushchenko, Croce, Flammarion & Hein, "Square Attack: a query-efficient black-box adversarial attack via
        random search", ECCV 2020.
    """
    if queries < 1:
        raise AttackError(f"queries must be at least 1, not {queries}.")
    _check_sides(images, threat)

    def attempt(attacked: Attacked, start: Tensor, targets: Tensor) -> Tensor:
        search = torchattacks.Square(
            attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, n_queries=queries, p_init=FIRST_SHARE
        )
        search.init_hyperparam(start)
        found: Tensor = search.attack_single_run(start, targets)[1]
        return found

    return strongest(model, images, labels, threat, attempt, restarts=restarts, seed=seed, gradients=False)


def _check_sides(images: Tensor, threat: ThreatModel) -> None:
    if images.ndim != 4:
        return  # `strongest` raises the error for this shape
    height, width = images.shape[2:]
    side = round(math.sqrt(FIRST_SHARE * height * width))
    side += (side + 1) % 2 if threat.norm == "l2" else 0  # odd squares
    if side > min(height, width) or (threat.norm == "l2" and min(height, width) < 5):
        raise AttackError(
            f"Square needs images of at least 5 pixels a side that are about as wide as high, not {height}x{width}."
        )
