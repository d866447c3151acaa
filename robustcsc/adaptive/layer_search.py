"""The best lambda of each layer, by coordinate descent: its cost is linear in the layers.

Source: ours; SDNet (Dai et al., NeurIPS 2022) has one lambda for all layers. The search starts at the best lambda of
all layers and tries, one layer after the other, every other lambda of the grid. A layer moves only if that is clearly
better, image by image: by more than `ERRORS` standard errors of the difference (McNemar), so that ties and noise leave
it where it is. A pass that moves no layer is the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

#: A lambda for each layer.
Lambdas = tuple[float, ...]
#: Passes over the layers, at most.
MOST_PASSES = 2
#: Standard errors by which a lambda must be better than the one before.
ERRORS = 2.0


def best_of_each(
    outcomes: Callable[[Sequence[Lambdas]], Tensor], grid: Sequence[float], start: Lambdas, right: Tensor
) -> tuple[Lambdas, Tensor]:
    """Returns the best lambda of each layer, and which images are classified as labelled at these, ``(N,)``.

    Args:
        outcomes: Returns which images are classified as labelled at each of several choices, ``(choices, N)``. It is
            called once per layer and pass, with at most ``len(grid)`` choices.
        grid: The lambdas to try.
        start: Where the search starts.
        right: Which images are classified as labelled there, ``(N,)``.
    """
    best = start
    for _ in range(MOST_PASSES):
        before = best
        for layer, current in enumerate(before):
            choices = [(*best[:layer], lam, *best[layer + 1 :]) for lam in grid if lam != current]
            tried = outcomes(choices)
            at = int(tried.sum(1).argmax())
            if _clearly_better(tried[at], right):
                best, right = choices[at], tried[at]
        if best == before:
            break
    return best, right


def _clearly_better(new: Tensor, old: Tensor) -> bool:
    won, lost = int((new & ~old).sum()), int((old & ~new).sum())
    return won - lost > ERRORS * math.sqrt(won + lost)
