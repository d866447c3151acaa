r"""The layer of ML-CSC: a lasso whose dictionary is a convolution, solved by a few steps of ISTA or FISTA from 0.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", eq. 1-3, 5 and algorithm 1; Papyan, Romano and Elad, JMLR 2017.

With the filters as ``D' / L`` (as in eq. 5: W the convolution, W' its transpose, c = -L, b = -beta / L), a step of

    min_{z >= 0}  1/2 ||X - L W' z||^2 + beta ||z||_1

is ``z <- ReLU(z + W (X + c W' z) + b)``. The first one, from 0, is ``ReLU(W X + b)``: the forward pass of a plain
convolutional network (the layered thresholding algorithm).

Differences from the paper:
- Filters are scaled as in eq. 5 in all layers, and c is learned, one scalar per layer. So the number of steps does not
  change the first pass. Layers without further steps have no c.
- Initial weights are He et al.'s over the number of steps, so that the code has their scale after the last step, not
  after the first: the norm of the code grows about in proportion to the steps.
- c starts at minus the inverse of the largest eigenvalue of ``W W'`` for large convolutions with these initial weights
  (the Marchenko-Pastur edge), and is projected to ``[-1 / lambda_max(WW'), 0]`` after each optimiser step: beyond
  ``-2 / lambda_max`` the iteration does not converge, and training diverges.
- b is learned and may be positive: beta, which is minus b times L, is then negative, and a lasso no more.
"""

from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.prox import nonnegative_soft_threshold
from robustcsc.layers.solvers import SOLVERS
from robustcsc.layers.synthesis import fixed_pattern, power_iteration, synthesize

#: Side of the image on which the largest eigenvalue is estimated: on larger ones it is hardly larger.
_SIDE = 12


class MultilayerCSCConv2d(nn.Module):
    """A convolution with bias and ReLU that goes on for `unfolding` more steps of sparse coding.

    Attributes:
        weight: The filters W, ``(out_channels, in_channels, kernel_size, kernel_size)``.
        bias: b, ``(out_channels,)``: minus the thresholds.
        c: -L, 0-d; ``None`` without further steps.
        eigenvector: Where the next power iteration starts; not part of the state dict.

    Args:
        in_channels: Channels of the signal.
        out_channels: Number of atoms.
        kernel_size: Height and width of the filters.
        stride: As ``nn.Conv2d``.
        padding: As ``nn.Conv2d``.
        unfolding: Steps after the first one.
        solver: ``"ista"`` or ``"fista"``.

    Raises:
        ValueError: If `unfolding` is negative or `solver` unknown.
    """

    eigenvector: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        unfolding: int,
        solver: Literal["ista", "fista"] = "ista",
    ) -> None:
        super().__init__()
        check_unfolding(unfolding, solver)
        self.stride, self.padding, self.unfolding, self.solver = stride, padding, unfolding, solver
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        scale = 1 / (1 + unfolding)
        nn.init.normal_(self.weight, std=scale * sqrt(2 / in_channels) / kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        largest = 2 * (scale * (1 + sqrt(out_channels / in_channels) / stride)) ** 2
        self.c = nn.Parameter(torch.tensor(-1 / largest)) if unfolding else None
        self.register_buffer("eigenvector", fixed_pattern(in_channels, (_SIDE, _SIDE)), persistent=False)

    def extra_repr(self) -> str:
        """Shows the filters and how the code is computed."""
        atoms, channels, size, _ = self.weight.shape
        shape = f"{channels}, {atoms}, kernel_size={size}, stride={self.stride}, padding={self.padding}"
        return f"{shape}, unfolding={self.unfolding}, {self.solver}"

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, out_channels, h, w)`` of `images` ``(N, in_channels, H, W)``."""
        if self.c is None:
            return F.conv2d(images, self.weight, self.bias, self.stride, self.padding).relu_()
        first = F.conv2d(images, self.weight, None, self.stride, self.padding)
        scale, threshold = -self.c.to(first.dtype), -self.bias.to(first.dtype).view(-1, 1, 1)
        signal, image_size = images.to(first.dtype), (images.shape[2], images.shape[3])
        zero = first.new_zeros(())

        def gradient(codes: Tensor) -> Tensor:
            # That of the quadratic term over L: W (L W' z - X); for z = 0 it is known.
            if codes is zero:
                return -first
            error = scale * self.synthesize(codes, image_size) - signal
            return F.conv2d(error, self.weight, None, self.stride, self.padding)

        def prox(codes: Tensor) -> Tensor:
            return nonnegative_soft_threshold(codes, threshold)

        return SOLVERS[self.solver](gradient, prox, zero, 1.0, 1 + self.unfolding)

    def synthesize(self, codes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Returns ``W' z``, ``(N, in_channels, *image_size)``; L times it reconstructs the signal."""
        return synthesize(codes, self.weight, image_size, stride=self.stride, padding=self.padding)

    def largest_eigenvalue(self, image_size: tuple[int, int]) -> float:
        """Returns the largest eigenvalue of ``WW'`` for images of this size, by power iteration from a cold start."""
        start = fixed_pattern(self.weight.shape[1], image_size).to(self.weight)
        return float(power_iteration(self.weight, start, 100, stride=self.stride, padding=self.padding)[0])

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Projects c to ``[-1 / lambda_max(WW'), 0]``, in place."""
        if self.c is None:
            return
        largest, self.eigenvector = power_iteration(
            self.weight, self.eigenvector, 2, stride=self.stride, padding=self.padding
        )
        self.c.copy_(self.c.clamp(max=0).maximum(-1 / largest))


def check_unfolding(unfolding: int, solver: str) -> None:
    """Refuses what is no number of steps or no solver.

    Raises:
        ValueError: If `unfolding` is negative or `solver` unknown.
    """
    if unfolding < 0 or solver not in SOLVERS:
        raise ValueError(f"unfolding must be at least 0 and solver ista or fista, got {unfolding} and {solver!r}")
