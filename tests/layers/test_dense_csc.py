from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Lasso
from torch import Tensor, nn

from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import SOLVERS, fista

Solver = Literal["ista", "fista"]


def layer_of(unfolding: int, solver: Solver = "ista", *, dilation: int = 1, signed: int = 0) -> DenseCSCConv2d:
    torch.manual_seed(0)
    layer = DenseCSCConv2d(5, 4, 3, dilation, signed=signed, unfolding=unfolding, solver=solver).double()
    nn.init.normal_(layer.weight, std=0.2)
    nn.init.normal_(layer.bias, std=0.1)
    layer.step_size.fill_(0.6)
    layer.decay.fill_(0.7)
    return layer


def growth(layer: DenseCSCConv2d) -> float:
    """The solver's code, of a signal of 1 of which a step explains the share decay, by which the layer divides."""
    one = torch.ones(()).double()
    steps = SOLVERS[layer.solver](
        lambda z: layer.decay * z - one, lambda z: z, torch.zeros_like(one), 1.0, 1 + layer.unfolding
    )
    return layer.step_size.item() * steps.item()


@pytest.mark.parametrize("solver", ["ista", "fista"])
@pytest.mark.parametrize("unfolding", [0, 1, 2, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("signed", [0, 2])
def test_codes_are_those_of_the_generic_solver_on_the_dictionary_with_the_identity(
    solver: Solver, unfolding: int, dilation: int, signed: int
) -> None:
    side = 7
    layer = layer_of(unfolding, solver, dilation=dilation, signed=signed)
    images = torch.rand(1, 5, side, side).double()
    images[:, :signed] -= 0.5
    signal, size = images.flatten(), images.numel()
    dictionary = torch.cat((torch.eye(size).double(), layer.operator.as_matrix((side, side)).detach()), 1)  # [I F']
    step = layer.step_size.item()
    shift = step * torch.cat((torch.zeros(size).double(), layer.bias.detach().repeat_interleave(side**2)))
    lowest = torch.zeros(dictionary.shape[1]).double()
    lowest[: signed * side**2] = -torch.inf
    expected = SOLVERS[solver](
        lambda z: dictionary.T @ (dictionary @ z - signal),
        lambda z: torch.maximum(z + shift, lowest),
        torch.zeros(dictionary.shape[1]).double(),
        step,
        1 + unfolding,
    )
    codes = layer(images).detach()
    torch.testing.assert_close(codes.flatten() * growth(layer), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(layer.reconstruct(codes, images.shape).flatten(), dictionary @ expected)


def literal(layer: DenseCSCConv2d, images: Tensor) -> Tensor:
    """Algorithms 2 and 3, line by line, with their concatenations and splits; their b is c times the layer's."""
    width, channels = layer.weight.shape[:2]
    place = (1, layer.padding)  # stride and padding
    bias = layer.step_size * torch.cat((torch.zeros(channels), layer.bias.detach())).to(images).view(-1, 1, 1)
    current = F.relu(
        layer.step_size * torch.cat((images, F.conv2d(images, layer.weight, None, *place, layer.dilation)), 1) + bias
    )
    previous, momentum = current, 1.0
    for _ in range(layer.unfolding):
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        weight = (momentum - 1) / following if layer.solver == "fista" else 0.0
        point = current + weight * (current - previous)
        first = (
            point[:, :-width]
            + F.conv_transpose2d(point[:, -width:], layer.weight, None, *place, 0, 1, layer.dilation)
            - images
        )
        change = torch.cat((first, F.conv2d(first, layer.weight, None, *place, layer.dilation)), 1)
        previous, current, momentum = current, F.relu(point - layer.step_size * change + bias), following
    return current


@pytest.mark.parametrize("solver", ["ista", "fista"])
@pytest.mark.parametrize("unfolding", [0, 1, 2, 4])
def test_it_computes_algorithms_2_and_3_and_their_gradients(solver: Solver, unfolding: int) -> None:
    layer = layer_of(unfolding, solver, dilation=2)
    images = torch.rand(2, 5, 8, 7).double().requires_grad_()
    weights = torch.randn(2, 9, 8, 7).double()
    gradients = []
    outputs = [layer(images), literal(layer, images) / growth(layer)]
    for output in outputs:
        gradients.append(torch.autograd.grad((output * weights).sum(), [images, layer.weight]))
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("unfolding", "same"), [(0, True), (1, True), (2, False)])
def test_up_to_one_further_step_fista_is_ista(unfolding: int, same: bool) -> None:
    images = torch.rand(1, 5, 6, 6).double()
    codes = [layer_of(unfolding, solver)(images) for solver in ("ista", "fista")]
    assert torch.equal(*codes) is same


def test_proposition_1_a_layer_of_msdnet_to_the_bit() -> None:
    torch.manual_seed(1)
    layer = DenseCSCConv2d(7, 4, 3, 2, signed=3, unfolding=0)
    nn.init.normal_(layer.bias)
    layer.step_size.fill_(0.3)
    images = torch.rand(2, 7, 9, 9).contiguous(memory_format=torch.channels_last)
    images[:, :3] -= 0.5  # an image's own channels
    new = F.relu(F.conv2d(images, layer.weight, layer.bias, padding=2, dilation=2))
    assert torch.equal(layer(images), torch.cat((images, new), 1))


@pytest.mark.parametrize(("solver", "unfolding"), [("ista", 1), ("ista", 2), ("fista", 2), ("fista", 7)])
@pytest.mark.parametrize("c", [0.01, 0.5, 1.0])
def test_where_the_filters_are_0_the_signal_keeps_its_scale(solver: Solver, unfolding: int, c: float) -> None:
    layer = DenseCSCConv2d(3, 4, signed=1, unfolding=unfolding, solver=solver).double()
    nn.init.zeros_(layer.weight)
    layer.step_size.fill_(c)
    layer.decay.fill_(c)
    images = torch.rand(2, 3, 5, 5).double()
    images[:, 0] -= 0.5
    torch.testing.assert_close(layer(images)[:, :3], images)
    assert not layer(images)[:, 3:].any()
    if solver == "ista":
        assert growth(layer) == pytest.approx(1 - (1 - c) ** (1 + unfolding))


@pytest.mark.parametrize(("rows", "columns"), [(4, 7), (7, 4), (5, 5)])
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_lemma_3_eigenvalues_of_the_dictionary_with_the_identity(rows: int, columns: int, rank: int) -> None:
    """As printed the lemma says: those of AA' plus 1, and as many zeros as A has columns.

    That is right for square A only. What holds for every A: those of A'A plus 1 (that is, those of AA' that are not 0
    plus 1, and 1 as often as the columns exceed the rank), and as many zeros as A has *rows*. The largest is 1 more.
    """
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    stacked = np.vstack([np.eye(columns), matrix])
    eigenvalues = np.linalg.eigvalsh(stacked @ stacked.T)
    plus_one = np.sort(np.linalg.eigvalsh(matrix.T @ matrix)) + 1
    np.testing.assert_allclose(eigenvalues, np.concatenate([np.zeros(rows), plus_one]), atol=1e-9)
    positive = np.linalg.eigvalsh(matrix @ matrix.T)[-rank:] + 1
    np.testing.assert_allclose(eigenvalues[-rank:], positive, rtol=1e-9)
    printed = np.sort(np.concatenate([np.zeros(columns), np.linalg.eigvalsh(matrix @ matrix.T) + 1]))
    assert np.allclose(eigenvalues, printed, atol=1e-9) is (rows == columns)


@pytest.mark.parametrize("dilation", [1, 2])
def test_lemma_3_holds_for_the_layer(dilation: int) -> None:
    layer = layer_of(1, dilation=dilation)
    matrix = layer.operator.as_matrix((8, 8)).detach()
    dictionary = torch.cat((torch.eye(5 * 64).double(), matrix), 1)
    largest = torch.linalg.matrix_norm(dictionary, 2).item() ** 2
    assert 1 + layer.operator.lipschitz((8, 8)) == pytest.approx(largest, rel=1e-3)


def lasso_objective(dictionary: Tensor, signal: Tensor, codes: Tensor, beta: float) -> float:
    return ((signal - dictionary @ codes).square().sum() / 2 + beta * codes.abs().sum()).item()


def solved(dictionary: Tensor, signal: Tensor, beta: float) -> Tensor:
    """By coordinate descent; scikit-learn divides the squared error by the number of rows."""
    model = Lasso(beta / len(signal), fit_intercept=False, tol=1e-10, max_iter=100_000)
    return torch.from_numpy(model.fit(dictionary.numpy(), signal.numpy()).coef_)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5])
