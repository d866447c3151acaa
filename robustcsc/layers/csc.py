"""CSC layers: drop-in replacements of convolutions and linear layers that output the sparse code of their input.

Source: SDNet (Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022), eq. 4-10.

Unrolls ``z = argmin_z lambda ||z||_1 + lambda_2 / 2 ||z||_2^2 + 1/2 ||x - A z||_2^2`` by FISTA from ``z = 0``. In
`CSCConv2d`, the layer of SDNet, A is a convolution over images, in `CSCConv1d` over sequences, in `CSCLinear` a matrix.

| setting | default | source |
|---|---|---|
| lambda | 0.1 | section 4 |
| lambda_2 | 0 | section 4; the authors' code has it too |
| steps | 2 (FISTA) | section 4 |
| step size | 0.9 / largest eigenvalue of A*A | appendix A |
| atoms | unit norm, projected after each optimiser step | section 3.2 |

Differences from the paper:
- Codes are non-negative by default, as in every configuration the authors published; `signed=True` is eq. 8.
- FISTA takes its gradient at the extrapolated point (eq. 6). The authors' code takes it at the iterate, which makes no
  difference up to two steps.
- The threshold ``lambda * step_size`` is computed in every call, so a new `lam` takes effect at once.
- The paper has images only. The matrix is the "1-D case" of the authors' code; sequences are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustcsc.layers.coding import ConvCodingLayer, Lasso
from robustcsc.layers.convolution import Pair
from robustcsc.layers.lambdas import LambdaLayer
from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.prox import ridge, soft_threshold
from robustcsc.layers.solvers import SOLVERS, extrapolation_weights
from robustcsc.layers.tracing import run_zero_image, traced
from robustcsc.layers.unit_dictionary import UnitDictionary
from robustcsc.layers.unrolled import unrolled

#: SDNet appendix A: the step size is this divided by the largest eigenvalue of A*A.
STEP_FRACTION = 0.9

Solver = Literal["fista", "ista"]
Size = int | tuple[int, int]


def _pair(size: Size) -> Pair:
    return (size, size) if isinstance(size, int) else size


class CSCLayer(LambdaLayer, ConvCodingLayer):
    """A layer that takes its inputs for images and outputs their convolutional sparse code.

    Attributes:
        lam: The current lambda, see `LambdaLayer`.
        lam0: The training lambda.
        lam2: lambda_2.
        dictionary: The atoms.

    Args:
        dictionary: The atoms.
        lam: Weight of the l1 norm, at least 0.
        lam2: Weight of half the squared l2 norm, at least 0: with both, the code is that of the elastic net.
        num_steps: Number of unrolled iterations, at least 1.
        signed: Whether codes may be negative.
        solver: ``"fista"`` or ``"ista"``.

    Raises:
        ValueError: If `lam` is negative (at construction or when assigned), `lam2` negative or not finite, `num_steps`
            below 1 or `solver` unknown.
    """

    kind: ClassVar[str] = "CSC"

    def __init__(
        self, dictionary: UnitDictionary, *, lam: float, lam2: float, num_steps: int, signed: bool, solver: Solver
    ) -> None:
        super().__init__(lam)
        if num_steps < 1 or solver not in SOLVERS:
            raise ValueError(f"num_steps must be at least 1 and solver fista or ista, got {num_steps} and {solver!r}")
        if not 0 <= lam2 < float("inf"):
            raise ValueError(f"lam2 must be at least 0, got {lam2}")
        self.dictionary = dictionary
        self.lam2 = float(lam2)
        self.num_steps = num_steps
        self.signed = signed
        self.solver = solver

    def extra_repr(self) -> str:
        """Shows the training lambda and how the code is computed."""
        weights = f"lam0={self.lam0:g}" + (f", lam2={self.lam2:g}" if self.lam2 else "")
        return f"{weights}, {self.num_steps} {self.solver} steps, {'signed' if self.signed else 'non-negative'}"

    @property
    def operator(self) -> ConvOperator:
        """A and A*, of the inputs as images."""
        return self.dictionary.operator

    @property
    def step_size(self) -> Tensor:
        """Step size of the solver, 0-d."""
        return STEP_FRACTION / self.dictionary.lipschitz

    def image_size(self, shape: torch.Size) -> Pair:
        """Returns the height and width of inputs of this shape as images."""
        return shape[2], shape[3]

    def _as_images(self, values: Tensor) -> Tensor:
        """Returns inputs or codes as images ``(N, C, H, W)``."""
        return values

    def _taken_back(self, images: Tensor, shape: torch.Size) -> Tensor:
        """Returns images in the form of inputs of this shape, but for the number of channels."""
        return images

    def forward(self, signals: Tensor) -> Tensor:
        """Returns the codes of `signals` at the current lambda, in the form of the output of the replaced layer."""
        return self._taken_back(self._codes(self._as_images(signals)), signals.shape)

    def _codes(self, images: Tensor) -> Tensor:
        step_size = self.step_size
        threshold, scale = step_size * self.lam, step_size.sqrt()
        operator = self.operator
        operator = replace(operator, weight=scale * operator.weight)
        weights = extrapolation_weights(self.solver, self.num_steps)

        def shrunk(codes: Tensor) -> Tensor:
            return ridge(codes, step_size * self.lam2) if self.lam2 else codes

        if threshold.ndim:
            threshold = threshold.view(-1, 1, 1, 1)
        elif not self.signed:  # one threshold of all images can be a bias of the convolution
            return unrolled(operator, scale * images, weights, -threshold.expand(len(operator.weight)), shrunk)

        def prox(codes: Tensor) -> Tensor:
            least = threshold.to(codes.dtype)
            return shrunk(soft_threshold(codes, least) if self.signed else codes.sub_(least).relu_())

        return unrolled(operator, scale * images, weights, prox=prox)

    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns ``A z`` of the codes, as signals of this shape."""
        return self._taken_back(self.operator.synthesize(self._as_images(codes), self.image_size(shape)), shape)

    def lasso(self, shape: torch.Size) -> Lasso:
        """Returns the problem of SDNet eq. 4, without lambda_2.

        Its convergence is that of the image size the step size was fitted to.
        """
        step_size = self.step_size.item()
        return Lasso(
            operator=self.operator,
            thresholds=(step_size * self.lam.mean()).expand(len(self.dictionary.weight)),
            lipschitz=1 / step_size,
            convergence=step_size * float(self.dictionary.lipschitz),
            reconstruct=self.reconstruct,
        )


