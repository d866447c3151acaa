"""The convolutional operator of every sparse-coding layer: analysis A*, synthesis A, and the largest eigenvalue.

Sources: SDNet (Dai et al., NeurIPS 2022), eq. 2, 3, 7, 9 and 10; Zhang and Zhang, arXiv:1912.02605, eq. 1-5.

Differences from the papers: SDNet writes A as a convolution and A* as its transpose. Here, as in its authors' code, A*
is ``conv2d`` and A its transpose, so the weight ``(atoms, C, kh, kw)`` is that of the convolution a layer replaces. The
power iteration runs on A A* (an image) instead of A* A (codes): both have the same largest eigenvalue, and an image is
smaller.

Kernels of a CPU fill vector registers with channels, so A is slow where images are thin, that is, have few channels.
There it runs in two steps that fill them better, and the gradient of A* is that A. Only the rounding differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.layers.convolution import Pair, Place, convolved, correlated

#: float32 numbers in a vector register of AVX2: images with fewer channels are thin.
_LANES = 8


@dataclass(frozen=True, eq=False)
class ConvOperator:
    """Atoms of shape ``(C, kh, kw)``, placed at every position of a grid. A value: modules own the weight.

    Attributes:
        weight: The atoms, ``(k, C, kh, kw)``.
        stride: Distance between neighbouring positions of an atom.
        padding: How far atoms may extend beyond the border of the image.
        dilation: Distance between neighbouring taps of an atom.
        mirrored: Whether synthesis with stride 1 runs as a convolution with the mirrored atoms. CPU kernels compute it
            faster than the transposed convolution; only the rounding differs.
        matrix: Whether atoms are one pixel large, one at every pixel, and A runs as a product with a matrix, which is
            faster where images are vectors; only the rounding differs.
    """

    weight: Tensor
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    mirrored: bool = False
    matrix: bool = False

    def analyse(self, images: Tensor, bias: Tensor | None = None, *, rectified: bool = False) -> Tensor:
        """Returns ``A* x``, the correlation of every atom with every position (SDNet eq. 7), plus `bias`.

        Args:
            images: ``(N, C, H, W)``.
            bias: Added to each channel of the result, ``(k,)``.
            rectified: Whether what is negative becomes 0.

        Returns:
            ``(N, k, h, w)``, the output size of the corresponding ``nn.Conv2d``.
        """
        if self._thin(images):
            codes: Tensor = _Analysis.apply(images, self.weight, bias, self.place, rectified)
            return codes
        return self._analysed(images, bias, None, rectified)

    def step(
        self, codes: Tensor, images: Tensor, bias: Tensor | None, *, rectified: bool = False, last: bool = False
    ) -> Tensor:
        """Returns ``z + A*(x - A z)`` plus `bias`: a gradient step of size 1 from `codes` on ``1/2 ||x - A z||^2``.

        Args:
            codes: z, finite unless `images`, the weight or `bias` are not, ``(N, k, h, w)``.
            images: x, ``(N, C, H, W)``.
            bias: Added to each channel of the result, ``(k,)``.
            rectified: Whether what is negative becomes 0.
            last: Whether `codes` are not needed any more: where no gradient is recorded, they are overwritten.
        """
        if self._thin(codes):
            moved: Tensor = _Step.apply(codes, images, self.weight, bias, self.place, rectified, last)
            return moved
        error = images - self.synthesize(codes, (images.shape[2], images.shape[3]))
        return self._analysed(error, bias, codes, rectified)

    def _analysed(self, images: Tensor, bias: Tensor | None, onto: Tensor | None, rectified: bool) -> Tensor:
        if self.matrix:  # changed in place before it is a view, whose gradient would be copied
            codes = F.linear(images.movedim(1, -1), self.weight[:, :, 0, 0], bias)
            onto = None if onto is None else onto.movedim(1, -1)
        else:
            codes = F.conv2d(images, self.weight, bias, *self.place)
        codes = codes if onto is None else codes.add_(onto)
        codes = codes.relu_() if rectified else codes
        return codes.movedim(-1, 1) if self.matrix else codes

    def synthesize(self, codes: Tensor, image_size: Pair) -> Tensor:
        """Returns ``A z``, the superposition of atoms that `codes` describe (SDNet eq. 3).

        Args:
            codes: ``(N, k, h, w)``.
            image_size: Height and width of the result; with a stride above 1, several sizes share one code size.

        Returns:
            ``(N, C, *image_size)``.
        """
        if self._thin(codes):
            images: Tensor = _Synthesis.apply(codes, self.weight, self.place, image_size)
            return images
        if self.matrix:
            return F.linear(codes.movedim(1, -1), self.weight[:, :, 0, 0].T).movedim(-1, 1)
        taps = self.weight.shape[2:]
        reach = (self.dilation[0] * (taps[0] - 1), self.dilation[1] * (taps[1] - 1))
        margin = (reach[0] - self.padding[0], reach[1] - self.padding[1])
        if self.mirrored and self.stride == (1, 1) and min(margin) >= 0:
            return F.conv2d(codes, self.weight.flip(2, 3).transpose(0, 1), None, 1, margin, self.dilation)
        missing = [
            size - ((positions - 1) * stride - padding + end + 1)
            for size, positions, stride, padding, end in zip(
                image_size, codes.shape[2:], self.stride, self.padding, margin, strict=True
            )
        ]
        return F.conv_transpose2d(codes, self.weight, None, self.stride, self.padding, missing, 1, self.dilation)

    @property
    def place(self) -> Place:
        """Stride, padding and dilation, as a convolution takes them."""
        return self.stride, self.padding, self.dilation

    def _thin(self, values: Tensor) -> bool:
        """Returns whether `values`, images or codes, are computed with in the form for thin images."""
        return (
            self.weight.shape[1] < _LANES
            and not self.matrix
            and values.device.type == "cpu"
            and values.dtype == self.weight.dtype
            and values.dtype in (torch.float32, torch.float64)
            and values.numel() > 0
            and type(values) in (Tensor, torch.nn.Parameter)  # not a tensor without values, that traces shapes
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()  # which has its own fusion
            and not torch._C._are_functorch_transforms_active()
        )

    def cold_start(self, image_size: Pair) -> Tensor:
        """Returns an image ``(1, C, *image_size)`` from which the power iteration starts when nothing better is known.

        It is 1 plus a fixed pattern: nothing in it is random, and it is not orthogonal to the dominant eigenvector by
        symmetry.
        """
        channels = self.weight.shape[1]
        count = channels * image_size[0] * image_size[1]
        pattern = torch.arange(count, dtype=self.weight.dtype, device=self.weight.device).mul(12.9898).sin()
        return (1 + pattern).view(1, channels, *image_size)

    @torch.no_grad()
    def largest_eigenvalue(
        self, start: Tensor, iterations: int, *, vector_tolerance: float = 0.0, value_tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Returns an estimate of the largest eigenvalue of ``A A*``, 0-d, and its unit eigenvector, by power iteration.

        The estimate never exceeds the eigenvalue. Where all atoms are zero it is 0, and the vector is the start.

        Args:
            start: Image to start from, ``(1, C, H, W)``, not zero.
            iterations: Largest number of iterations, at least 1.
            vector_tolerance: Stop when the unit vector moves by less than this (on a CPU: a GPU would be waited for).
            value_tolerance: Stop when the estimate grows by at most this share (likewise). 0 disables a test.
        """
        vector, value = start / start.norm(), start.new_zeros(())
        for _ in range(iterations):
            product = self.synthesize(self.analyse(vector), (start.shape[2], start.shape[3]))
            previous_value, value = value, product.norm()
            previous, vector = vector, torch.where(value > 0, product / value, vector)
            if start.device.type == "cpu" and (
                (vector_tolerance and (vector - previous).norm() < vector_tolerance)
                or (value_tolerance and value <= (1 + value_tolerance) * previous_value)
            ):
                break
        return value, vector

    def lipschitz(self, image_size: Pair) -> float:
        """Returns the largest eigenvalue of ``A A*`` for images of this size, by power iteration from a cold start."""
        return float(self.largest_eigenvalue(self.cold_start(image_size), 100)[0])

    def as_matrix(self, image_size: Pair) -> Tensor:
        """Returns A for images of this size as a matrix ``(C H W, k h w)``, one atom at one position per column."""
        count = self.weight.shape[1] * image_size[0] * image_size[1]
        basis = torch.eye(count, dtype=self.weight.dtype, device=self.weight.device)
        return self.analyse(basis.view(count, -1, *image_size)).flatten(1)