def test_theorem_1_the_identity_never_raises_the_objective_and_repairs_what_fails(beta: float) -> None:
    torch.manual_seed(2)
    filters = layer_of(1).operator.as_matrix((4, 4)).detach()  # F': dictionary of ML-CSC
    signal = torch.randn(len(filters)).double()
    dictionary = torch.cat((torch.eye(len(filters)).double(), filters), 1)
    ml = solved(filters, signal, beta)
    error = signal - filters @ ml
    failed = error.abs() > 2 * beta
    assert failed.any()
    # The proof's codes: the error itself on the dimensions that fail.
    patched = torch.cat((torch.where(failed, error, 0.0), ml))
    gain = (error[failed].square() / 2 - beta * error[failed].abs()).sum().item()
    ml_objective = lasso_objective(filters, signal, ml, beta)
    patched_objective = lasso_objective(dictionary, signal, patched, beta)
    assert patched_objective == pytest.approx(ml_objective - gain)
    assert gain > 0
    msd = solved(dictionary, signal, beta)
    assert lasso_objective(dictionary, signal, msd, beta) <= patched_objective
    # Optimality in the columns of the identity leaves no dimension with an error above beta, let alone 2 beta.
    assert (signal - dictionary @ msd).abs().max() <= beta * (1 + 1e-6)


