"""Growth over connected pixels, step by step and in a fixed number of steps."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from robustcsc.corruptions.growth import grow, join_regions


def snake(side: int) -> Tensor:
    """One path of every other row, joined at alternating ends: the longest way there is between two pixels."""
    path = torch.zeros(side, side, dtype=torch.bool)
    path[::2] = True
    path[1::4, -1] = True
    path[3::4, 0] = True
    return path


def connected(chosen: Tensor, candidates: Tensor) -> Tensor:
    planes = []
    for plane in range(chosen.shape[2]):
        labels, _ = scipy.ndimage.label(candidates[..., plane].numpy(), np.ones((3, 3)))
        reached = np.unique(labels[chosen[..., plane].numpy()])
        planes.append(torch.from_numpy(np.isin(labels, reached) & (labels > 0)))
    return torch.stack(planes, 2)


@pytest.mark.parametrize("share", [0.2, 0.35, 0.45, 0.6, 1.0])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 40), (2, 3), (1, 9), (1, 1)])
def test_growth_reaches_what_is_connected(height: int, width: int, share: float) -> None:
    draws = torch.rand(height, width, 5, generator=torch.Generator().manual_seed(int(100 * share)))
    candidates, chosen = draws < share, draws < share / 10
    expected = connected(chosen, candidates)
    assert torch.equal(grow(chosen, candidates), expected)
    assert torch.equal(join_regions(chosen, candidates), expected)


@pytest.mark.parametrize("side", [32, 61])
def test_the_fixed_steps_reach_the_end_of_the_longest_way(side: int) -> None:
    candidates = torch.stack((snake(side), snake(side).T, snake(side).flip(0)), 2)
    chosen = torch.zeros_like(candidates)
    chosen[0, 0] = candidates[0, 0]
    assert torch.equal(join_regions(chosen, candidates), connected(chosen, candidates))
    assert connected(chosen, candidates)[..., 0].sum() == snake(side).sum()
