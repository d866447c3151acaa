"""Fixed points z = f(z) of a function of a batch of states, with the gradient of the solution or of the iterations.

Sources: Bai, Kolter and Koltun, "Deep Equilibrium Models", NeurIPS 2019, section 3.1, for the implicit gradient;
Kelley, "Iterative Methods for Linear and Nonlinear Equations", SIAM 1995, section 7.3, for Broyden's good method in the
form that keeps nothing but the steps; Walker and Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer.
Anal. 2011.

With z* = f(z*) and g the gradient with respect to z*, the gradient with respect to all that f depends on is that of
``y' f`` at z*, where y solves another fixed-point equation,

    y = J'y + g,    J the Jacobian of f at z*.

Every image has its own inner products, its own best state and its own end: a result does not depend on the other images
of the batch.

Differences from the published implementations:
- They stop when the whole batch has converged, and have no gradient outside of training, so that an attack on a model
  in evaluation mode sees none. Here there is a gradient whenever gradients are enabled.
- An iteration that stops early is no solution, and the implicit gradient is not that of what was computed. With
  ``gradient="unrolled"`` the solver's own iterations are differentiated: slow, and exact.
- The regularisation of Anderson's least squares is relative to the residuals, so that it fades with none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robustcsc.layers.gradients import GRADIENTS, Gradient

#: A function of states ``(N, n)`` that treats every row by itself.
StateMap = Callable[[Tensor], Tensor]
Solver = Literal["broyden", "anderson"]
#: How many of the last states Anderson's method mixes, as in the published code.
MEMORY = 6


class _Broyden:
    """Broyden's good method, from the inverse Jacobian -I of f(z) - z, without a line search."""

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, Tensor]] = []  # and their squared norms

    def __call__(self, state: Tensor, residual: Tensor) -> Tensor:
        step = residual
        for (earlier, square), (later, _) in pairwise(self.steps):
            step = step + later * _quotient(_dot(earlier, step), square)
        if self.steps:
            last, square = self.steps[-1]
            step = step * _quotient(square, square - _dot(last, step))
        self.steps.append((step, _dot(step, step)))
        return state + step


