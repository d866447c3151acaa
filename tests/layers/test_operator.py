from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from robustcsc.layers.operator import ConvOperator

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], Tensor]

#: in_channels, atoms, kernel, stride, padding, dilation, image size
LAYOUTS = [
    (1, 3, (1, 1), (1, 1), (0, 0), (1, 1), (5, 6)),
    (2, 4, (3, 3), (1, 1), (1, 1), (1, 1), (6, 6)),
    (2, 4, (3, 3), (1, 1), (2, 2), (2, 2), (7, 6)),
    (1, 4, (3, 3), (1, 1), (0, 0), (1, 1), (6, 5)),
    (1, 3, (1, 1), (1, 1), (1, 1), (1, 1), (4, 4)),  # padding that a mirrored convolution cannot undo
    (2, 3, (3, 3), (2, 2), (1, 1), (1, 1), (6, 7)),
    (2, 3, (3, 3), (2, 2), (0, 0), (2, 2), (7, 6)),
    (1, 4, (5, 5), (3, 3), (2, 2), (1, 1), (6, 6)),
    (3, 2, (3, 1), (1, 2), (0, 1), (1, 1), (5, 6)),
    (2, 3, (4, 4), (2, 2), (1, 1), (1, 1), (7, 6)),
]
Pair = tuple[int, int]
Layout = tuple[int, int, Pair, Pair, Pair, Pair, Pair]


def make(layout: Layout, mirrored: bool = False, seed: int = 0) -> tuple[ConvOperator, Pair]:
    channels, atoms, kernel, stride, padding, dilation, image_size = layout
    weight = torch.randn(atoms, channels, *kernel, generator=torch.Generator().manual_seed(seed)).double()
    return ConvOperator(weight, stride, padding, dilation, mirrored), image_size


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_analysis_is_the_adjoint_of_synthesis_at_exact_sizes(
    kernel: int, stride: int, dilation: int, mirrored: bool
) -> None:
    torch.manual_seed(0)
    extent = dilation * (kernel - 1) + 1
    weight = torch.randn(3, 2, kernel, kernel).double()
    for padding in {0, 1, kernel // 2}:
        operator = ConvOperator(weight, (stride, stride), (padding, padding), (dilation, dilation), mirrored)
        for height, width in product((6, 7, 13), (8, 11)):
            if min(height, width) + 2 * padding < extent:
                continue
            positions = [(size + 2 * padding - extent) // stride + 1 for size in (height, width)]
            images = torch.randn(2, 2, height, width, dtype=torch.float64)
            codes = torch.randn(2, 3, *positions, dtype=torch.float64)
            synthesis, analysis = operator.synthesize(codes, (height, width)), operator.analyse(images)
            assert synthesis.shape == images.shape
            assert analysis.shape == codes.shape
            error = (synthesis * images).sum() - (codes * analysis).sum()
            assert abs(error) < 1e-12 * codes.norm() * analysis.norm(), (padding, height, width)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_operators_equal_the_matrix_of_placed_atoms(
    layout: Layout, mirrored: bool, dense_matrix: DenseMatrix
) -> None:
    operator, image_size = make(layout, mirrored)
    matrix = dense_matrix(operator, image_size)
    assert torch.equal(operator.as_matrix(image_size), matrix)
    images = torch.randn(3, layout[0], *image_size, dtype=torch.float64)
    analysis = operator.analyse(images)
    torch.testing.assert_close(analysis.flatten(1), images.flatten(1) @ matrix, rtol=1e-12, atol=1e-12)
    codes = torch.randn_like(analysis)
    synthesis = operator.synthesize(codes, image_size)
    torch.testing.assert_close(synthesis.flatten(1), codes.flatten(1) @ matrix.T, rtol=1e-12, atol=1e-12)


def test_a_bias_is_added_to_each_channel() -> None:
    operator, image_size = make(LAYOUTS[1])
    images, bias = torch.randn(2, 2, *image_size).double(), torch.randn(4).double()
    torch.testing.assert_close(operator.analyse(images, bias), operator.analyse(images) + bias.view(-1, 1, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_power_iteration_finds_the_largest_eigenvalue_and_its_vector(
    layout: Layout, mirrored: bool, dense_matrix: DenseMatrix
) -> None:
    operator, image_size = make(layout, mirrored, seed=1)
    matrix = dense_matrix(operator, image_size)
    exact = torch.linalg.matrix_norm(matrix, 2) ** 2
    found, vector = operator.largest_eigenvalue(operator.cold_start(image_size), 2000)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    product = matrix @ (matrix.T @ vector.flatten())
    torch.testing.assert_close(product, exact * vector.flatten(), rtol=0, atol=1e-3 * float(exact))


@pytest.mark.parametrize("tolerance", [{}, {"vector_tolerance": 0.01}, {"value_tolerance": 0.01}])
def test_each_tolerance_stops_the_iteration_early_below_the_eigenvalue(tolerance: dict[str, float]) -> None:
    operator, image_size = make(LAYOUTS[1])
    exact = float(torch.linalg.matrix_norm(operator.as_matrix(image_size), 2) ** 2)
    start = operator.cold_start(image_size)
    steps = [operator.largest_eigenvalue(start, count, **tolerance)[0].item() for count in (1, 2, 100, 200)]
    assert steps[0] < steps[1] <= steps[2] <= steps[3] <= exact * (1 + 1e-12)
    assert (steps[2] < steps[3]) == (not tolerance)
    assert steps[3] > 0.8 * exact


@pytest.mark.parametrize("tolerance", [{}, {"vector_tolerance": 0.01}, {"value_tolerance": 0.01}])
def test_atoms_of_zero_have_the_eigenvalue_zero_and_keep_the_start(tolerance: dict[str, float]) -> None:
    operator = ConvOperator(torch.zeros(2, 1, 3, 3), padding=(1, 1))
    start = operator.cold_start((5, 5))
    found, vector = operator.largest_eigenvalue(start, 3, **tolerance)
    assert found == 0
    assert torch.equal(vector, start / start.norm())
