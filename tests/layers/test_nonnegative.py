"""Codes of the non-negative quadratic problem beside its closed forms, and beta beside a direct solution."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from robustcsc.layers import nonnegative
from robustcsc.layers.gradients import GRADIENTS
from robustcsc.layers.nonnegative import active_solution, largest_eigenvalue_bound, nonnegative_code
from robustcsc.layers.task_driven import implicit_beta


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(rows: int, atoms: int, lam2: float = 0.0) -> Tensor:
    dictionary = normal(rows, atoms, seed=1) / rows**0.5
    return torch.addmm(lam2 * torch.eye(atoms, dtype=torch.float64), dictionary.T, dictionary)


@pytest.mark.parametrize("atoms", [1, 5, 64, 256])
def test_the_bound_is_never_below_the_largest_eigenvalue_and_at_most_five_percent_above(atoms: int) -> None:
    for gram in (gram_of(300, atoms), torch.eye(atoms, dtype=torch.float64) * 1e-6):
        exact = torch.linalg.eigvalsh(gram)[-1].item()
        assert exact * (1 - 1e-9) <= largest_eigenvalue_bound(gram).item() <= exact * atoms ** (1 / 128) * (1 + 1e-9)
        assert largest_eigenvalue_bound(gram.float()).item() == pytest.approx(exact, rel=0.05)


def test_a_zero_matrix_has_a_finite_step() -> None:
    assert largest_eigenvalue_bound(torch.zeros(3, 3)).item() == 1


def test_orthonormal_atoms_give_the_rectified_correlations() -> None:
    linear = normal(2, 4, 3)
    codes = nonnegative_code(linear, torch.eye(4, dtype=torch.float64), 60)
    torch.testing.assert_close(codes, linear.relu(), rtol=1e-6, atol=1e-8)


def test_beta_is_the_solution_on_the_active_set() -> None:
    gram, gradient = gram_of(40, 30, 0.01), normal(3, 30, 7)
    active = normal(3, 30, 7, seed=2) > 0.3
    active[0, :, 0] = False
    expected = torch.zeros_like(gradient)
    for image in range(3):
        for place in range(7):
            on = active[image, :, place]
            expected[image, on, place] = torch.linalg.solve(gram[on][:, on], gradient[image, on, place])
    found = active_solution(active, gradient, gram)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert not found[~active].any()


def test_beta_does_not_change_with_the_scale_of_the_atoms() -> None:
    gram, active, gradient = gram_of(40, 20), normal(1, 20, 5, seed=2) > 0, normal(1, 20, 5)
    scale = torch.logspace(-4, 4, 20, dtype=torch.float64)
    scaled = active_solution(active, gradient * scale[:, None], scale[:, None] * gram * scale)
    torch.testing.assert_close(scaled * scale[:, None], active_solution(active, gradient, gram), rtol=1e-6, atol=1e-9)


def test_beta_is_that_of_algorithm_1_of_task_driven_dictionary_learning() -> None:
    dictionary = normal(30, 20, seed=1)
    codes, gradient = normal(6, 20, seed=2).relu(), normal(6, 20, seed=3)
    expected = implicit_beta(codes, gradient, dictionary, 1e-9)
    found = active_solution((codes > 0).T[None], gradient.T[None], dictionary.T @ dictionary)[0].T
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_the_implicit_gradient_agrees_with_central_differences() -> None:
    root, linear = normal(9, 5, seed=1), normal(2, 5, 3, seed=2) * 2

    def coded(b: Tensor, d: Tensor) -> Tensor:
        return nonnegative_code(b, d.T @ d, 1000)

    counts = (coded(linear, root) > 0).sum(1)
    assert counts.min() < counts.max()  # active sets of different size
    assert gradcheck(coded, (linear.requires_grad_(), root.requires_grad_()), fast_mode=True)


def test_the_implicit_gradient_is_the_unrolled_one_of_many_steps() -> None:
    weights, gradients = normal(2, 8, 4, seed=5), []
    for gradient in GRADIENTS:
        linear, root = normal(2, 8, 4, seed=2).requires_grad_(), normal(12, 8, seed=1).requires_grad_()
        codes = nonnegative_code(linear, root.T @ root, 1000, gradient)
        gradients.append((codes.detach(), *torch.autograd.grad((codes * weights).sum(), (linear, root))))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_codes_and_gradients_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for numbers in (1, 1 << 16):
        monkeypatch.setattr(nonnegative, "CPU_NUMBERS", numbers)
        linear = normal(5, 8, 6, seed=2).requires_grad_()
        codes = nonnegative_code(linear, gram_of(12, 8), 50)
        results.append((codes, *torch.autograd.grad(codes.square().sum(), linear)))
    for alone, together in zip(*results, strict=True):
        torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-12)
