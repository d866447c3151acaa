"""The CSC layer of SDNet, which outputs the convolutional sparse code of its input.

Source: SDNet (Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022), eq. 4-10.

Unrolls ``z = argmin_z lambda ||z||_1 + 1/2 ||x - A z||_2^2`` by FISTA from ``z = 0``.

| setting | default | source |
|---|---|---|
| lambda | 0.1 | section 4 |
| steps | 2 (FISTA) | section 4 |
| step size | 0.9 / largest eigenvalue of A*A | appendix A |
| atoms | unit norm, projected after each optimiser step | section 3.2 |

Differences from the paper:
- Codes are non-negative by default, as in every configuration the authors published; `signed=True` is eq. 8.
- FISTA takes its gradient at the extrapolated point (eq. 6). The authors' code takes it at the iterate, which makes no
  difference up to two steps.
- The threshold ``lambda * step_size`` is computed in every call, so a new `lam` takes effect at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustcsc.layers.coding import ConvCodingLayer, Lasso
from robustcsc.layers.lambdas import LambdaLayer
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import SOLVERS, extrapolation_weights
from robustcsc.layers.tracing import run_zero_image, traced
from robustcsc.layers.unit_dictionary import UnitDictionary
from robustcsc.layers.unrolled import unrolled

#: SDNet appendix A: the step size is this divided by the largest eigenvalue of A*A.
STEP_FRACTION = 0.9

Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class CSCConv2d(LambdaLayer, ConvCodingLayer):
    """A drop-in replacement for ``nn.Conv2d`` that outputs the convolutional sparse code of its input.

    Attributes:
        lam: The current lambda, see `LambdaLayer`.
        lam0: The training lambda.
        dictionary: The atoms.

    The positional arguments are those of ``nn.Conv2d``; `out_channels` is the number of atoms.

    Args:
        lam: Weight of the l1 norm, at least 0.
        num_steps: Number of unrolled iterations, at least 1.
        signed: Whether codes may be negative.
        solver: ``"fista"`` or ``"ista"``.

    Raises:
        ValueError: If `lam` is negative (at construction or when assigned), `num_steps` below 1 or `solver` unknown.
    """

    kind: ClassVar[str] = "CSC"

    # The first six arguments are those of nn.Conv2d, so that one can stand in for the other.
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        lam: float = 0.1,
        num_steps: int = 2,
        signed: bool = False,
        solver: Literal["fista", "ista"] = "fista",
    ) -> None:
        super().__init__(lam)
        if num_steps < 1 or solver not in SOLVERS:
            raise ValueError(f"num_steps must be at least 1 and solver fista or ista, got {num_steps} and {solver!r}")
        self.dictionary = UnitDictionary(
            in_channels, out_channels, _pair(kernel_size), _pair(stride), _pair(padding), _pair(dilation)
        )
        self.num_steps = num_steps
        self.signed = signed
        self.solver = solver

    def extra_repr(self) -> str:
        """Shows the training lambda and how the code is computed."""
        sign = "signed" if self.signed else "non-negative"
        return f"lam0={self.lam0:g}, {self.num_steps} {self.solver} steps, {sign}"

    @property
    def operator(self) -> ConvOperator:
        """A and A*."""
        return self.dictionary.operator

    @property
    def step_size(self) -> Tensor:
        """Step size of the solver, 0-d."""
        return STEP_FRACTION / self.dictionary.lipschitz

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, atoms, h, w)`` of `images` ``(N, C, H, W)`` at the current lambda."""
        threshold, scale = self.step_size * self.lam, self.step_size.sqrt()
        operator = replace(self.operator, weight=scale * self.dictionary.weight)
        weights = extrapolation_weights(self.solver, self.num_steps)
        if threshold.ndim:
            threshold = threshold.view(-1, 1, 1, 1)
        elif not self.signed:  # one threshold of all images can be a bias of the convolution
            return unrolled(operator, scale * images, weights, -threshold.expand(len(operator.weight)))

        def prox(codes: Tensor) -> Tensor:
            least = threshold.to(codes.dtype)
            return soft_threshold(codes, least) if self.signed else codes.sub_(least).relu_()

        return unrolled(operator, scale * images, weights, prox=prox)

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns ``A z`` of the codes ``(N, atoms, h, w)``, as images of this shape ``(N, C, H, W)``."""
        return self.operator.synthesize(codes, (shape[2], shape[3]))

    def lasso(self, image_size: tuple[int, int]) -> Lasso:
        """Returns the problem of SDNet eq. 4. Its convergence is that of the image size the step size was fitted to."""
        step_size = self.step_size.item()
        return Lasso(
            operator=self.operator,
            thresholds=(step_size * self.lam.mean()).expand(len(self.dictionary.weight)),
            lipschitz=1 / step_size,
            convergence=step_size * float(self.dictionary.lipschitz),
            reconstruct=self.reconstruct,
        )


def csc_layers(model: nn.Module) -> dict[str, CSCConv2d]:
    """Returns the CSC layers of `model` by qualified name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CSCConv2d)}


def fit_image_size(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Estimates the step size of every CSC layer for images of this shape ``(C, H, W)``.

    One forward pass of a zero image in evaluation mode tells the sizes that the inner layers see.
    """
    layers = csc_layers(model).values()
    if not layers:
        return
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note_size(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[module] = (inputs[0].shape[2], inputs[0].shape[3])

    with traced(layers, before=note_size):
        run_zero_image(model, image_shape)
    for layer in layers:
        if layer in sizes:
            layer.dictionary.fit_image_size(sizes[layer])