def _by_rows(codes: Tensor, operator: ConvOperator, image_size: Pair) -> Tensor:
    """Returns ``A z`` in two steps: by flat atoms, with the rows of each as its channels, then by the sum of rows."""
    atoms, channels, rows, columns = operator.weight.shape
    flat = operator.weight.transpose(1, 2).reshape(atoms, rows * channels, 1, columns)
    flat = F.pad(flat, (0, 0, 0, 0, 0, -rows * channels % _LANES))
    (stride, across), (padding, beside), (dilation, apart) = operator.place
    row_wise = ConvOperator(flat, (1, across), (0, beside), (1, apart), mirrored=True)
    parts = row_wise.synthesize(codes, (codes.shape[2], image_size[1]))
    nhwc = parts.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if nhwc else torch.contiguous_format
    images = torch.empty((len(codes), channels, *image_size), dtype=parts.dtype, memory_format=layout).zero_()
    for row in range(rows):
        offset = row * dilation - padding  # of this row of the uppermost atoms
        first, last = max(0, -(offset // stride)), min(codes.shape[2] - 1, (image_size[0] - 1 - offset) // stride)
        if first <= last:
            place = slice(first * stride + offset, last * stride + offset + 1, stride)
            images[:, :, place] += parts[:, row * channels : (row + 1) * channels, first : last + 1]
    return images


# The derivatives below are written with the operator, so they have derivatives themselves.


class _Synthesis(torch.autograd.Function):
    """``A z`` for thin images; the gradients are A* of the gradient, and its correlation with the codes."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, weight: Tensor, place: Place, image_size: Pair) -> Tensor:
        ctx.save_for_backward(codes, weight)
        ctx.place = place
        return _by_rows(codes, ConvOperator(weight, *place), image_size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        codes, weight = ctx.saved_tensors
        of_codes, of_weight, *_ = ctx.needs_input_grad
        return (
            ConvOperator(weight, *ctx.place).analyse(gradient) if of_codes else None,
            correlated(gradient, codes, weight, ctx.place) if of_weight else None,
            None,
            None,
        )


class _Analysis(torch.autograd.Function):
    """``A* x + b`` for thin images, rectified or not; the gradient of the images is A of the gradient."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, place: Place, rectified: bool) -> Tensor:
        codes = convolved(images, weight, bias, place, rectified)
        ctx.save_for_backward(images, weight, *([codes] if rectified else []))
        ctx.place = place
        return codes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, *codes = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, codes[0], 0) if codes else gradient
        of_images, of_weight, of_bias, *_ = ctx.needs_input_grad
        image_size = (images.shape[2], images.shape[3])
        return (
            ConvOperator(weight, *ctx.place).synthesize(gradient, image_size) if of_images else None,
            correlated(images, gradient, weight, ctx.place) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


class _Step(torch.autograd.Function):
    """``z + A*(x - A z) + b`` for thin images, rectified or not.

    With g the gradient and d = A g, those of z and x are ``g - A* d`` and d. That of the atoms is the correlation of
    ``x - A z`` with g less that of d with z.
    """

    @staticmethod
    def forward(
        ctx: Any,
        codes: Tensor,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        place: Place,
        rectified: bool,
        last: bool,
    ) -> Tensor:
        image_size = (images.shape[2], images.shape[3])
        error = images - _by_rows(codes, ConvOperator(weight, *place), image_size)
        kept = any(ctx.needs_input_grad) or not last
        moved = convolved(error, weight, bias, place, rectified, codes.clone() if kept else codes)
        ctx.save_for_backward(codes, images, weight, *([moved] if rectified else []))
        ctx.place, ctx.error = place, error
        return moved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        codes, images, weight, *moved = ctx.saved_tensors
        operator, image_size = ConvOperator(weight, *ctx.place), (images.shape[2], images.shape[3])
        gradient = torch.ops.aten.threshold_backward(gradient, moved[0], 0) if moved else gradient
        of_codes, of_images, of_weight, of_bias, *_ = ctx.needs_input_grad
        twice = torch.is_grad_enabled()  # whether this is to have derivatives
        error = images - operator.synthesize(codes, image_size) if twice else ctx.error
        synthesis = operator.synthesize(gradient, image_size)
        of_atoms = correlated(error, gradient, weight, ctx.place) if of_weight else None
        if of_atoms is not None:
            of_atoms = of_atoms - correlated(synthesis, codes, weight, ctx.place)
        of_each = gradient.sum((0, 2, 3)) if of_bias else None
        if of_codes and moved and not twice:  # the gradient is a tensor of its own
            gradient = convolved(-synthesis, weight, None, ctx.place, False, gradient)
        elif of_codes:
            gradient = gradient + operator.analyse(-synthesis)
        return gradient if of_codes else None, synthesis if of_images else None, of_atoms, of_each, None, None, None
