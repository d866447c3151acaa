"""Non-negative elastic-net codes from correlations and a Gram matrix, with an implicit or an unrolled gradient.

Sources: Sun, Nasrabadi and Tran, "Supervised Deep Sparse Coding Networks", ICIP 2018, and their released code for the
number of steps, the start and the gradient; Beck and Teboulle, SIAM J. Imaging Sci. 2009, for FISTA.

A code of y over D is ``argmin_{z >= 0} 1/2 ||y - D z||^2 + lambda 1'z + lambda_2 / 2 ||z||^2``. With the Gram matrix
``G = D'D + lambda_2 I`` and ``b = D'y - lambda`` this is ``argmin_{z >= 0} 1/2 z'G z - b'z``: neither y nor D is needed
any more, and all that follows is products of all codes with one small matrix.

With g the gradient at z and A its active set, the implicit gradient of b is beta, ``beta_A = G_AA^-1 g_A`` and 0
elsewhere, and that of G is ``-beta z'``. The systems of all codes are solved at once by conjugate gradients, with G
masked by the active sets: a step is one product, and no code has a matrix of its own in memory.

Differences from the sources: the step size is 1 over an upper bound of the largest eigenvalue that is at most 5 % above
it, because an exact one would make the host wait for a GPU; the authors factorise the matrix of every code, with 1e-6
on its diagonal, here relative to the diagonal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from robustcsc.layers.gradients import Gradient
from robustcsc.layers.solvers import extrapolation_weights

#: Added to the diagonal in the implicit gradient, in units of the diagonal.
RIDGE = {torch.float32: 1e-6, torch.float64: 1e-10}
#: Conjugate gradients stop at this norm of the residual relative to the gradient (on a CPU: a GPU would be waited for).
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
#: Largest number of steps of conjugate gradients.
CG_STEPS = 100
#: Numbers in the codes that a CPU works on at once, few enough for its caches.
CPU_NUMBERS = 1 << 16


def nonnegative_code(linear: Tensor, gram: Tensor, num_steps: int, gradient: Gradient = "implicit") -> Tensor:
    """Returns ``argmin_{z >= 0} 1/2 z'G z - b'z`` by FISTA from 0, for every column of every image.

    Args:
        linear: b, ``(N, k, P)``, float32 or float64.
        gram: G, ``(k, k)``, positive definite.
        num_steps: Number of steps, at least 1.
        gradient: ``"implicit"``, that of the solution, or ``"unrolled"``, that of the steps.

    Returns:
        ``(N, k, P)``.

    Examples:
        >>> nonnegative_code(torch.tensor([[[4.0], [-1.0]]]), 2 * torch.eye(2), 50).flatten()
        tensor([2., 0.])
    """
    if gradient == "unrolled":  # computed again in the backward pass: the steps of all layers would not fit in memory
        unrolled: Tensor = checkpoint(_fista, linear, gram, num_steps, use_reentrant=False)
        return unrolled
    codes: Tensor = _ImplicitCode.apply(linear, gram, num_steps)
    return codes


def largest_eigenvalue_bound(gram: Tensor) -> Tensor:
    """Returns a bound of the largest eigenvalue of ``(k, k)``, 0-d, at most ``k^(1/128)`` times as large.

    It is ``||G^64||_F^(1/64)``, from six products and without anything that is read back. It is 1 for a zero matrix.
    """
    norm = torch.linalg.matrix_norm(gram)
    bound, power = torch.where(norm > 0, norm, 1), gram / torch.where(norm > 0, norm, 1)
    for exponent in (8, 64):
        power = torch.linalg.matrix_power(power, 8)
        norm = torch.linalg.matrix_norm(power)
        norm = torch.where(norm > 0, norm, 1)
        bound, power = bound * norm ** (1 / exponent), power / norm
    return bound


def _fista(linear: Tensor, gram: Tensor, num_steps: int) -> Tensor:
    scale = 1 / largest_eigenvalue_bound(gram.detach())
    step = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) - scale * gram
    drive = scale * linear
    step = step.expand(len(drive), *step.shape)
    codes = previous = drive.relu()
    for weight in extrapolation_weights("fista", num_steps)[1:]:
        point = torch.lerp(previous, codes, 1 + weight) if weight else codes
        previous, codes = codes, torch.baddbmm(drive, step, point).relu_()
    return codes


def active_solution(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Returns beta of every code: ``G_AA^-1 g_A`` on its active set A, else 0, by conjugate gradients.

    The matrix is first scaled to a unit diagonal.

    Args:
        active: Which atoms are active, bool, ``(N, k, P)``.
        gradient: g, ``(N, k, P)``.
        gram: G, ``(k, k)``, positive definite on every active set.

    Returns:
        ``(N, k, P)``.
    """
    tiny = torch.finfo(gram.dtype).tiny
    scale = gram.diagonal().clamp_min(tiny).rsqrt()
    matrix = scale[:, None] * gram * scale
    matrix.diagonal().add_(RIDGE[gram.dtype])
    matrix = matrix.expand(len(gradient), *matrix.shape)
    mask = active.to(gradient.dtype)
    left = gradient * scale[:, None] * mask  # of the right-hand side, what beta does not explain yet
    direction, energy = left, left.square().sum(1, keepdim=True)
    enough = TOLERANCE[gram.dtype] ** 2 * energy
    beta, left = torch.zeros_like(left), left.clone()
    for _ in range(CG_STEPS):
        if gradient.device.type == "cpu" and not bool((energy > enough).any()):
            break
        product = torch.bmm(matrix, direction).mul_(mask)
        length = energy / (direction * product).sum(1, keepdim=True).clamp_min_(tiny)
        beta.addcmul_(length, direction)
        left.addcmul_(length, product, value=-1)
        before, energy = energy, left.square().sum(1, keepdim=True)
        direction = torch.addcmul(left, energy / before.clamp_min(tiny), direction)
    return beta.mul_(scale[:, None])


def _images_at_once(codes: Tensor) -> int:
    """Returns how many images to work on at once."""
    return max(1, CPU_NUMBERS // codes[0].numel()) if codes.device.type == "cpu" and len(codes) else len(codes) or 1


class _ImplicitCode(torch.autograd.Function):
    """The codes, with the gradient of the exact solution."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, gram: Tensor, num_steps: int) -> Tensor:
        codes = torch.cat([_fista(part, gram, num_steps) for part in torch.split(linear, _images_at_once(linear))])
        ctx.save_for_backward(codes, gram)
        return codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        codes, gram = ctx.saved_tensors
        many = _images_at_once(codes)
        parts = zip(torch.split(codes, many), torch.split(gradient, many), strict=True)
        beta = torch.cat([active_solution(z > 0, g, gram) for z, g in parts])
        of_gram = -torch.einsum("nip,njp->ij", beta, codes) if ctx.needs_input_grad[1] else None
        return beta, of_gram, None
