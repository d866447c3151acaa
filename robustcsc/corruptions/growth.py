"""Growth of chosen pixels over the candidates they are connected with: the last step of Canny's edges.

How many steps that takes depends on the images. On a CPU pixels grow until they stand. Elsewhere the host would wait
for each answer, so there the number of steps is that of the worst case, and regions are joined, which takes few:
each region joins the neighbour of the smallest number, so that at least half of those with a neighbour disappear in
a round. Source: O. Boruvka's algorithm for spanning forests, 1926.
"""

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def grow(chosen: Tensor, candidates: Tensor) -> Tensor:
    """Returns all candidates connected with a chosen one over candidates, sideways or diagonally.

    Both are (H, W, N) bool, the planes of N images; chosen pixels are candidates.
    """
    return grow_until_standing(chosen, candidates) if chosen.device.type == "cpu" else join_regions(chosen, candidates)


def grow_until_standing(chosen: Tensor, candidates: Tensor) -> Tensor:
    """As `grow`, by one pixel at a time."""
    while True:
        tall = chosen.clone()
        tall[1:] |= chosen[:-1]
        tall[:-1] |= chosen[1:]
        grown = tall.clone()
        grown[:, 1:] |= tall[:, :-1]
        grown[:, :-1] |= tall[:, 1:]
        grown &= candidates
        if torch.equal(grown, chosen):
            return grown
        chosen = grown


def join_regions(chosen: Tensor, candidates: Tensor) -> Tensor:
    """As `grow`, in a number of steps that depends on the sizes alone; a region has the number of one of its pixels."""
    height, width, _ = chosen.shape
    nothing = chosen.numel()
    own = torch.arange(nothing, device=chosen.device)
    region = own
    for jumps in range((height * width - 1).bit_length(), 0, -1):  # each round leaves at most half of the regions
        least = _least_neighbour(region.view_as(chosen), candidates, nothing)
        onwards = torch.full_like(own, nothing).scatter_reduce_(0, region, least.view(-1), "amin")
        onwards = torch.where(onwards == nothing, own, onwards)
        mutual = onwards.gather(0, onwards) == own  # of two that chose each other, the smaller stays
        onwards = torch.where(mutual & (own < onwards), own, onwards)
        for _ in range(jumps):
            onwards = onwards.gather(0, onwards)
        region = onwards.gather(0, region)
    reached = torch.zeros_like(own).scatter_reduce_(0, region, chosen.reshape(-1).to(torch.int64), "amax")
    return reached.gather(0, region).view_as(chosen).to(torch.bool)


def _least_neighbour(region: Tensor, candidates: Tensor, nothing: int) -> Tensor:
    """The smallest number of another region beside each candidate, (H, W, N); `nothing` where there is none."""
    shown = torch.where(candidates, region, nothing)
    near = neighbours(F.pad(shown, (0, 0, 1, 1, 1, 1), value=nothing))
    least = torch.full_like(shown, nothing)
    for move in product((-1, 0, 1), repeat=2):
        other = near(*move)
        least = torch.minimum(least, torch.where(other == shown, nothing, other))
    return torch.where(candidates, least, nothing)


def neighbours(padded: Tensor) -> Callable[[int, int], Tensor]:
    """The planes moved by -1, 0 or 1 rows and columns, as views of (H + 2, W + 2, N)."""
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    return lambda row, column: padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
