"""The layer that codes every patch of an image on its own.

Sources: Sun, Nasrabadi and Tran, "Supervised Deep Sparse Coding Networks" (SCN), ICIP 2018, and their released code;
Mahdizadehaghdam, Panahi, Krim and Dai, "Deep Dictionary Learning" (DDL), IEEE TIP 2019, as Tang et al.,
arXiv:2002.07898, section 2.2, describe it.

With the patches y_p of an image, and one dictionary D for all of them, the output at position p is

    z_p = argmin_{z >= 0}  1/2 ||y_p - D z||^2 + lambda 1'z + lambda_2 / 2 ||z||^2.

A CSC layer codes the whole image at once, and overlapping atoms share the work; here every patch is explained alone.

| setting | SCN | after DDL |
|---|---|---|
| lambda | one number per layer, learned from 0, at least 0 | fixed |
| lambda_2 | 0 | above 0 |
| atoms | learned without a constraint | of unit norm |
| steps | 50 of FISTA from 0 | not given |

Differences from the papers:
- The released code of SCN keeps a lambda for every atom, but gives all of them the same gradient: one number per layer.
- In a learned layer `lam` is what is added to the learned lambda; at `lam0` it is as it was trained.
- Nothing is cut into patches: correlations of atoms with patches are a convolution, and so are their gradients.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.gradients import GRADIENTS, Gradient
from robustcsc.layers.lambdas import LambdaLayer
from robustcsc.layers.nonnegative import nonnegative_code
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.precision import without_autocast

#: Steps from which on the implicit gradient over an overcomplete dictionary may be used, if lambda_2 is above 0.
OVERCOMPLETE_STEPS = 200


class PatchCode2d(LambdaLayer):
    """Outputs the non-negative elastic-net code of every patch.

    Attributes:
        weight: D, one atom of the shape of a patch in a row, ``(atoms, C, k, k)``.
        learned: What was learned of lambda beyond `lam0`, 0-d; ``None`` if lambda is fixed.
        lam: The current lambda, or what is added to the learned one; see `LambdaLayer`.
        lam2: lambda_2.
        gradient: Whether gradients are those of the solution or of the steps; may be changed at any time.

    The positional arguments are those of ``nn.Conv2d``; `out_channels` is the number of atoms.

    Args:
        lam: Weight of the l1 norm, at least 0; where the learning starts, if it is learned.
        lam2: Weight of half the squared norm, at least 0.
        num_steps: Number of FISTA steps, at least 1.
        learn_lambda: Whether lambda is learned.
        unit_atoms: Whether `project_parameters` scales atoms to norm 1, so that lambdas of layers compare.
        gradient: ``"implicit"`` or ``"unrolled"``.

    Raises:
        ValueError: If a weight is negative, `num_steps` below 1, `gradient` unknown, or implicit where it is wrong: in
            an overcomplete dictionary without `lam2`, or with fewer than `OVERCOMPLETE_STEPS` steps.

    Examples:
        >>> layer = PatchCode2d(3, 16, 3, padding=1, lam=0.1)
        >>> layer(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 16, 32, 32])
    """

    kind: ClassVar[str] = "patch code"
    learned: nn.Parameter | None

    # The first five arguments are those of nn.Conv2d, so that one can stand in for the other.
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        lam: float = 0.0,
        lam2: float = 0.0,
        num_steps: int = 50,
        learn_lambda: bool = False,
        unit_atoms: bool = True,
        gradient: Gradient = "implicit",
    ) -> None:
        super().__init__(lam)
        if num_steps < 1 or not 0 <= lam2 < float("inf") or gradient not in GRADIENTS:
            raise ValueError(
                "num_steps must be at least 1, lam2 at least 0 and gradient implicit or unrolled, "
                f"got {num_steps}, {lam2} and {gradient!r}"
            )
        length = in_channels * kernel_size**2
        if gradient == "implicit" and out_channels > length and not (lam2 and num_steps >= OVERCOMPLETE_STEPS):
            raise ValueError(
                f"the implicit gradient is wrong for {out_channels} atoms in patches of {length} numbers unless lam2 "
                f"is above 0 and num_steps at least {OVERCOMPLETE_STEPS}: set both, or gradient=unrolled"
            )
        self.stride, self.padding, self.lam2 = stride, padding, float(lam2)
        self.num_steps, self.unit_atoms, self.gradient = num_steps, unit_atoms, gradient
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size) / length)
        self.learned = nn.Parameter(torch.zeros(())) if learn_lambda else None
        self.project_parameters()

    def extra_repr(self) -> str:
        """Shows the sizes, lambda and how the code is computed and differentiated."""
        atoms, channels, size, _ = self.weight.shape
        lam = f"lam0={self.lam0:g}{' + learned' if self.learned is not None else ''}, lam2={self.lam2:g}"
        return (
            f"{channels}, {atoms}, kernel_size={size}, stride={self.stride}, padding={self.padding}, {lam}, "
            f"{self.num_steps} steps, {self.gradient} gradient"
        )

    @property
    def threshold(self) -> Tensor:
        """The lambda in force, at least 0: 0-d or ``(N,)``."""
        if self.learned is None:
            return self.lam
        lam = self.lam + self.learned
        return torch.where(lam >= 0, lam, 0)  # other than `clamp`, it lets the gradient at 0 pass

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, atoms, h, w)`` of `images` ``(N, C, H, W)``, in the type of the weight."""
        with without_autocast(images.device):
            linear = self._correlations(images) - self.threshold.to(self.weight.dtype).view(-1, 1, 1, 1)
            codes = nonnegative_code(linear.flatten(2), self._gram, self.num_steps, self.gradient)
        return codes.view(linear.shape)

    def _correlations(self, images: Tensor) -> Tensor:
        return F.conv2d(images.to(self.weight.dtype), self.weight, None, self.stride, self.padding)

    @property
    def _gram(self) -> Tensor:
        atoms = self.weight.flatten(1)
        return torch.addmm(self.lam2 * torch.eye(len(atoms), dtype=atoms.dtype, device=atoms.device), atoms, atoms.T)

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns the mean of the patches ``D z_p`` that a pixel lies in, as images of this shape ``(N, C, H, W)``."""
        size, ones = (shape[2], shape[3]), torch.ones_like(codes[:1, :1])
        place = (self.stride, self.stride), (self.padding, self.padding)
        patches = ConvOperator(self.weight, *place).synthesize(codes, size)
        cover = ConvOperator(torch.ones_like(self.weight[:1, :1]), *place).synthesize(ones, size)
        return patches / cover.clamp_min(1)

    def residual(self, signals: Tensor, codes: Tensor) -> Tensor:
        """Returns ``||y_p - D z_p||^2`` of all patches of every image, ``(N,)``, over the patches a pixel lies in.

        These are ``k^2 / stride^2``, so that it compares with the residual of a CSC layer.
        """
        with without_autocast(signals.device):
            signals, codes = signals.to(self.weight.dtype), codes.to(self.weight.dtype)
            size = self.weight.shape[2]
            square = signals.square().sum(1, keepdim=True)
            ones = square.new_ones(1, 1, size, size)
            energy = F.conv2d(square, ones, None, self.stride, self.padding).sum((1, 2, 3))
            flat = codes.flatten(2)
            explained = torch.matmul(self.weight.flatten(1) @ self.weight.flatten(1).T, flat)
            explained = explained - 2 * self._correlations(signals).flatten(2)
            return (energy + (explained * flat).sum((1, 2))).clamp_min(0) * (self.stride / size) ** 2

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Keeps a learned lambda at 0 or above, and scales nonzero atoms to unit norm if they are to be, in place."""
        if self.learned is not None:
            self.learned.clamp_(min=-self.lam0)
        if self.unit_atoms:
            self.weight.div_(torch.linalg.vector_norm(self.weight, dim=(1, 2, 3), keepdim=True).clamp_min(1e-12))