class _Anderson:
    """Anderson acceleration: the mean of the last f(z), weighted so that their residuals cancel best."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.directions: list[Tensor] = []

    def __call__(self, state: Tensor, residual: Tensor) -> Tensor:
        norm = _dot(residual, residual).clamp_min(torch.finfo(residual.dtype).tiny).sqrt()
        for kept, new in ((self.values, state + residual), (self.norms, norm), (self.directions, residual / norm)):
            kept.append(new)
            del kept[:-MEMORY]
        directions = torch.stack(self.directions, 1)
        # Mixed by y_i / norm_i, the residuals are y_i times their directions, and the weights have to sum to 1.
        gram = torch.stack([(directions * it[:, None]).sum(-1) for it in self.directions], 1)
        ridge = 10 * torch.finfo(gram.dtype).eps * torch.eye(len(self.norms), dtype=gram.dtype, device=gram.device)
        inverse = norm / torch.cat(self.norms, 1)
        mixed: Tensor = inverse * torch.linalg.solve_ex(gram + ridge, inverse[..., None]).result[..., 0]
        weights = mixed / mixed.sum(1, keepdim=True)
        return (weights[..., None] * torch.stack(self.values, 1)).sum(1)


_METHODS: dict[Solver, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {"broyden": _Broyden, "anderson": _Anderson}


def solve(function: StateMap, start: Tensor, *, solver: Solver = "broyden", num_steps: int, tolerance: float) -> Tensor:
    """Returns for every row the state with the smallest relative residual ``|f(z) - z| / |f(z)|`` among those tried.

    A row whose residual is within the tolerance is finished: more steps, or slower rows beside it, change nothing.

    Args:
        function: f, of states ``(N, n)``.
        start: The first states to try, ``(N, n)``.
        solver: ``"broyden"`` or ``"anderson"``.
        num_steps: How often f is evaluated, at least 1; less often on a CPU if all rows are finished.
        tolerance: Relative residual at which a row is finished.

    Examples:
        >>> import torch
        >>> solve(torch.cos, torch.zeros(1, 1), num_steps=10, tolerance=1e-6)
        tensor([[0.7391]])
    """
    propose = _METHODS[solver]()
    state = best = start
    lowest = start.new_full((len(start), 1), float("inf"))
    residual = start
    for count in range(num_steps):
        if count:
            state = propose(state, residual)
        value = function(state)
        residual = value - state
        with torch.no_grad():
            error = _quotient(_dot(residual, residual), _dot(value, value)).sqrt()
            better = (error < lowest) & (lowest > tolerance)
            lowest = torch.where(better, error, lowest)
        best = torch.where(better, state, best)
        # Elsewhere the host would wait for the device in every step.
        if start.device.type == "cpu" and bool((lowest <= tolerance).all()):
            break
    return best


def _dot(first: Tensor, second: Tensor) -> Tensor:
    # No matrix product: its bits depend on the number of rows, and autocast would round its factors.
    return (first * second).sum(-1, keepdim=True)


def _quotient(dividend: Tensor, divisor: Tensor) -> Tensor:
    return dividend / (divisor + (divisor == 0))  # a row at its fixed point has no more steps


class FixedPoint(nn.Module):
    """Maps a function of states and a first state to ``f(z*)``, the function at its fixed point.

    Attributes:
        gradient: ``"implicit"``, the gradient of the solution, or ``"unrolled"``, that of the iterations.
        warm: Whether f is only applied `warm_depth` times and differentiated through, as at the beginning of a
            training: a cell with fresh weights has no fixed point that a solver would find.

    Args:
        solver: ``"broyden"`` or ``"anderson"``.
        num_steps: As for `solve`.
        backward_steps: The same for y of the implicit gradient.
        tolerance: As for `solve`, also for y.
        gradient: As the attribute.
        warm_depth: How often f is applied while `warm`.

    Raises:
        ValueError: A number of steps is below 1, the tolerance negative, or a name unknown.

    Examples:
        >>> import torch
        >>> shift = torch.tensor([[1.0], [2.0]], requires_grad=True)
        >>> fixed = FixedPoint(tolerance=1e-6)(lambda z: z / 2 + shift, torch.zeros(2, 1))
        >>> fixed.sum().backward()
        >>> fixed.flatten().tolist(), shift.grad.flatten().tolist()
        ([2.0, 4.0], [2.0, 2.0])
    """

    def __init__(
        self,
        *,
        solver: Solver = "broyden",
        num_steps: int = 18,
        backward_steps: int = 20,
        tolerance: float = 1e-3,
        gradient: Gradient = "implicit",
        warm_depth: int = 10,
    ) -> None:
        super().__init__()
        if min(num_steps, backward_steps, warm_depth) < 1 or not tolerance >= 0:
            raise ValueError("all numbers of steps must be at least 1, and the tolerance at least 0")
        if solver not in _METHODS:
            raise ValueError(f"solver must be {' or '.join(_METHODS)}, got {solver!r}")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be {' or '.join(GRADIENTS)}, got {gradient!r}")
        self.solver, self.gradient, self.tolerance = solver, gradient, tolerance
        self.num_steps, self.backward_steps, self.warm_depth = num_steps, backward_steps, warm_depth
        self.warm = False

    def extra_repr(self) -> str:
        """Shows the solver and the gradient."""
        return (
            f"{self.num_steps} {self.solver} steps to {self.tolerance:g}, {self.gradient} gradient, "
            f"{self.backward_steps} steps back"
        )

    def forward(self, function: StateMap, start: Tensor) -> Tensor:
        """Returns ``f(z*)``, of the shape ``(N, n)`` of `start`."""
        if self.warm:
            for _ in range(self.warm_depth):
                start = function(start)
            return start
        implicit = self.gradient == "implicit" and torch.is_grad_enabled()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not implicit):
            state = solve(function, start, solver=self.solver, num_steps=self.num_steps, tolerance=self.tolerance)
        if not implicit:
            return function(state)
        point = state.detach().requires_grad_()
        value = function(point)

        def solve_back(gradient: Tensor) -> Tensor:
            return solve(
                lambda y: torch.autograd.grad(value, point, y, retain_graph=True)[0] + gradient,
                torch.zeros_like(gradient),
                solver=self.solver,
                num_steps=self.backward_steps,
                tolerance=self.tolerance,
            )

        result: Tensor = _Backward.apply(value, solve_back)
        return result


class _Backward(torch.autograd.Function):
    """The identity with a given backward pass."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, backward: StateMap) -> Tensor:
        ctx.through = backward
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.through(gradient), None


def set_warm(model: nn.Module, warm: bool) -> None:
    """Sets `FixedPoint.warm` of all fixed points in `model`."""
    for module in model.modules():
        if isinstance(module, FixedPoint):
            module.warm = warm
