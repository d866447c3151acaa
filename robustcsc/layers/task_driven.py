"""The elastic-net code of task-driven dictionary learning, with the gradient of the exact solution.

Source: Mairal, Bach and Ponce, "Task-Driven Dictionary Learning", IEEE TPAMI 2012; here as in Tirer and Giryes,
"Task-Driven Dictionary Learning Based on Convolutional Neural Network Features", EUSIPCO 2018, eq. 3, 4 and 12 and
Algorithm 1.

`ElasticNetCode` maps x to its elastic-net code alpha over a dictionary D whose atoms lie in the unit ball. Its gradient
is that of the solution, not of the iterations that found it. With g the gradient with respect to alpha, A the active
set and s its signs,

    beta_A = (D_A'D_A + lambda_2 I)^-1 g_A,     beta = 0 elsewhere,

the gradients are ``D beta`` for x, ``-D beta alpha' + (x - D alpha) beta'`` for D, and ``-s'beta_A`` for lambda_1.

Differences from the paper:
- The paper sets lambda_2 = 0, for which the inverse need not exist. The code is that of lambda_2 = 0, but the gradient
  uses at least `RIDGE`.
- The gradient for lambda_1 is ours: an attack can follow a lambda that was predicted from the image.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robustcsc.errors import RobustCSCError
from robustcsc.layers.elastic_net import GAP, elastic_net
from robustcsc.layers.lambdas import LambdaLayer
from robustcsc.layers.precision import without_autocast

#: Smallest lambda_2 in the gradient, above the rounding error of Gram matrices of unit atoms in that type.
RIDGE = {torch.float32: 1e-6, torch.float64: 1e-10}
#: Number of signals whose systems are solved at once, which bounds the memory.
CHUNK = 1024


def implicit_beta(codes: Tensor, gradient: Tensor, dictionary: Tensor, lam2: float) -> Tensor:
    """Returns beta of Algorithm 1 for every signal: ``(D_A'D_A + lam2 I)^-1 g_A`` on its active set A, else 0.

    The systems of a batch have different sizes; each is padded with the identity to the largest one. They are solved in
    float64 by Cholesky factorisation.

    Args:
        codes: alpha, ``(N, p)``; the active set is where it is not 0.
        gradient: g, ``(N, p)``.
        dictionary: D, ``(m, p)``.
        lam2: Positive.

    Returns:
        ``(N, p)`` in the type of `gradient`.
    """
    atoms = dictionary.double()
    gram = atoms.T @ atoms
    gram.diagonal().add_(lam2)
    chunks = zip(torch.split(codes, CHUNK), torch.split(gradient, CHUNK), strict=True)
    parts = [_solve_active(alpha != 0, slope, gram) for alpha, slope in chunks]
    return torch.cat(parts) if parts else torch.zeros_like(gradient)


def _solve_active(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    size = int(active.sum(1).max())
    if not size:
        return torch.zeros_like(gradient)
    inside, chosen = active.byte().topk(size, dim=1)  # the active atoms of each signal first
    inside = inside.double()
    systems = gram[chosen[:, :, None], chosen[:, None, :]] * (inside[:, :, None] * inside[:, None, :])
    systems.diagonal(dim1=1, dim2=2).add_(1 - inside)
    right = gradient.gather(1, chosen).double() * inside
    solved = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(systems))[:, :, 0]
    return torch.zeros_like(gradient).scatter_(1, chosen, solved.to(gradient.dtype))


class _ImplicitCode(torch.autograd.Function):
    """The elastic-net code and Algorithm 1's gradients, for one lambda per signal."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, dictionary: Tensor, lam: Tensor, lam2: float, gap: float) -> Tensor:
        codes = elastic_net(features, dictionary, lam, lam2, gap)
        ctx.save_for_backward(features, dictionary, codes)
        ctx.lam2 = lam2
        return codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, dictionary, codes = ctx.saved_tensors
        beta = implicit_beta(codes, gradient, dictionary, max(ctx.lam2, RIDGE[gradient.dtype]))
        for_features, for_dictionary, for_lam = ctx.needs_input_grad[:3]
        back = beta @ dictionary.T
        atoms = None
        if for_dictionary:
            atoms = (features - codes @ dictionary.T).T @ beta - back.T @ codes
        return (back if for_features else None, atoms, -(codes.sign() * beta).sum(1) if for_lam else None, None, None)


class ElasticNetCode(LambdaLayer):
    """Maps vectors to their exact elastic-net codes over a learned dictionary.

    Attributes:
        dictionary: D, ``(m, p)``: one atom per column, of norm at most 1.
        lam: The current lambda_1, above 0; see `LambdaLayer`.
        lam2: lambda_2.
        gap: The relative duality gap of the codes.

    Args:
        features: Length m of the vectors.
        atoms: Number p of atoms.
        lam: lambda_1, above 0.
        lam2: lambda_2, at least 0.
        gap: Largest duality gap of a code, relative to ``1/2 ||x||^2``, from `GAP` to below 1. A larger one saves time;
            the gradient is that of the exact code as long as the active set is the right one.

    Raises:
        ValueError: If a size is below 1, `lam` not above 0 (also when assigned), `lam2` negative or `gap` out of range.
    """

    kind: ClassVar[str] = "task-driven"
    zero_lam: ClassVar[bool] = False

    def __init__(self, features: int, atoms: int, *, lam: float, lam2: float = 0.0, gap: float = GAP) -> None:
        super().__init__(lam)
        if features < 1 or atoms < 1 or not 0 <= lam2 < float("inf"):
            raise ValueError(
                f"features and atoms must be at least 1 and lam2 at least 0, got {features}, {atoms} and {lam2}"
            )
        if not GAP <= gap < 1:
            raise ValueError(f"gap must be from {GAP:g} to below 1, got {gap:g}")
        self.lam2 = float(lam2)
        self.gap = float(gap)
        self.dictionary = nn.Parameter(nn.functional.normalize(torch.randn(features, atoms), dim=0))

    def extra_repr(self) -> str:
        """Shows the sizes, the training lambda and lambda_2."""
        features, atoms = self.dictionary.shape
        return f"{features}, {atoms}, lam0={self.lam0:g}, lam2={self.lam2:g}"

    def forward(self, features: Tensor) -> Tensor:
        """Returns the codes ``(N, p)`` of `features` ``(N, m)`` at the current lambda, in float32 or float64.

        Raises:
            RobustCSCError: If the features are not finite, lambda is not above 0, or an atom is zero.
        """
        dictionary = self.dictionary
        if features.is_meta:  # shapes without values
            return features.new_empty(len(features), dictionary.shape[1])
        features = features.to(dictionary.dtype)
        lam = self.lam.to(dictionary.dtype).expand(len(features))
        self._check(features, lam)
        with without_autocast(features.device):
            codes: Tensor = _ImplicitCode.apply(features, dictionary, lam, self.lam2, self.gap)
        return codes

    def _check(self, features: Tensor, lam: Tensor) -> None:
        if not bool(torch.isfinite(features).all()):
            raise RobustCSCError(
                "The features to code are not all finite: check the images for NaN, or lower the learning rate."
            )
        if not bool((lam > 0).all()):
            raise RobustCSCError(
                f"An elastic-net code needs a lambda above 0, not {float(lam.min()):g}: choose another one."
            )
        if not bool(self.dictionary.any(0).all()):
            first = int((~self.dictionary.any(0)).nonzero()[0])
            raise RobustCSCError(
                f"Atom {first} of the dictionary is zero, so no signal can use it: initialise the dictionary again."
            )

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns ``D alpha`` of the codes ``(N, p)``, of this shape ``(N, m)``."""
        return codes @ self.dictionary.T

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Projects every atom onto the unit ball, in place (eq. 4)."""
        self.dictionary.div_(self.dictionary.norm(dim=0).clamp_min(1))
