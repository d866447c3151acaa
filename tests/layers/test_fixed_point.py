"""Fixed points and their gradients against closed forms, central differences, and another implementation."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from robustcsc.layers.fixed_point import FixedPoint, Solver, set_warm, solve
from robustcsc.layers.gradients import Gradient
from tests.layers import torchdeq_reference

SOLVERS: tuple[Solver, ...] = ("broyden", "anderson")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contraction(size: int, factor: float) -> Tensor:
    matrix = normal(size, size)
    return factor * matrix / float(torch.linalg.matrix_norm(matrix, 2))


def tanh_layer(matrix: Tensor, shift: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda state: torch.tanh((state[:, None] * matrix).sum(-1) + shift)  # the same bits in every batch


@pytest.mark.parametrize(("solver", "steps"), [("broyden", 2 * 5 + 1), ("anderson", 5 + 2)])
def test_a_linear_problem_is_solved_in_as_many_steps_as_theory_says(solver: Solver, steps: int) -> None:
    """Broyden's method ends after 2n steps (Gay, 1979), Anderson's like GMRES after n and the last mean."""
    matrix, shift = contraction(5, 0.95), normal(3, 5, seed=1)
    expected = torch.linalg.solve(torch.eye(5, dtype=torch.float64) - matrix, shift.T).T
    found = solve(lambda z: z @ matrix.T + shift, torch.zeros_like(shift), solver=solver, num_steps=steps, tolerance=0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_gradient_of_a_linear_problem_is_its_closed_form(solver: Solver) -> None:
    matrix, shift, weights = contraction(5, 0.9).requires_grad_(), normal(3, 5, seed=1), normal(3, 5, seed=2)
    shift.requires_grad_()
    layer = FixedPoint(solver=solver, num_steps=40, backward_steps=40, tolerance=1e-14)
    found = layer(lambda z: z @ matrix.T + shift, torch.zeros(3, 5, dtype=torch.float64))
    gradients = torch.autograd.grad((weights * found).sum(), (shift, matrix))
    adjoint = torch.linalg.solve(torch.eye(5, dtype=torch.float64) - matrix.detach().T, weights.T).T  # (I - A)^-T w
    torch.testing.assert_close(gradients, (adjoint, adjoint.T @ found.detach()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("gradient", "steps"), [("implicit", 30), ("unrolled", 3)])
def test_gradients_agree_with_central_differences(solver: Solver, gradient: Gradient, steps: int) -> None:
    layer = FixedPoint(solver=solver, num_steps=steps, backward_steps=40, tolerance=1e-14, gradient=gradient)
    leaves = (contraction(4, 1.5).requires_grad_(), normal(3, 4, seed=1).requires_grad_())
    assert gradcheck(lambda *its: layer(tanh_layer(*its), torch.zeros(3, 4, dtype=torch.float64)), leaves)


def test_after_few_steps_the_implicit_gradient_is_not_that_of_what_was_computed() -> None:
    shift = normal(3, 4, seed=1).requires_grad_()
    gradients = []
    for gradient in ("implicit", "unrolled"):
        layer = FixedPoint(num_steps=2, tolerance=0, gradient=gradient)
        found = layer(tanh_layer(contraction(4, 1.5), shift), torch.zeros(3, 4, dtype=torch.float64))
        gradients.append((found.detach(), *torch.autograd.grad(found.sum(), shift)))
    (implicit, its_gradient), (unrolled, the_other) = gradients
    assert torch.equal(implicit, unrolled)
    assert (its_gradient - the_other).norm() > 0.01 * the_other.norm()


@pytest.mark.parametrize("solver", SOLVERS)
def test_equilibrium_and_gradients_are_those_of_torchdeq(solver: Solver) -> None:
    expected = json.loads(torchdeq_reference.FILE.read_text("utf-8"))
    filters, injected = torchdeq_reference.leaves()
    shape = torchdeq_reference.SHAPE
    layer = FixedPoint(solver=solver, num_steps=40, backward_steps=40, tolerance=1e-10).eval()
    found = layer(
        lambda state: torchdeq_reference.cell(state.view(shape), filters, injected).flatten(1),
        torch.zeros(3, 100, dtype=torch.float64),
    ).view(shape)
    gradients = torch.autograd.grad((torchdeq_reference.weights() * found).sum(), (filters, injected))
    for name, ours in zip(("equilibrium", "filters", "injected"), (found, *gradients), strict=True):
        theirs = torch.tensor(expected[name], dtype=torch.float64)
        torch.testing.assert_close(ours.detach().flatten(), theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_image_has_the_same_bits_alone_and_in_a_batch(solver: Solver, gradient: Gradient) -> None:
    layer = FixedPoint(solver=solver, num_steps=9, tolerance=1e-3, gradient=gradient)
    matrix, shifts = contraction(6, 3.0).float(), normal(3, 6, seed=1).float() * torch.tensor([[9.0], [1.0], [0.1]])

    def result(shift: Tensor) -> tuple[Tensor, Tensor]:
        shift = shift.clone().requires_grad_()
        found = layer(tanh_layer(matrix, shift), torch.zeros_like(shift))
        return found.detach(), torch.autograd.grad(found.sum(), shift)[0]

    alone = [torch.cat(its) for its in zip(*(result(shift[None]) for shift in shifts), strict=True)]
    for ours, theirs in zip(result(shifts), alone, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_row_within_its_tolerance_is_finished(solver: Solver) -> None:
    """Beside a row that needs many steps, and one that starts at its fixed point."""
    shift = normal(1, 4, seed=1)
    matrices = torch.stack([contraction(4, factor) for factor in (0.1, 0.99)])
    start, shifts = torch.zeros(3, 4, dtype=torch.float64), torch.cat([shift, shift, 0 * shift])

    def function(state: Tensor) -> Tensor:
        return (state[:, None] * matrices[[0, 1, 1]]).sum(-1) + shifts

    short, long = (solve(function, start, solver=solver, num_steps=steps, tolerance=1e-3) for steps in (5, 20))
    residuals = (function(short) - short).norm(dim=1) / function(short).norm(dim=1)
    assert torch.equal(short[0], long[0]) and 0 < residuals[0] < 1e-3
    assert residuals[1] > 1e-3 and not torch.equal(short[1], long[1])
    assert not long[2].any()


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_best_state_is_returned_and_not_the_last(solver: Solver) -> None:
    tried: list[Tensor] = []

    def wild(state: Tensor) -> Tensor:
        value = 3 * torch.sin(5 * state @ contraction(4, 1.0).T) + 1
        tried.append((value - state).norm(dim=1) / value.norm(dim=1))
        return value

    best = solve(wild, torch.zeros(8, 4, dtype=torch.float64) + normal(8, 1), solver=solver, num_steps=7, tolerance=0)
    assert len(tried) == 7
    wild(best)
    errors = torch.stack(tried)
    torch.testing.assert_close(errors[7], errors[:7].amin(0))
    assert (errors[7] < errors[6]).any()


def test_gradients_depend_on_whether_they_are_enabled_and_not_on_the_mode() -> None:
    layer, shift = FixedPoint().eval(), normal(2, 4).requires_grad_()
    run: Callable[[], Tensor] = lambda: layer(tanh_layer(contraction(4, 0.5), shift), torch.zeros(2, 4))  # noqa: E731
    with torch.no_grad():
        plain = run()
    assert run().requires_grad and not plain.requires_grad
    assert torch.equal(run(), plain)


def test_while_warm_the_function_is_applied_plainly_and_differentiated_through() -> None:
    layer = nn.Sequential(FixedPoint(warm_depth=3))
    set_warm(layer, True)
    rate = torch.tensor(0.5, requires_grad=True)
    found = layer[0](lambda z: rate * z + 1, torch.zeros(1, 1))
    assert found.item() == 1 + 0.5 + 0.25
    assert torch.autograd.grad(found, rate)[0] == 1 + 2 * 0.5
    set_warm(layer, False)
    assert layer[0](lambda z: rate * z + 1, torch.zeros(1, 1)).item() == 2


@pytest.mark.parametrize(
    "wrong", [{"solver": "newton"}, {"gradient": "none"}, {"num_steps": 0}, {"tolerance": float("nan")}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FixedPoint(**wrong)  # type: ignore[arg-type]
