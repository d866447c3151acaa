r"""The layer of ML-CSC: a lasso whose dictionary is a convolution, solved by a few steps of ISTA or FISTA from 0.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", eq. 1-3, 5 and algorithm 1; Papyan, Romano and Elad, JMLR 2017.

With the filters scaled as ``D' / L`` (as in eq. 5: W is the convolution, W' its transpose, c = -L, b = -beta / L), a
step for

    min_{z >= 0}  1/2 ||X - L W' z||^2 + beta ||z||_1

is ``z <- ReLU(z + W (X - L W' z) + b)``. The first step, from 0, is ``ReLU(W X + b)``: the forward pass of a plain
convolutional network (the layered thresholding algorithm).

Differences from the paper:
- Filters are scaled as in eq. 5 in all layers, so the number of steps does not change the first step.
- L is the largest eigenvalue of ``D'D``, which is ``1 / lambda_max(WW')``. It is not learned but estimated again after
  each optimiser step. A learned c, projected to ``[-1 / lambda_max(WW'), 0]``, stays at that bound.
- Codes are divided by the growth of an average signal's code over the first step. One step explains the share decay of
  such a signal: the mean eigenvalue of ``DD'`` over the largest. (Codes consist of the directions with large
  eigenvalues, and a ReLU leaves about half of the atoms: the two effects about cancel.) Feature maps then keep their
  scale from layer to layer, and weights train alike with and without a few further steps. Without the division, filters
  would have to be smaller by the number of steps and their gradients larger by it, and training diverges at a learning
  rate that suits the feed-forward network.
- b is learned and may be positive; beta = -b L is then negative, which no lasso has.
"""

from copy import deepcopy
from dataclasses import replace
from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustcsc.layers.coding import ConvCodingLayer, Lasso
from robustcsc.layers.constraints import warm_iterations
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.solvers import check_unfolding, extrapolation_weights, growth
from robustcsc.layers.unrolled import unrolled

#: Side of the image on which the largest eigenvalue is estimated; on larger images it is hardly larger.
_SIDE = 12


class MultilayerCSCConv2d(ConvCodingLayer):
    """A convolution with bias and ReLU, followed by `unfolding` further steps of sparse coding.

    Attributes:
        weight: The filters W, ``(out_channels, in_channels, kernel_size, kernel_size)``.
        bias: b, ``(out_channels,)``: the negative thresholds.
        lipschitz: L, 0-d, not learned: for the weights at the last call of `estimate`. Filters of zero leave it as it
            was: every L is then as good.
        decay: Share of an average signal that one step explains, 0-d, not learned; estimated with `lipschitz`.
        eigenvector: Start of the next power iteration; not part of the state dict.

    The positional arguments are those of ``nn.Conv2d``; `out_channels` is the number of atoms.

    Args:
        unfolding: Number of steps after the first.
        solver: ``"ista"`` or ``"fista"``.

    Raises:
        ValueError: If `unfolding` is negative or `solver` unknown.
    """

    kind: ClassVar[str] = "ML-CSC"
    lipschitz: Tensor
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
        self.register_buffer("lipschitz", torch.tensor(1 / largest))
        self.register_buffer("decay", torch.tensor(2 * aspect / largest))
        self.register_buffer("eigenvector", self.operator.cold_start((_SIDE, _SIDE)), persistent=False)

    def extra_repr(self) -> str:
        """Shows the filters and how the code is computed."""
        atoms, channels, size, _ = self.weight.shape
        shape = f"{channels}, {atoms}, kernel_size={size}, stride={self.stride}, padding={self.padding}"
        return f"{shape}, unfolding={self.unfolding}, {self.solver}"

    @property
    def operator(self) -> ConvOperator:
        """W as analysis and W' as synthesis."""
        return ConvOperator(self.weight, (self.stride,) * 2, (self.padding,) * 2, mirrored=True)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, out_channels, h, w)`` of `images` ``(N, in_channels, H, W)``."""
        operator = self.operator
        if not self.unfolding:
            return operator.analyse(images, self.bias).relu_()
        scale = self.lipschitz.sqrt().clamp_min(1e-12)  # z + W (X - L W' z), with sqrt(L) W and X / sqrt(L) for W and X
        scaled = replace(operator, weight=scale * self.weight)
        weights = extrapolation_weights(self.solver, 1 + self.unfolding)
        codes = unrolled(scaled, images / scale, weights, self.bias)
        return codes / self._growth().to(codes.dtype)

    def _growth(self) -> Tensor:
        """Returns the code of an average signal over its first step, 0-d."""
        return growth(self.solver, self.decay, 1 + self.unfolding)

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns ``L W' z`` of the codes ``(N, out_channels, h, w)``, as images of this shape ``(N, C, H, W)``."""
        return self.lipschitz * self._growth() * self.operator.synthesize(codes, (shape[2], shape[3]))

    def lasso(self, shape: torch.Size) -> Lasso:
        """Returns the problem above. Without further steps, where training leaves L alone, it has the estimated one."""
        layer = self
        if not self.unfolding:
            layer = deepcopy(self)
            layer.estimate()
        lipschitz = layer.lipschitz.item()
        return Lasso(
            operator=layer.operator,
            thresholds=-layer.bias.detach(),
            lipschitz=lipschitz,
            convergence=lipschitz * layer.operator.lipschitz((shape[2], shape[3])),  # of D = L W' with step size 1 / L
            reconstruct=layer.reconstruct,
        )

    def project_parameters(self) -> None:
        """Estimates `lipschitz` and `decay` again if there are further steps, which alone need them."""
        if self.unfolding:
            self.estimate()

    @torch.no_grad()
    def estimate(self) -> None:
        """Estimates `lipschitz` and `decay` again, in place."""
        iterations = warm_iterations(self.weight.device)
        largest, self.eigenvector = self.operator.largest_eigenvalue(
            self.eigenvector, iterations, value_tolerance=0.002
        )
        nonzero = largest > 0
        mean = self.weight.square().sum() / (self.weight.shape[1] * self.stride**2)
        self.lipschitz.copy_(torch.where(nonzero, 1 / largest, self.lipschitz))
        self.decay.copy_(torch.where(nonzero, mean / largest, 0))
