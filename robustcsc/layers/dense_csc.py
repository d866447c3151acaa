r"""The layer of MSD-CSC: a lasso over the dictionary ``[I F']``, which is a dense connection and a dilated convolution.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections V and VI, algorithms 2 and 3, proposition 1.

With c = 1/L, a step of ISTA or FISTA for the signal X,

    min_z  1/2 ||X - [I F'] z||^2 + beta ||z_F||_1,     z = (z_I, z_F) >= 0

is ``z <- ReLU(z - c (r, F r) - (0, c beta))`` with ``r = z_I + F' z_F - X``. The first one, from 0, is
``c ReLU(X, F X - beta)``: up to c a layer of MSDNet, which appends new features to those it is given.

Differences from the paper:
- c is 1/L, with L the largest eigenvalue of ``D'D``, ``1 + lambda_max(FF')`` (lemma 3), not learned: it is estimated
  anew after each optimiser step, so F needs no bound for the steps to converge. The authors' code has batch
  normalisation in every step and on all channels, with which ``[I F']`` is the dictionary no more.
- Codes are returned divided by what the steps make of an average signal: one of which a step explains the share decay,
  c times the mean eigenvalue of ``DD'``, in which F counts half, because a ReLU leaves about half of its atoms (after
  the first step, that is c). So a layer without further steps is one of MSDNet to the bit, whatever c is, and with a
  few maps keep their scale from layer to layer. Algorithms 2 and 3 return z itself, which small steps leave smaller.
- b is -beta, so thresholds are c beta, as in ISTA; algorithms 2 and 3 learn the product. Only the new features have a
  bias, as in proposition 1; the algorithms leave open whether X has one, too. As ``z_I`` costs nothing, the solution of
  the lasso is (X, 0), and further steps go towards it: features remain because the steps are few.
- ``z_I`` and ``z_F`` are kept apart until the end: algorithms 2 and 3 concatenate and split in every step. That is a
  matter of speed.
- Initial filters are not given. Here they are He et al.'s, so new features start with the scale of those before them;
  for w filters of C channels the largest eigenvalue of ``FF'`` is about ``2 (1 + sqrt(w / C))^2`` (Marchenko-Pastur).
- Proposition 1 needs a non-negative X, which normalised images are not. So the codes of an image's own channels keep
  their sign (the operator S instead of S+, with threshold 0): only so they reach later layers as they do in MSDNet.
"""

from math import sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.multilayer_csc import check_unfolding
from robustcsc.layers.solvers import extrapolation_weights, growth
from robustcsc.layers.synthesis import fixed_pattern, power_iteration, synthesize

#: Side of the image on which it is estimated: on larger ones it is hardly larger.
_SIDE = 12