class CSCConv2d(CSCLayer):
    """A drop-in replacement for ``nn.Conv2d``: images ``(N, C, H, W)`` to codes ``(N, atoms, h, w)``.

    The positional arguments are those of ``nn.Conv2d``; `out_channels` is the number of atoms. For the others, and what
    is raised, see `CSCLayer`.
    """

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
        lam2: float = 0.0,
        num_steps: int = 2,
        signed: bool = False,
        solver: Solver = "fista",
    ) -> None:
        dictionary = UnitDictionary(
            in_channels, out_channels, _pair(kernel_size), _pair(stride), _pair(padding), _pair(dilation)
        )
        super().__init__(dictionary, lam=lam, lam2=lam2, num_steps=num_steps, signed=signed, solver=solver)


class CSCConv1d(CSCLayer):
    """A drop-in replacement for ``nn.Conv1d``: sequences ``(N, C, L)`` to codes ``(N, atoms, l)``.

    The positional arguments are those of ``nn.Conv1d``; `out_channels` is the number of atoms. For the others, and what
    is raised, see `CSCLayer`. To it, a sequence is an image of one row.

    Examples:
        >>> CSCConv1d(2, 8, 5, padding=2)(torch.zeros(3, 2, 100)).shape
        torch.Size([3, 8, 100])
    """

    # The first six arguments are those of nn.Conv1d, so that one can stand in for the other.
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        *,
        lam: float = 0.1,
        lam2: float = 0.0,
        num_steps: int = 2,
        signed: bool = False,
        solver: Solver = "fista",
    ) -> None:
        place = (1, stride), (0, padding), (1, dilation)
        dictionary = UnitDictionary(in_channels, out_channels, (kernel_size,), *place)
        super().__init__(dictionary, lam=lam, lam2=lam2, num_steps=num_steps, signed=signed, solver=solver)

    def image_size(self, shape: torch.Size) -> Pair:
        """Returns ``(1, L)``."""
        return 1, shape[2]

    def _as_images(self, values: Tensor) -> Tensor:
        return values.unsqueeze(2)

    def _taken_back(self, images: Tensor, shape: torch.Size) -> Tensor:
        return images.squeeze(2)


class CSCLinear(CSCLayer):
    """A drop-in replacement for ``nn.Linear``: vectors ``(N, d)`` or ``(N, ..., d)`` to codes ``(N, ..., atoms)``.

    Each vector, such as each token of an input ``(N, tokens, d)``, has a code of its own; those of one input share its
    lambda. To it, a vector is a pixel, and A a matrix of unit columns.

    Args:
        in_features: d.
        out_features: Number of atoms.
        lam: As the other arguments, and what is raised, see `CSCLayer`.

    Examples:
        >>> CSCLinear(16, 64)(torch.zeros(3, 10, 16)).shape
        torch.Size([3, 10, 64])
    """

    atom_axis: ClassVar[int] = -1

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lam: float = 0.1,
        lam2: float = 0.0,
        num_steps: int = 2,
        signed: bool = False,
        solver: Solver = "fista",
    ) -> None:
        dictionary = UnitDictionary(in_features, out_features, ())
        super().__init__(dictionary, lam=lam, lam2=lam2, num_steps=num_steps, signed=signed, solver=solver)

    def image_size(self, shape: torch.Size) -> Pair:
        """Returns ``(1, 1)``: a matrix has the same largest eigenvalue for any number of vectors."""
        return 1, 1

    def _as_images(self, values: Tensor) -> Tensor:
        return values.unsqueeze(1).flatten(1, -2).transpose(1, 2).unsqueeze(2)

    def _taken_back(self, images: Tensor, shape: torch.Size) -> Tensor:
        return images.squeeze(2).transpose(1, 2).reshape(*shape[:-1], images.shape[1])


def csc_layers(model: nn.Module) -> dict[str, CSCLayer]:
    """Returns the CSC layers of `model` by qualified name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CSCLayer)}


def fit_image_size(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Estimates the step size of every CSC layer for images of this shape ``(C, H, W)``.

    One forward pass of a zero image in evaluation mode tells the sizes that the inner layers see.
    """
    layers = csc_layers(model).values()
    if not layers:
        return
    sizes: dict[nn.Module, Pair] = {}

    def note_size(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, CSCLayer)
        sizes[module] = module.image_size(inputs[0].shape)

    with traced(layers, before=note_size):
        run_zero_image(model, image_shape)
    for layer in layers:
        if layer in sizes:
            layer.dictionary.fit_image_size(sizes[layer])
