from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import Lasso
from torch import Tensor, nn

from robustcsc.layers.constraints import Constrained, project_parameters
from robustcsc.layers.qmetric import QMetricReLU, metric, metric_parameters, q_metric_relu

Array = NDArray[np.floating[Any]]
#: (rows of D, atoms, alpha, beta, lambda): fewer atoms than rows, more atoms than rows, no ridge, hardly any penalty.
PROBLEMS = [(8, 5, 0.5, 0.3, 0.4), (4, 9, 0.8, 0.1, 0.2), (6, 6, 1.0, 0.0, 0.7), (3, 7, 0.3, 1.0, 0.01)]


def problem(seed: int, rows: int, atoms: int) -> tuple[Array, Array]:
    """A dictionary of unit atoms and eleven vectors to code, one per row."""
    generator = np.random.default_rng(seed)
    dictionary = generator.normal(size=(rows, atoms))
    return dictionary / np.linalg.norm(dictionary, axis=0), 2 * generator.normal(size=(11, atoms))


def least_squares_form(quadratic: Array, values: Array, beta: float, lam: float) -> tuple[Array, Array]:
    """Matrix A and targets y such that eq. 19 is ``min_{u >= 0} 1/2 ||A u - y||^2``, up to a constant."""
    factor: Array = np.linalg.cholesky(quadratic + beta * np.eye(len(quadratic))).T
    targets: Array = np.linalg.solve(factor.T, quadratic @ values.T - lam)
    return factor, targets


def active_set(quadratic: Array, values: Array, beta: float, lam: float) -> Array:
    """The minimiser of eq. 19 by Lawson and Hanson's algorithm, exact up to rounding."""
    factor, targets = least_squares_form(quadratic, values, beta, lam)
    return np.stack([scipy.optimize.nnls(factor, target)[0] for target in targets.T])


