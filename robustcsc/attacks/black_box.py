"""Attacks that use logits only: Square, through torchattacks.

Workaround for torchattacks 3.5.1, in addition to those of `guard`: if a square exceeds a side of the image, or for L2
if a side is below five pixels, ``Square`` fails or draws positions outside the image. Here this is an `AttackError`.
"""

from __future__ import annotations

import math

import torchattacks
from torch import Tensor

from robustcsc.attacks.guard import NORM_NAMES, Attacked, Search, check_counts
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel

#: The share of an image that the first squares cover, as in AutoAttack.
FIRST_SHARE = 0.8


def square(threat: ThreatModel, *, queries: int) -> Search:
    """Returns random search with squares; no gradient is taken.

    Misclassified images are not queried again. In each step all images of a batch get squares at the same place and of
    the same colour, so results depend on the batches.

    Args:
        threat: Norm and budget.
        queries: Largest number of forward passes per image and restart, at least 1.

    Raises:
        AttackError: The queries are below 1.

    Source:
        Andriushchenko, Croce, Flammarion & Hein, "Square Attack: a query-efficient black-box adversarial attack via
        random search", ECCV 2020.
    """
    check_counts(queries=queries)

    def attempt(attacked: Attacked, start: Tensor, labels: Tensor) -> Tensor:
        height, width = start.shape[2:]
        side = round(math.sqrt(FIRST_SHARE * height * width))
        side += (side + 1) % 2 if threat.norm == "l2" else 0  # odd squares
        if side > min(height, width) or (threat.norm == "l2" and min(height, width) < 5):
            raise AttackError(
                f"Square needs images of at least 5 pixels a side that are about as wide as high, not {height}x{width}."
            )
        search = torchattacks.Square(
            attacked, norm=NORM_NAMES[threat.norm], eps=threat.epsilon, n_queries=queries, p_init=FIRST_SHARE
        )
        search.init_hyperparam(start)
        found: Tensor = search.attack_single_run(start, labels)[1]
        return found

    return Search(attempt, gradients=False)
