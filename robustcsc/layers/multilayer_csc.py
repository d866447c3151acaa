r"""The layer of ML-CSC: a lasso whose dictionary is a convolution, solved by a few steps of ISTA or FISTA from 0.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", eq. 1-3, 5 and algorithm 1; Papyan, Romano and Elad, JMLR 2017.

With the filters as ``D' / L`` (as in eq. 5: W the convolution, W' its transpose, c = -L, b = -beta / L), a step of

    min_{z >= 0}  1/2 ||X - L W' z||^2 + beta ||z||_1

is ``z <- ReLU(z + W (X + c W' z) + b)``. The first one, from 0, is ``ReLU(W X + b)``: the forward pass of a plain
convolutional network (the layered thresholding algorithm).

Differences from the paper:
- Filters are scaled as in eq. 5 in all layers, so the number of steps does not change the first pass.
- c is -L, with L the largest eigenvalue of ``D'D``, which is ``1 / lambda_max(WW')``, not learned: it is estimated anew
  after each optimiser step. Learned, and projected to ``[-1 / lambda_max(WW'), 0]``, it stays at that bound.
- Codes are returned divided by what the steps make of an average signal, compared with the first step: one of which a
  step explains the share decay, the mean over the largest eigenvalue of ``DD'`` (that codes are made of the directions
  with large eigenvalues, and that a ReLU leaves about half of the atoms, about cancel). So maps keep their scale from
  layer to layer, and weights are trained alike with and without a few further steps. Undivided, filters would have to
  be smaller by the number of steps, and their gradients were larger by it: training diverges at a learning rate that
  suits the feed-forward network.
- b is learned and may be positive: beta, which is minus b times L, is then negative, and a lasso no more.
"""

from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.prox import nonnegative_soft_threshold
from robustcsc.layers.solvers import SOLVERS, growth
from robustcsc.layers.synthesis import fixed_pattern, power_iteration, synthesize

#: Side of the image on which the largest eigenvalue is estimated: on larger ones it is hardly larger.
_SIDE = 12


class MultilayerCSCConv2d(nn.Module):
    """A convolution with bias and ReLU that goes on for `unfolding` more steps of sparse coding.

    Attributes:
        weight: The filters W, ``(out_channels, in_channels, kernel_size, kernel_size)``.
        bias: b, ``(out_channels,)``: minus the thresholds.
        c: -L, 0-d, not learned: that of the weights when `estimate` was last called; so is decay.
        decay: Share of an average signal that one step explains, 0-d, not learned.
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

    c: Tensor
    decay: Tensor
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
        nn.init.normal_(self.weight, std=sqrt(2 / in_channels) / kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        aspect = out_channels / (in_channels * stride**2)
        largest = 2 * (1 + sqrt(aspect)) ** 2  # the Marchenko-Pastur edge of He's filters
        self.register_buffer("c", torch.tensor(-1 / largest))
        self.register_buffer("decay", torch.tensor(2 * aspect / largest))
        self.register_buffer("eigenvector", fixed_pattern(in_channels, (_SIDE, _SIDE)), persistent=False)

    def extra_repr(self) -> str:
        """Shows the filters and how the code is computed."""
        atoms, channels, size, _ = self.weight.shape
        shape = f"{channels}, {atoms}, kernel_size={size}, stride={self.stride}, padding={self.padding}"
        return f"{shape}, unfolding={self.unfolding}, {self.solver}"

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, out_channels, h, w)`` of `images` ``(N, in_channels, H, W)``."""
        if not self.unfolding:
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

        codes = SOLVERS[self.solver](gradient, prox, zero, 1.0, 1 + self.unfolding)
        return codes / self._growth().to(codes.dtype)

    def _growth(self) -> Tensor:
        """Returns the code of an average signal over its first step, 0-d."""
        return growth(self.solver, self.decay, 1 + self.unfolding)

    def synthesize(self, codes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Returns ``W' z`` of the solver's codes, ``(N, in_channels, *image_size)``."""
        return synthesize(codes, self.weight, image_size, stride=self.stride, padding=self.padding)

    def reconstruct(self, codes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Returns ``L W' z`` of the codes ``(N, out_channels, h, w)``, ``(N, in_channels, *image_size)``."""
        return -self.c * self._growth() * self.synthesize(codes, image_size)

    def largest_eigenvalue(self, image_size: tuple[int, int]) -> float:
        """Returns the largest eigenvalue of ``WW'`` for images of this size, by power iteration from a cold start."""
        start = fixed_pattern(self.weight.shape[1], image_size).to(self.weight)
        return float(power_iteration(self.weight, start, 100, stride=self.stride, padding=self.padding)[0])

    def project_parameters(self) -> None:
        """Estimates c and decay anew where there are further steps, which alone need them."""
        if self.unfolding:
            self.estimate()

    @torch.no_grad()
    def estimate(self) -> None:
        """Estimates c and decay anew, in place."""
        largest, self.eigenvector = power_iteration(
            self.weight, self.eigenvector, 50, tolerance=0.002, stride=self.stride, padding=self.padding
        )
        if_not_0 = largest > 0  # for filters of 0, every c is as good
        mean = self.weight.square().sum() / (self.weight.shape[1] * self.stride**2)
        self.c.copy_(torch.where(if_not_0, -1 / largest, self.c))
        self.decay.copy_(torch.where(if_not_0, mean / largest, 0))


def check_unfolding(unfolding: int, solver: str) -> None:
    """Refuses what is no number of steps or no solver.

    Raises:
        ValueError: If `unfolding` is negative or `solver` unknown.
    """
    if unfolding < 0 or solver not in SOLVERS:
        raise ValueError(f"unfolding must be at least 0 and solver ista or fista, got {unfolding} and {solver!r}")