def test_many_steps_of_the_layer_solve_its_lasso() -> None:
    layer = layer_of(1000, "fista")
    layer.weight.data.mul_(0.5)
    nn.init.constant_(layer.bias, -0.1)  # beta on the features, 0 on the identity
    images = torch.rand(1, 5, 4, 4).double()
    codes = growth(layer) * layer(images).detach()
    # The identity costs nothing, so it explains everything, and the features nothing.
    torch.testing.assert_close(codes[:, :5], images, rtol=0, atol=1e-6)
    assert codes[:, 5:].abs().max() < 1e-6
    # On the features alone, the layer's analysis and the solver agree with scikit-learn's signed solution.
    filters = layer.operator.as_matrix((4, 4)).detach()
    expected = solved(filters, images.flatten(), 0.1)
    largest = torch.linalg.matrix_norm(filters, 2).item() ** 2
    found = fista(
        lambda z: filters.T @ (filters @ z - images.flatten()),
        lambda z: soft_threshold(z, 0.1 / largest),
        torch.zeros_like(expected),
        1 / largest,
        3000,
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_step_size_follows_the_largest_eigenvalue_of_the_dictionary(dilation: int) -> None:
    torch.manual_seed(4)
    layer = DenseCSCConv2d(6, 8, 3, dilation, unfolding=2)
    for std in (1.0, 0.1):
        nn.init.normal_(layer.weight, std=std)
        before = layer.weight.detach().clone()
        layer.project_parameters()
        assert torch.equal(layer.weight, before)
        step = 1 / layer.step_size.item()
        assert 1 <= (1 + layer.operator.lipschitz((12 * dilation, 12 * dilation))) / step < 1.15
        assert 1 + layer.operator.lipschitz((32, 32)) < 1.2 * step  # on larger images; the steps diverge from 2 on


def test_filters_of_zero_have_the_step_size_of_the_identity_alone() -> None:
    layer = layer_of(2)
    nn.init.zeros_(layer.weight)
    layer.project_parameters()
    assert (layer.step_size.item(), layer.decay.item()) == (1, 1)
    assert layer(torch.rand(1, 5, 4, 4).double()).isfinite().all()
    assert layer.lasso(torch.Size((1, 1, 4, 4))).convergence == 1


@pytest.mark.parametrize(("channels", "width"), [(35, 32), (163, 32), (64, 256)])
def test_step_size_and_decay_start_as_those_of_initial_filters(channels: int, width: int) -> None:
    torch.manual_seed(5)
    layer = DenseCSCConv2d(channels, width, unfolding=2)
    before = layer.decay.item()
    # Marchenko-Pastur is about many channels; with few the edge is blurred.
    assert 1 / layer.step_size.item() == pytest.approx(1 + layer.operator.lipschitz((16, 16)), rel=0.15)
    layer.project_parameters()
    assert layer.decay.item() == pytest.approx(before, rel=0.15)


@pytest.mark.parametrize("dilation", [1, 2])
def test_decay_is_the_mean_over_the_largest_eigenvalue_with_half_of_the_atoms(dilation: int) -> None:
    layer = layer_of(1, dilation=dilation)
    layer.project_parameters()
    side = 12 * dilation
    basis = torch.eye(5 * side**2).double().view(-1, 5, side, side)
    dense = F.conv2d(basis, layer.weight.detach(), None, 1, layer.padding, layer.dilation).flatten(1)
    mean = 1 + dense.square().sum().item() / len(basis) / 2  # here the border counts as 0
    assert mean <= layer.decay.item() / layer.step_size.item() <= 1.1 * mean


@pytest.mark.parametrize("solver", ["ista", "fista"])
def test_gradients_are_those_of_finite_differences(solver: Solver) -> None:
    torch.manual_seed(6)
    layer = DenseCSCConv2d(2, 2, 3, 2, signed=1, unfolding=2, solver=solver).double()
    images = torch.rand(1, 2, 4, 4).double().requires_grad_()
    layer.step_size.fill_(0.7)
    nn.init.constant_(layer.bias, 0.01)

    def output(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (images,))
        return result

    assert torch.autograd.gradcheck(output, (images, layer.weight, layer.bias))


@pytest.mark.parametrize("unfolding", [0, 1])
def test_gradients_in_bfloat16_on_a_cpu_are_close_to_those_in_float32(unfolding: int) -> None:
    """oneDNN's weight gradients of dilated convolutions of channels-last tensors with 35 channels are NaN there."""
    torch.manual_seed(7)
    layer = DenseCSCConv2d(35, 32, 3, 2, unfolding=unfolding).to(memory_format=torch.channels_last)
    images = torch.rand(8, 35, 32, 32).contiguous(memory_format=torch.channels_last)
    gradients = []
    for reduced in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            loss = layer(images).float().square().mean()
        (gradient,) = torch.autograd.grad(loss, [layer.weight])
        gradients.append(gradient)
    assert (gradients[1] - gradients[0]).norm() < 0.05 * gradients[0].norm()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unfolding": -1}, "unfolding must be at least 0"),
        ({"unfolding": 1, "solver": "admm"}, "solver ista or fista"),
        ({"unfolding": 1, "kernel_size": 4}, "kernel_size must be odd, got 4"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenseCSCConv2d(3, 4, **arguments)  # type: ignore[arg-type]