def coordinate_descent(quadratic: Array, values: Array, beta: float, lam: float) -> Array:
    """The minimiser of eq. 19 by scikit-learn's Lasso, which keeps the l1 norm apart."""
    factor, targets = least_squares_form(quadratic, values, beta, 0.0)
    lasso = Lasso(alpha=lam / len(factor), positive=True, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    return np.stack([lasso.fit(factor, target).coef_ for target in targets.T])


def contraction(quadratic: Array) -> float:
    """A step size at which eq. 28, with the norm it means, holds for Theta = diag(Q), at most 1."""
    scale = 1 / np.sqrt(np.diag(quadratic))
    return min(1.0, 1.9 / float(np.linalg.norm(scale[:, None] * quadratic * scale, 2)))


def converged(
    dictionary: Array, values: Array, *, alpha: float, beta: float, lam: float, gamma: float, theta: Array | None = None
) -> Array:
    layer = QMetricReLU.from_dictionary(
        torch.from_numpy(dictionary),
        alpha=alpha,
        beta=beta,
        lam=lam,
        num_steps=4000,
        gamma=gamma,
        theta=None if theta is None else torch.from_numpy(theta),
    )
    with torch.no_grad():
        codes: Array = layer(torch.from_numpy(values)).numpy()
    return codes


@pytest.mark.parametrize(("rows", "atoms", "alpha", "beta", "lam"), PROBLEMS)
def test_the_converged_layer_is_the_minimiser_that_convex_solvers_find(
    rows: int, atoms: int, alpha: float, beta: float, lam: float
) -> None:
    for seed in range(5):
        dictionary, values = problem(seed, rows, atoms)
        quadratic = dictionary.T @ dictionary + alpha * np.eye(atoms)
        codes = converged(dictionary, values, alpha=alpha, beta=beta, lam=lam, gamma=contraction(quadratic))
        for solver in (active_set, coordinate_descent):
            expected = solver(quadratic, values, beta, lam)
            assert 0.05 < (expected > 1e-9).mean() < 0.95  # neither trivial nor unconstrained
            assert np.linalg.norm(codes - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize(("rows", "atoms", "alpha", "beta", "lam"), PROBLEMS)
def test_the_fixed_point_is_optimal(rows: int, atoms: int, alpha: float, beta: float, lam: float) -> None:
    dictionary, values = problem(7, rows, atoms)
    quadratic = dictionary.T @ dictionary + alpha * np.eye(atoms)
    codes = converged(dictionary, values, alpha=alpha, beta=beta, lam=lam, gamma=contraction(quadratic))
    gradient = (codes - values) @ quadratic + beta * codes + lam  # eq. 22
    assert codes.min() >= 0
    assert np.abs(gradient[codes > 0]).max() < 1e-8
    assert gradient[codes == 0].min() > -1e-8


def test_both_constructions_converge_to_the_same_point() -> None:
    dictionary, values = problem(3, 12, 4)
    layer = partial(converged, dictionary, alpha=1.5, beta=0.2, lam=0.3)
    quadratic = dictionary.T @ dictionary + 1.5 * np.eye(4)
    assert contraction(quadratic) == 1.0  # the condition of eq. 24
    first = layer(values, gamma=1.0)
    theta = np.array([0.9, 2.0, 1.1, 3.0]) * np.linalg.norm(quadratic, 2)
    other = layer(values, gamma=1.7, theta=theta)
    np.testing.assert_allclose(other, first, rtol=1e-9, atol=1e-10)


def test_the_layer_is_firmly_nonexpansive_in_the_metric() -> None:
    dictionary, values = problem(5, 5, 8)
    others = problem(6, 5, 8)[1]
    quadratic = dictionary.T @ dictionary + 0.4 * np.eye(8)
    layer = partial(converged, dictionary, alpha=0.4, beta=0.1, lam=0.2, gamma=contraction(quadratic))
    moved = layer(values) - layer(others)
    inner = np.einsum("ni,ij,nj->n", moved, quadratic, values - others)
    squared = np.einsum("ni,ij,nj->n", moved, quadratic, moved)
    assert squared.min() > 0.01
    assert (inner >= squared * (1 + 1e-9)).all()


def test_equation_24_without_its_condition_oscillates_and_is_refused() -> None:
    # Eight times the same atom: 1/2 (sum of u - sum of z)^2, and every coordinate corrects the whole error at once.
    dictionary = torch.ones(1, 8, dtype=torch.float64)
    quadratic = metric(dictionary, 0.01)
    for step in (1.0, 0.5):
        with pytest.raises(ValueError, match=r"may not converge.*give gamma below 0\.25"):
            metric_parameters(quadratic, beta=0.0, lam=0.1, gamma=step)
    naive = torch.full((8, 8, 1, 1), -1 / 1.01, dtype=torch.float64)
    naive.view(8, 8).fill_diagonal_(0)
    gain, threshold = torch.ones(8, dtype=torch.float64), torch.full((8,), 0.1 / 1.01, dtype=torch.float64)
    values = torch.ones(1, 8, dtype=torch.float64)
    late, later = (q_metric_relu(values, naive, gain, threshold, steps) for steps in (1000, 1001))
    assert (late - later).abs().max() > 1
    assert metric_parameters(quadratic, beta=0.0, lam=0.1, gamma=0.24)[1].tolist() == [1.0] * 8


def test_one_channel_has_a_closed_form_reached_in_one_step() -> None:
    layer = QMetricReLU.from_dictionary(
        torch.tensor([[3.0], [4.0]], dtype=torch.float64), alpha=1.0, beta=4.0, lam=2.0, num_steps=1
    )
    # q = 26: u = max(0, 26 z - 2) / 30
    values = torch.tensor([[1.0], [0.05], [-3.0]], dtype=torch.float64)
    torch.testing.assert_close(layer(values), torch.tensor([[0.8], [0.0], [0.0]], dtype=torch.float64))


def filters(channels: int, blocks: int, size: tuple[int, int]) -> Tensor:
    return 0.3 * torch.randn(channels, channels // blocks, *size, dtype=torch.float64)


def as_matrix(weight: Tensor, image_size: tuple[int, int]) -> Array:
    """The convolution with `weight` as a matrix ``(k H W, k H W)``, written tap by tap."""
    channels, per_block, height, width = weight.shape
    shape = (channels, *image_size)
    matrix = np.zeros(shape + shape)
    for out, inner, u, v in np.ndindex(channels, per_block, height, width):
        source = out // per_block * per_block + inner
        for i, j in np.ndindex(*image_size):
            row, column = i + u - height // 2, j + v - width // 2
            if 0 <= row < image_size[0] and 0 <= column < image_size[1]:
                matrix[out, i, j, source, row, column] = weight[out, inner, u, v]
    size = channels * image_size[0] * image_size[1]
    return matrix.reshape(size, size)


@pytest.mark.parametrize(("blocks", "size"), [(1, (3, 3)), (2, (3, 5)), (4, (1, 3))])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_the_convolutional_form_is_equation_20_with_the_matrix_of_the_convolution(
    blocks: int, size: tuple[int, int], num_steps: int
) -> None:
    torch.manual_seed(0)
    weight, gain, threshold = filters(4, blocks, size), torch.rand(4).double(), 0.1 * torch.rand(4).double()
    images = torch.randn(3, 4, 4, 5, dtype=torch.float64)
    matrix = as_matrix(weight, (4, 5))
    values = images.flatten(1).numpy()
    shrink, shift = (np.repeat(each.numpy(), 20) for each in (gain, threshold))
    codes = np.zeros_like(values)
    for _ in range(num_steps):
        codes = np.maximum(shrink * values + (codes - values) @ matrix.T - shift, 0)
    result = q_metric_relu(images, weight, gain, threshold, num_steps, blocks=blocks)
    np.testing.assert_allclose(result.flatten(1), codes, rtol=1e-12, atol=1e-12)
    dense = torch.from_numpy(matrix)[:, :, None, None]
    wide = q_metric_relu(
        images.flatten(1), dense, torch.from_numpy(shrink), torch.from_numpy(shift), num_steps, blocks=1
    )
    np.testing.assert_allclose(wide, codes, rtol=1e-12, atol=1e-12)


def test_on_an_image_of_one_pixel_the_filters_are_their_centre() -> None:
    torch.manual_seed(0)
    weight, gain, threshold = filters(6, 2, (3, 3)), torch.rand(6).double(), torch.rand(6).double()
    values = torch.randn(5, 6, dtype=torch.float64)
    image = q_metric_relu(values[:, :, None, None], weight, gain, threshold, 4, blocks=2)
    dense = q_metric_relu(values, weight[:, :, 1:2, 1:2], gain, threshold, 4, blocks=2)
    torch.testing.assert_close(image.flatten(1), dense, rtol=1e-12, atol=1e-12)
    assert dense.gt(0).any()


def test_a_convolutional_dictionary_gives_the_minimiser_on_a_whole_image() -> None:
    torch.manual_seed(0)
    atoms = torch.randn(3, 2, 2, 3, dtype=torch.float64)
    # The columns of D: an atom at every position, not cut off at the border of the codes.
    basis = torch.eye(3 * 4 * 5, dtype=torch.float64).view(-1, 3, 4, 5)
    columns = F.conv_transpose2d(basis, atoms).flatten(1).T.numpy()
    quadratic = columns.T @ columns + 0.5 * np.eye(60)
    np.testing.assert_allclose(as_matrix(metric(atoms, 0.5), (4, 5)), quadratic, atol=1e-12)
    values = torch.randn(4, 3, 4, 5, dtype=torch.float64)
    layer = QMetricReLU.from_dictionary(atoms, alpha=0.5, beta=0.2, lam=0.6, num_steps=3000, gamma=0.2)
    with torch.no_grad():
        codes = layer(values).flatten(1).numpy()
    expected = active_set(quadratic, values.flatten(1).numpy(), 0.2, 0.6)
    assert np.linalg.norm(codes - expected) < 1e-6 * np.linalg.norm(expected)


def test_the_convergence_condition_covers_every_smaller_image() -> None:
    torch.manual_seed(1)
    atoms = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    quadratic = metric(atoms, 0.1)
    theta = quadratic[:, :, 2, 2].diagonal().numpy()
    with pytest.raises(ValueError, match="give gamma below") as refused:
        metric_parameters(quadratic, beta=0.0, lam=0.1, gamma=1.0)
    limit = float(str(refused.value).split("gamma below ")[1].split(",")[0])
    for size in ((3, 3), (7, 8)):
        scale = 1 / np.sqrt(np.repeat(theta, size[0] * size[1]))
        largest = np.linalg.norm(scale[:, None] * as_matrix(quadratic, size) * scale, 2)
        assert limit <= 2 / largest * 1.001
        assert limit > 1 / largest


def randomised(layer: QMetricReLU) -> QMetricReLU:
    with torch.no_grad():
        layer.weight.normal_(0, 0.2)
        layer.gain.uniform_(0, 1)
        layer.threshold.uniform_(0, 0.3)
    return layer


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3, 3)])
def test_gradients_are_those_of_the_unrolled_iteration(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = randomised(QMetricReLU(4, 3, num_steps=3, blocks=2).double())
    values = torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    def output(values: Tensor, weight: Tensor, gain: Tensor, threshold: Tensor) -> Tensor:
        return q_metric_relu(values, weight, gain, threshold, 3, blocks=2)

    assert torch.autograd.gradcheck(output, (values, layer.weight, layer.gain, layer.threshold))


def test_an_activation_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    layer = randomised(QMetricReLU(6, 3, num_steps=4)).double()
    images = torch.randn(5, 6, 7, 7, dtype=torch.float64)
    together = layer(images)
    torch.testing.assert_close(layer(images[3:4]), together[3:4], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(images.flip(0)), together.flip(0), rtol=1e-12, atol=1e-12)


def test_projection_is_onto_the_sets_of_algorithm_2_and_nothing_else_moves() -> None:
    layer = QMetricReLU(4, 3, blocks=2)
    assert isinstance(layer, Constrained)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.gain.copy_(torch.tensor([-0.5, 0.25, 1.0, 7.0]))
        layer.threshold.copy_(torch.tensor([-1.0, 0.0, 0.5, 9.0]))
    project_parameters(nn.Sequential(layer))
    expected = torch.full((4, 2, 3, 3), 2.0)
    for channel, within_block in ((0, 0), (1, 1), (2, 0), (3, 1)):
        expected[channel, within_block, 1, 1] = 0
    assert torch.equal(layer.weight, expected)
    assert layer.gain.tolist() == [0.0, 0.25, 1.0, 1.0]
    assert layer.threshold.tolist() == [0.0, 0.0, 0.5, 9.0]
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad


def test_a_layer_built_from_a_dictionary_by_equation_24_is_in_the_constraint_set() -> None:
    layer = QMetricReLU.from_dictionary(
        torch.eye(4, dtype=torch.float64) + 0.2, alpha=1.0, beta=0.3, lam=0.1, num_steps=2
    )
    before = {name: value.clone() for name, value in layer.named_parameters()}
    layer.project_parameters()
    for name, value in layer.named_parameters():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    "arguments", [{"kernel_size": 2}, {"kernel_size": (3, 4)}, {"num_steps": 0}, {"blocks": 3}, {"blocks": 0}]
)
def test_sizes_that_make_no_sense_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1, kernel_size odd and blocks a divisor"):
        QMetricReLU(4, **arguments)
