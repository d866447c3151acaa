from collections.abc import Callable

import pytest
import torch

from robustcsc.layers.operator import ConvOperator

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], torch.Tensor]


@pytest.fixture
def dense_matrix() -> DenseMatrix:
    """Writes A of eq. 3 as a matrix ``(C * H * W, atoms * h * w)``: every column is one atom, placed tap by tap."""

    def matrix(operator: ConvOperator, image_size: tuple[int, int]) -> torch.Tensor:
        atoms, channels, *taps = operator.weight.shape
        positions = [
            (size + 2 * padding - dilation * (tap - 1) - 1) // stride + 1
            for size, padding, dilation, tap, stride in zip(
                image_size, operator.padding, operator.dilation, taps, operator.stride, strict=True
            )
        ]
        columns = torch.zeros(channels, *image_size, atoms, *positions, dtype=torch.float64)
        for i in range(positions[0]):
            for j in range(positions[1]):
                for u in range(taps[0]):
                    for v in range(taps[1]):
                        row = i * operator.stride[0] - operator.padding[0] + u * operator.dilation[0]
                        column = j * operator.stride[1] - operator.padding[1] + v * operator.dilation[1]
                        if 0 <= row < image_size[0] and 0 <= column < image_size[1]:
                            columns[:, row, column, :, i, j] += operator.weight.detach()[:, :, u, v].T
        return columns.reshape(channels * image_size[0] * image_size[1], -1)

    return matrix
