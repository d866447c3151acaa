"""Proximal gradient solvers for ``min_z f(z) + g(z)``, unrolled for a fixed number of steps.

`gradient` is the gradient of the smooth part f, `prox` the proximal operator of ``step_size * g``. Every step is
differentiable, so gradients through the solution are those of the unrolled iteration.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]
Prox = Callable[[Tensor], Tensor]
Solver = Callable[[Gradient, Prox, Tensor, float, int], Tensor]


def ista(gradient: Gradient, prox: Prox, start: Tensor, step_size: float, num_steps: int) -> Tensor:
    """Returns the iterate after `num_steps` proximal gradient steps.

    ``z <- prox(z - step_size * gradient(z))`` (Beck and Teboulle, SIAM J. Imaging Sci. 2009, eq. 3.1).

    Args:
        gradient: Gradient of the smooth part.
        prox: Proximal operator of `step_size` times the other part.
        start: First iterate, broadcastable to the shape of the gradient.
        step_size: At most 1 / (Lipschitz constant of the gradient).
        num_steps: Number of steps, at least 1.
    """
    codes = start
    for _ in range(num_steps):
        codes = prox(torch.sub(codes, gradient(codes), alpha=step_size))  # in one pass over the codes
    return codes


def fista(gradient: Gradient, prox: Prox, start: Tensor, step_size: float, num_steps: int) -> Tensor:
    """Returns the iterate after `num_steps` accelerated proximal gradient steps.

    SDNet eq. 6: the gradient is taken at the extrapolated point
    ``y = z + (m_l - 1) / m_{l+1} (z - z_previous)`` with ``m_1 = 1``, ``m_{l+1} = (1 + sqrt(1 + 4 m_l^2)) / 2``.
    The first extrapolation has weight 0, so two steps equal two steps of `ista`.

    Args: as `ista`.
    """
    codes = previous = start
    for weight in extrapolation_weights("fista", num_steps):
        extrapolated = torch.lerp(previous, codes, 1 + weight) if weight else codes
        previous, codes = codes, prox(torch.sub(extrapolated, gradient(extrapolated), alpha=step_size))
    return codes


def extrapolation_weights(solver: str, num_steps: int) -> list[float]:
    """Returns the extrapolation weight of each step: 0, 0, and then ``(m_l - 1) / m_{l+1}`` of `fista`; 0 of `ista`."""
    if solver == "ista":
        return [0.0] * num_steps
    weights, momentum = [0.0], 1.0
    for _ in range(num_steps - 1):
        following = (1 + sqrt(1 + 4 * momentum**2)) / 2
        weights.append((momentum - 1) / following)
        momentum = following
    return weights[:num_steps]


def growth(solver: str, decay: Tensor, num_steps: int) -> Tensor:
    """Returns the result of `num_steps` steps ``z <- z + (1 - decay z)`` of a solver from 0: 1, ``2 - decay``, ...

    A step explains the share `decay` of an average signal. Dividing the codes of such signals by the growth keeps them
    at the scale of the first step.
    """
    return SOLVERS[solver](lambda z: decay * z - 1, lambda z: z, torch.zeros_like(decay), 1.0, num_steps)


def check_unfolding(unfolding: int, solver: str) -> None:
    """Checks the number of steps after the first, and the name of the solver.

    Raises:
        ValueError: If `unfolding` is negative or `solver` unknown.
    """
    if unfolding < 0 or solver not in SOLVERS:
        raise ValueError(f"unfolding must be at least 0 and solver ista or fista, got {unfolding} and {solver!r}")


#: Solvers by name, as a layer's ``solver`` argument takes them.
SOLVERS: dict[str, Solver] = {"ista": ista, "fista": fista}
