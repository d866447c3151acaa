from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from sklearn.linear_model import Lasso
from torch import Tensor

from robustcsc.layers.prox import nonnegative_soft_threshold, soft_threshold
from robustcsc.layers.solvers import SOLVERS, Solver, fista, growth, ista


class Problem(NamedTuple):
    """``lam ||z||_1 + 1/2 ||x - A z||^2``, signed."""

    matrix: Tensor
    image: Tensor
    lam: float

    @property
    def lipschitz(self) -> float:
        return float(torch.linalg.matrix_norm(self.matrix, 2)) ** 2

    def objective(self, codes: Tensor) -> float:
        return (self.lam * codes.abs().sum() + (self.image - self.matrix @ codes).square().sum() / 2).item()

    def gradient(self, codes: Tensor) -> Tensor:
        return self.matrix.T @ (self.matrix @ codes - self.image)

    def solve(self, solver: Solver, num_steps: int, step_size: float | None = None) -> Tensor:
        step = 1 / self.lipschitz if step_size is None else step_size
        start = torch.zeros(self.matrix.shape[1], dtype=torch.float64)
        return solver(self.gradient, lambda values: soft_threshold(values, step * self.lam), start, step, num_steps)


@pytest.fixture
def problem() -> Problem:
    """Badly conditioned: singular values from 1 down to 0.01."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(30, 30)))
    right, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    matrix = left @ np.diag(np.geomspace(1, 0.01, 30)) @ right[:30]
    return Problem(torch.from_numpy(matrix), torch.from_numpy(rng.normal(size=30)), 0.003)


def reference(problem: Problem) -> Tensor:
    """The minimiser, by coordinate descent; scikit-learn divides the squared error by the number of rows."""
    lasso = Lasso(problem.lam / len(problem.image), fit_intercept=False, tol=1e-12, max_iter=1_000_000)
    return torch.from_numpy(lasso.fit(problem.matrix.numpy(), problem.image.numpy()).coef_)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_an_orthonormal_dictionary_needs_one_soft_threshold(name: str, num_steps: int) -> None:
    rng = np.random.default_rng(1)
    basis = torch.from_numpy(np.linalg.qr(rng.normal(size=(8, 8)))[0])
    image = torch.from_numpy(rng.normal(size=8))
    correlations = (basis.T @ image).numpy()
    expected = np.sign(correlations) * np.maximum(np.abs(correlations) - 0.4, 0)
    codes = Problem(basis, image, 0.4).solve(SOLVERS[name], num_steps, step_size=1.0)
    np.testing.assert_allclose(codes.numpy(), expected, rtol=0, atol=1e-14)


def test_fista_stays_under_the_bound_of_beck_and_teboulle(problem: Problem) -> None:
    minimiser = reference(problem)
    least = problem.objective(minimiser)
    bounds = {k: 2 * problem.lipschitz * minimiser.square().sum().item() / (k + 1) ** 2 for k in range(1, 401)}
    for k in (*range(1, 41), 100, 200, 400):
        assert problem.objective(problem.solve(fista, k)) - least <= bounds[k], k
    # The bound says something: without the momentum the iterates do not stay under it.
    assert any(problem.objective(problem.solve(ista, k)) - least > bounds[k] for k in (100, 200, 400))


def test_ista_decreases_the_objective_at_every_step_under_its_own_bound(problem: Problem) -> None:
    minimiser = reference(problem)
    least = problem.objective(minimiser)
    objectives = [problem.objective(problem.solve(ista, k)) for k in range(1, 30)]
    assert all(later <= earlier for earlier, later in pairwise(objectives))
    for k, value in enumerate(objectives, start=1):
        assert value - least <= problem.lipschitz * minimiser.square().sum().item() / (2 * k)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_up_to_two_steps_momentum_makes_no_difference(problem: Problem, num_steps: int) -> None:
    assert torch.equal(problem.solve(fista, num_steps), problem.solve(ista, num_steps))


def test_the_third_step_of_fista_starts_at_the_extrapolated_point(problem: Problem) -> None:
    # Eq. 6 by hand: m = 1, 1.618034, 2.193527, so the weight of the third step is 0.618034 / 2.193527.
    step = 1 / problem.lipschitz

    def shrink(values: Tensor) -> Tensor:
        return values.sign() * (values.abs() - step * problem.lam).clamp_min(0)

    first = shrink(step * problem.matrix.T @ problem.image)
    second = shrink(first - step * problem.gradient(first))
    momentum = (1 + sqrt(5)) / 2
    weight = (momentum - 1) / ((1 + sqrt(1 + 4 * momentum**2)) / 2)
    assert weight == pytest.approx(0.618034 / 2.193527, abs=1e-6)
    point = second + weight * (second - first)
    torch.testing.assert_close(problem.solve(fista, 3), shrink(point - step * problem.gradient(point)))
    assert not torch.allclose(problem.solve(fista, 3), problem.solve(ista, 3))


def test_the_solution_satisfies_the_optimality_conditions() -> None:
    rng = np.random.default_rng(2)
    problem = Problem(torch.from_numpy(rng.normal(size=(20, 30))), torch.from_numpy(rng.normal(size=20)), 1.0)
    codes = problem.solve(fista, 3000)
    correlation = problem.matrix.T @ (problem.image - problem.matrix @ codes)
    support = codes != 0
    assert 0 < support.sum() < 20
    torch.testing.assert_close(correlation[support], problem.lam * codes[support].sign(), rtol=0, atol=1e-8)
    assert correlation[~support].abs().max() <= problem.lam + 1e-8


@pytest.mark.parametrize("name", SOLVERS)
def test_planted_sparse_codes_are_recovered(name: str) -> None:
    # Spikes and Walsh functions in 64 dimensions have coherence mu = 1/8. For s < (1 + 1/mu) / 2 = 4.5 planted atoms
    # the lasso finds no false atom and errs by at most lam / (1 - (s - 1) mu) per entry (Tropp 2006, 2004).
    spikes_and_walsh = np.hstack([np.eye(64), hadamard(64) / 8.0])
    planted = np.zeros(128)
    planted[[3, 40, 70, 120]] = [1.0, -2.0, 1.5, -1.0]
    problem = Problem(torch.from_numpy(spikes_and_walsh), torch.from_numpy(spikes_and_walsh @ planted), 0.05)
    codes = problem.solve(SOLVERS[name], 400).numpy()
    assert set(np.flatnonzero(codes)) == {3, 40, 70, 120}
    assert np.abs(codes - planted).max() <= 0.05 / (1 - 3 / 8) + 1e-9


@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_through_the_iteration_are_those_of_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(4, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    image = torch.randn(4, dtype=torch.float64, generator=generator, requires_grad=True)

    def codes(matrix: Tensor, image: Tensor) -> Tensor:
        gradient: Callable[[Tensor], Tensor] = lambda z: matrix.T @ (matrix @ z - image)  # noqa: E731
        zero = torch.zeros(6, dtype=torch.float64)
        return SOLVERS[name](gradient, lambda v: nonnegative_soft_threshold(v, 0.02), zero, 0.05, 4)

    assert (codes(matrix, image) > 0).any()
    assert torch.autograd.gradcheck(codes, (matrix, image))


@pytest.mark.parametrize(
    ("solver", "steps", "expected"), [("ista", 1, 1.0), ("ista", 3, 3.0), ("fista", 2, 2.0), ("fista", 3, 3.281754)]
)
def test_growth_of_undamped_steps(solver: str, steps: int, expected: float) -> None:
    # The third extrapolation of FISTA is (m_2 - 1) / m_3 = 0.281754 times the last change.
    assert growth(solver, torch.zeros(()).double(), steps).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_growth_of_damped_steps_of_ista_is_a_geometric_sum(steps: int) -> None:
    decay = torch.tensor(0.3).double()
    assert growth("ista", decay, steps).item() == pytest.approx((1 - 0.7**steps) / 0.3)