class DenseCSCConv2d(nn.Module):
    """Appends `width` features to its input, and goes on for `unfolding` more steps of sparse coding.

    Attributes:
        weight: The filters F, ``(width, in_channels, kernel_size, kernel_size)``.
        bias: b, ``(width,)``: -beta of each atom of F.
        c: 1/L, 0-d, not learned: that of the weights when `estimate` was last called; so is decay.
        decay: Share of an average signal that one step explains, 0-d, not learned.
        lowest: Lower bound of the codes of each input channel, 0 or minus infinity, ``(in_channels, 1, 1)``.
        eigenvector: Where the next power iteration starts; not part of the state dict, and neither is `lowest`.

    Args:
        in_channels: Channels of the signal.
        width: Number of new features.
        kernel_size: Height and width of the filters, odd.
        dilation: Distance between neighbouring taps.
        signed: Channels at the front of the input that may be negative, and so may be their codes; 0 or more.
        unfolding: Steps after the first one.
        solver: ``"ista"`` or ``"fista"``.

    Raises:
        ValueError: If `kernel_size` is even, `unfolding` negative or `solver` unknown.
    """

    c: Tensor
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
        c = 1 / (1 + 2 * (1 + sqrt(width / in_channels)) ** 2)
        self.register_buffer("c", torch.tensor(c))
        self.register_buffer("decay", torch.tensor(c * (1 + width / in_channels)))
        lowest = torch.zeros(in_channels, 1, 1)
        lowest[:signed] = -torch.inf
        self.register_buffer("lowest", lowest, persistent=False)
        self.register_buffer("eigenvector", fixed_pattern(in_channels, (_SIDE, _SIDE)), persistent=False)

    def extra_repr(self) -> str:
        """Shows the filters and how the code is computed."""
        width, channels, size, _ = self.weight.shape
        shape = f"{channels}, {width}, kernel_size={size}, dilation={self.dilation}"
        return f"{shape}, unfolding={self.unfolding}, {self.solver}"

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, in_channels + width, H, W)`` of `images` ``(N, in_channels, H, W)``."""
        weight: Tensor = self.weight
        learns = weight.requires_grad and torch.is_grad_enabled()
        if learns and self.dilation > 1 and images.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # oneDNN: in bfloat16, the weight gradients of dilated convolutions of channels-last tensors can be NaN.
            images, weight = images.contiguous(), self.weight.contiguous()
        new = self._analyse(images, weight, self.bias).relu_()
        images = images.to(new.dtype)
        if not self.unfolding:
            return torch.cat((images, new), 1)
        kept = images  # both parts of the code over c, from here on
        previous = kept, new
        weights = extrapolation_weights(self.unfolding + 1)[1:] if self.solver == "fista" else [0.0] * self.unfolding
        for extrapolation in weights:
            point = kept, new
            if extrapolation:
                end = 1 + extrapolation
                point = torch.lerp(previous[0], kept, end), torch.lerp(previous[1], new, end)
            previous = kept, new
            kept, new = self._step(images, weight, *point)
        return torch.cat((kept, new), 1) / self._growth().to(new.dtype)

    def _step(self, images: Tensor, weight: Tensor, kept: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both parts of the code, over c, after one step of ISTA from ``(kept, new)``."""
        error = self._synthesize(new, weight).add_(kept).mul_(self.c.to(new.dtype)).sub_(images)
        shift = self.bias.to(new.dtype).view(-1, 1, 1)
        return (
            torch.clamp(kept - error, self.lowest.to(new.dtype)),
            (new - self._analyse(error, weight)).add_(shift).relu_(),
        )

    def _growth(self) -> Tensor:
        """Returns the code over c of an average signal over the signal, 0-d: 1 after the first step."""
        return growth(self.solver, self.decay, 1 + self.unfolding)

    def _analyse(self, images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(images, weight, bias, 1, self.padding, self.dilation)

    def _synthesize(self, new: Tensor, weight: Tensor) -> Tensor:
        return synthesize(new, weight, (new.shape[2], new.shape[3]), padding=self.padding, dilation=self.dilation)

    def reconstruct(self, codes: Tensor) -> Tensor:
        """Returns ``z_I + F' z_F`` of the codes ``(N, in_channels + width, H, W)``, ``(N, in_channels, H, W)``."""
        channels = self.weight.shape[1]
        codes = self.c * self._growth() * codes  # as the solver has them
        return codes[:, :channels] + self._synthesize(codes[:, channels:], self.weight)

    def largest_eigenvalue(self, image_size: tuple[int, int]) -> float:
        """Returns the largest eigenvalue of ``FF'`` for images of this size, by power iteration from a cold start."""
        start = fixed_pattern(self.weight.shape[1], image_size).to(self.weight)
        return float(power_iteration(self.weight, start, 100, padding=self.padding, dilation=self.dilation)[0])

    def project_parameters(self) -> None:
        """Estimates c and decay anew where there are further steps, which alone need them."""
        if self.unfolding:
            self.estimate()

    @torch.no_grad()
    def estimate(self) -> None:
        """Estimates c, ``1 / (1 + lambda_max(FF'))``, and decay anew, in place."""
        # Dilated filters act on every second (third, ...) pixel as the undilated ones on all.
        half = self.weight.shape[2] // 2
        largest, self.eigenvector = power_iteration(self.weight, self.eigenvector, 50, tolerance=0.002, padding=half)
        self.c.copy_(1 / (1 + largest))
        self.decay.copy_(self.c * (1 + self.weight.square().sum() / (2 * self.weight.shape[1])))
