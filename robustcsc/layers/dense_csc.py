r"""The layer of MSD-CSC: a lasso over the dictionary ``[I F']``, which is a dense connection and a dilated convolution.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections V and VI, algorithms 2 and 3, proposition 1.

With the step size c = 1/L, a step of ISTA or FISTA for the signal X and

    min_z  1/2 ||X - [I F'] z||^2 + beta ||z_F||_1,     z = (z_I, z_F) >= 0

is ``z <- ReLU(z - c (r, F r) - (0, c beta))`` with ``r = z_I + F' z_F - X``. The first step, from 0, is
``c ReLU(X, F X - beta)``: up to c a layer of MSDNet, which appends new features to those it is given.

Differences from the paper:
- L is the largest eigenvalue of ``D'D``, ``1 + lambda_max(FF')`` (lemma 3). c is not learned but estimated again after
  each optimiser step, so the steps converge without a bound on F. The authors' code normalises all channels by batch in
  every step, with which ``[I F']`` is no longer the dictionary.
- Codes are divided by the code of an average signal: one of which a step explains the share decay, c times the mean
  eigenvalue of ``DD'``, in which F counts half because a ReLU leaves about half of its atoms (after the first step, the
  divisor is c). A layer without further steps is then one of MSDNet to the bit, whatever c is, and feature maps keep
  their scale from layer to layer. Algorithms 2 and 3 return z itself, which a small c makes smaller.
- b is -beta, so thresholds are c beta, as in ISTA; algorithms 2 and 3 learn the product. Only the new features have a
  bias, as in proposition 1; the algorithms leave open whether X has one too. Since ``z_I`` is not penalised, the
  solution of the lasso is (X, 0), and further steps move towards it: features remain because the steps are few.
- ``z_I`` and ``z_F`` stay separate until the end, for speed; algorithms 2 and 3 concatenate and split in every step.
- Initial filters are not given. Here they are He et al.'s, so new features start at the scale of those before them. For
  w filters of C channels the largest eigenvalue of ``FF'`` is about ``2 (1 + sqrt(w / C))^2`` (Marchenko-Pastur).
- Proposition 1 needs a non-negative X, which normalised images are not. The codes of an image's own channels therefore
  keep their sign (the operator S instead of S+, with threshold 0), so that they reach later layers as in MSDNet.
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

#: Side of the image on which the largest eigenvalue is estimated; on larger images it is hardly larger.
_SIDE = 12


class DenseCSCConv2d(ConvCodingLayer):
    """Appends `width` features to its input, and takes `unfolding` further steps of sparse coding.

    Attributes:
        weight: The filters F, ``(width, in_channels, kernel_size, kernel_size)``.
        bias: b, ``(width,)``: -beta of each atom of F.
        step_size: c = 1/L, 0-d, not learned: for the weights at the last call of `estimate`. It is 1 where all filters
            are zero.
        decay: Share of an average signal that one step explains, 0-d, not learned; estimated with `step_size`.
        lowest: Lower bound of the codes of each input channel, 0 or minus infinity, ``(in_channels, 1, 1)``.
        eigenvector: Start of the next power iteration; not part of the state dict, and neither is `lowest`.

    Args:
        in_channels: Channels of the signal.
        width: Number of new features.
        kernel_size: Height and width of the filters, odd.
        dilation: Distance between neighbouring taps.
        signed: Number of leading input channels that may be negative, and so may their codes; 0 or more.
        unfolding: Number of steps after the first.
        solver: ``"ista"`` or ``"fista"``.

    Raises:
        ValueError: If `kernel_size` is even, `unfolding` negative or `solver` unknown.
    """

    kind: ClassVar[str] = "MSD-CSC"
    step_size: Tensor
    decay: Tensor
    lowest: Tensor
    eigenvector: Tensor

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel_size: int = 3,
        dilation: int = 1,
        *,
        signed: int = 0,
        unfolding: int,
        solver: Literal["ista", "fista"] = "ista",
    ) -> None:
        super().__init__()
        check_unfolding(unfolding, solver)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.padding, self.dilation = dilation * (kernel_size // 2), dilation
        self.unfolding, self.solver = unfolding, solver
        self.weight = nn.Parameter(torch.empty(width, in_channels, kernel_size, kernel_size))
        nn.init.normal_(self.weight, std=sqrt(2 / in_channels) / kernel_size)
        self.bias = nn.Parameter(torch.zeros(width))
        step_size = 1 / (1 + 2 * (1 + sqrt(width / in_channels)) ** 2)
        self.register_buffer("step_size", torch.tensor(step_size))
        self.register_buffer("decay", torch.tensor(step_size * (1 + width / in_channels)))
        lowest = torch.zeros(in_channels, 1, 1)
        lowest[:signed] = -torch.inf
        self.register_buffer("lowest", lowest, persistent=False)
        self.register_buffer("eigenvector", self.operator.cold_start((_SIDE, _SIDE)), persistent=False)

    def extra_repr(self) -> str:
        """Shows the filters and how the code is computed."""
        width, channels, size, _ = self.weight.shape
        shape = f"{channels}, {width}, kernel_size={size}, dilation={self.dilation}"
        return f"{shape}, unfolding={self.unfolding}, {self.solver}"

    @property
    def operator(self) -> ConvOperator:
        """F as analysis and F' as synthesis."""
        return ConvOperator(self.weight, (1, 1), (self.padding,) * 2, (self.dilation,) * 2, mirrored=True)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, in_channels + width, H, W)`` of `images` ``(N, in_channels, H, W)``."""
        operator = self.operator
        learns = self.weight.requires_grad and torch.is_grad_enabled()
        if learns and self.dilation > 1 and images.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # oneDNN: in bfloat16, the weight gradients of dilated convolutions of channels-last tensors can be NaN.
            images, operator = images.contiguous(), replace(operator, weight=self.weight.contiguous())
        new = operator.analyse(images, self.bias).relu_()
        images = images.to(new.dtype)
        if not self.unfolding:
            return torch.cat((images, new), 1)
        kept = images  # from here on, both parts of the code are divided by the step size
        previous = kept, new
        for extrapolation in extrapolation_weights(self.solver, self.unfolding + 1)[1:]:
            point = kept, new
            if extrapolation:
                end = 1 + extrapolation
                point = torch.lerp(previous[0], kept, end), torch.lerp(previous[1], new, end)
            previous = kept, new
            kept, new = self._step(images, operator, *point)
        return torch.cat((kept, new), 1) / self._growth().to(new.dtype)

    def _step(self, images: Tensor, operator: ConvOperator, kept: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both parts of the code, divided by the step size, after one step of ISTA from ``(kept, new)``."""
        image_size = (new.shape[2], new.shape[3])
        error = operator.synthesize(new, image_size).add_(kept).mul_(self.step_size.to(new.dtype)).sub_(images)
        shift = self.bias.to(new.dtype).view(-1, 1, 1)
        return (
            torch.clamp(kept - error, self.lowest.to(new.dtype)),
            (new - operator.analyse(error)).add_(shift).relu_(),
        )

    def _growth(self) -> Tensor:
        """Returns the code of an average signal over step size times signal, 0-d: 1 after the first step."""
        return growth(self.solver, self.decay, 1 + self.unfolding)

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns ``z_I + F' z_F`` of the codes ``(N, in_channels + width, H, W)``, of this shape ``(N, C, H, W)``."""
        codes = self.step_size * self._growth() * codes  # as the solver has them
        return codes[:, : shape[1]] + self.operator.synthesize(codes[:, shape[1] :], (shape[2], shape[3]))

    def lasso(self, shape: torch.Size) -> Lasso:
        """Returns the problem above. Without further steps, where training leaves c alone, it has the estimated one."""
        layer = self
        if not self.unfolding:
            layer = deepcopy(self)
            layer.estimate()
        step_size = layer.step_size.item()
        return Lasso(
            operator=layer.operator,
            identity=True,
            thresholds=-step_size * layer.bias.detach(),
            lipschitz=1 / step_size,
            convergence=step_size * (1 + layer.operator.lipschitz((shape[2], shape[3]))),
            reconstruct=layer.reconstruct,
        )

    def project_parameters(self) -> None:
        """Estimates `step_size` and `decay` again if there are further steps, which alone need them."""
        if self.unfolding:
            self.estimate()

    @torch.no_grad()
    def estimate(self) -> None:
        """Estimates `step_size`, ``1 / (1 + lambda_max(FF'))``, and `decay` again, in place."""
        # Dilated filters act on every second (third, ...) pixel as the undilated ones act on all.
        half = self.weight.shape[2] // 2
        undilated = ConvOperator(self.weight, padding=(half, half), mirrored=True)
        iterations = warm_iterations(self.weight.device)
        largest, self.eigenvector = undilated.largest_eigenvalue(self.eigenvector, iterations, value_tolerance=0.002)
        self.step_size.copy_(1 / (1 + largest))
        self.decay.copy_(self.step_size * (1 + self.weight.square().sum() / (2 * self.weight.shape[1])))
