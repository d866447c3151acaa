"""Attacks that only ask for logits: Square, through torchattacks.

What is guarded beside what `guard` lists, and why (torchattacks 3.5.1): with squares that are larger than a side of the
image, or L2 on images below five pixels, ``Square`` fails or draws positions outside; such images are refused.
"""

from __future__ import annotations

import math

import torchattacks
from torch import Tensor, nn

from robustcsc.attacks.guard import NORM_NAMES, Attacked, strongest
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

#: What AutoAttack uses: queries, and the share of an image that the first squares cover.
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

    An image that is misclassified is not asked about again. All images of a batch get squares of the same place and
    colour in a step, so results depend on how images are put into batches.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K); it need not be differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        queries: Forward passes an image may cost in each restart, at least 1.
        restarts: Random searches; every image keeps its worst case.
        seed: Seed of the search, at least 0.

    Raises:
        AttackError: Images, labels or settings make no sense, or the images are too small or too narrow.

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
        return  # refused with its own sentence
    height, width = images.shape[2:]
    side = round(math.sqrt(FIRST_SHARE * height * width))
    side += (side + 1) % 2 if threat.norm == "l2" else 0  # odd squares
    if side > min(height, width) or (threat.norm == "l2" and min(height, width) < 5):
        raise AttackError(
            f"Square needs images of at least 5 pixels that are about as wide as high, not {height}x{width}."
        )
