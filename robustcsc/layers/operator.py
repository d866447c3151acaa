"""The convolutional operator of every sparse-coding layer: analysis A*, synthesis A, and the largest eigenvalue.

Sources: SDNet (Dai et al., NeurIPS 2022), eq. 2, 3, 7, 9 and 10; Zhang and Zhang, arXiv:1912.02605, eq. 1-5.

Differences from the papers: SDNet writes A as a convolution and A* as its transpose. Here, as in its authors' code, A*
is ``conv2d`` and A its transpose, so the weight ``(atoms, C, kh, kw)`` is that of the convolution a layer replaces. The
power iteration runs on A A* (an image) instead of A* A (codes): both have the same largest eigenvalue, and an image is
smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


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
    """

    weight: Tensor
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    mirrored: bool = False

    def analyse(self, images: Tensor, bias: Tensor | None = None) -> Tensor:
        """Returns ``A* x``, the correlation of every atom with every position (SDNet eq. 7), plus `bias` ``(k,)``.

        Args:
            images: ``(N, C, H, W)``.
            bias: Added to each channel of the result.

        Returns:
            ``(N, k, h, w)``, the output size of the corresponding ``nn.Conv2d``.
        """
        return F.conv2d(images, self.weight, bias, self.stride, self.padding, self.dilation)

    def synthesize(self, codes: Tensor, image_size: Pair) -> Tensor:
        """Returns ``A z``, the superposition of atoms that `codes` describe (SDNet eq. 3).

        Args:
            codes: ``(N, k, h, w)``.
            image_size: Height and width of the result; with a stride above 1, several sizes share one code size.

        Returns:
            ``(N, C, *image_size)``.
        """
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
            vector_tolerance: Stop when the unit vector moves by less than this; 0 disables the test.
            value_tolerance: Stop when the estimate grows by at most this share; 0 disables the test.
        """
        image_size = (start.shape[2], start.shape[3])
        vector, value = start / start.norm(), start.new_zeros(())
        for _ in range(iterations):
            product = self.synthesize(self.analyse(vector), image_size)
            previous_value, value = value, product.norm()
            previous, vector = vector, torch.where(value > 0, product / value, vector)
            if vector_tolerance and (vector - previous).norm() < vector_tolerance:
                break
            if value_tolerance and value <= (1 + value_tolerance) * previous_value:
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
