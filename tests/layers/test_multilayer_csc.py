from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.solvers import SOLVERS

Solver = Literal["ista", "fista"]


def layer_of(unfolding: int, solver: Solver = "ista", stride: int = 2, size: int = 4) -> MultilayerCSCConv2d:
    torch.manual_seed(0)
    layer = MultilayerCSCConv2d(3, 8, size, stride, 1, unfolding=unfolding, solver=solver).double()
    nn.init.normal_(layer.bias, std=0.05)
    return layer


def growth(layer: MultilayerCSCConv2d) -> float:
    """The solver's code of a signal of which a step explains the share decay, by which the layer divides."""
    one = torch.ones(()).double()
    return SOLVERS[layer.solver](lambda z: layer.decay * z - one, lambda z: z, 0 * one, 1.0, 1 + layer.unfolding).item()


@pytest.mark.parametrize("solver", ["ista", "fista"])
@pytest.mark.parametrize("unfolding", [1, 2, 4])
@pytest.mark.parametrize(("stride", "size", "sides"), [(2, 4, (8, 8)), (2, 4, (9, 7)), (1, 3, (6, 6))])
def test_codes_are_those_of_the_solver_on_the_dense_dictionary(
    solver: Solver, unfolding: int, stride: int, size: int, sides: tuple[int, int]
) -> None:
    layer = layer_of(unfolding, solver, stride, size)
    images = torch.randn(1, 3, *sides).double()
    lipschitz = layer.lipschitz
    dictionary = lipschitz * layer.operator.as_matrix(sides).detach()  # D = L W'
    codes = layer(images).detach()
    positions = codes[0, 0].numel()
    betas = (-layer.bias.detach() * lipschitz).repeat_interleave(positions)
    signal = images.flatten()
    expected = SOLVERS[solver](
        lambda z: dictionary.T @ (dictionary @ z - signal),
        lambda z: (z - betas / lipschitz).clamp_min(0),
        torch.zeros(dictionary.shape[1]).double(),
        1 / lipschitz.item(),
        1 + unfolding,
    )
    torch.testing.assert_close(codes.flatten() * growth(layer), expected, rtol=1e-9, atol=1e-12)
    assert expected.any()


def test_without_further_steps_it_is_a_convolution_with_relu_to_the_bit() -> None:
    layer = layer_of(0).float()
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    convolution = nn.Conv2d(3, 8, 4, 2, 1)
    convolution.load_state_dict(layer.state_dict(), strict=False)  # it has no L
    assert torch.equal(layer(images), F.relu(convolution(images)))


def test_more_steps_lower_the_objective_of_the_lasso() -> None:
    images = torch.randn(2, 3, 8, 8).double()
    values = []
    for unfolding in (1, 3, 10, 50):
        layer = layer_of(1)
        layer.unfolding = unfolding
        nn.init.constant_(layer.bias, -0.02)
        codes = layer(images)
        error = layer.reconstruct(codes, images.shape) - images
        penalty = 0.02 * layer.lipschitz * growth(layer) * codes.sum()
        values.append((error.square().sum() / 2 + penalty).item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


@pytest.mark.parametrize(("channels", "filters", "size", "stride"), [(32, 64, 4, 2), (64, 64, 3, 1), (64, 128, 3, 1)])
def test_the_initial_lipschitz_is_the_inverse_of_the_largest_eigenvalue(
    channels: int, filters: int, size: int, stride: int
) -> None:
    torch.manual_seed(1)
    layer = MultilayerCSCConv2d(channels, filters, size, stride, 1, unfolding=1)
    assert layer.lipschitz.item() * layer.operator.lipschitz((16, 16)) == pytest.approx(1, rel=0.2)
    before = layer.decay.item()
    layer.project_parameters()
    assert layer.decay.item() == pytest.approx(before, rel=0.2)


@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 4)])
def test_projection_makes_lipschitz_and_decay_those_of_the_eigenvalues(stride: int, size: int) -> None:
    layer = layer_of(1, stride=stride, size=size)
    layer.lipschitz.fill_(100.0)
    layer.project_parameters()
    spectrum = torch.linalg.svdvals(layer.operator.as_matrix((12, 12)).detach()).square()
    assert 1 <= layer.lipschitz.item() * spectrum.max().item() < 1.15
    mean = spectrum.sum().item() / (3 * 12**2)  # here the border counts as 0
    assert mean <= layer.decay.item() / layer.lipschitz.item() <= 1.25 * mean
    before = layer.lipschitz.item()
    nn.init.zeros_(layer.weight)
    layer.project_parameters()
    assert (layer.lipschitz.item(), layer.decay.item()) == (before, 0)
    assert layer(torch.rand(1, 3, 12, 12).double()).isfinite().all()
    assert layer.lasso(torch.Size((1, 1, 12, 12))).convergence == 0


def test_with_filters_that_reconstruct_nothing_all_numbers_of_steps_give_one_code() -> None:
    images = torch.randn(2, 3, 8, 8).double()
    layers = layer_of(0), layer_of(2), layer_of(3, "fista")
    for layer in layers:
        layer.lipschitz.fill_(0.0)
        layer.decay.fill_(0.0)
    first, second, third = (layer(images) for layer in layers)
    assert first.any()
    torch.testing.assert_close(second, first)
    torch.testing.assert_close(third, first)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("solver", ["ista", "fista"])
def test_where_all_eigenvalues_are_equal_all_numbers_of_steps_give_one_code(scale: float, solver: Solver) -> None:
    images = torch.rand(2, 3, 5, 5).double()
    for unfolding in (0, 1, 4):
        layer = MultilayerCSCConv2d(3, 3, 1, unfolding=unfolding, solver=solver).double()
        with torch.no_grad():
            layer.weight.copy_(scale * torch.eye(3).view(3, 3, 1, 1))
        layer.estimate()
        assert layer.decay.item() == pytest.approx(1)
        torch.testing.assert_close(layer(images), scale * images)


@pytest.mark.parametrize("solver", ["ista", "fista"])
def test_gradients_are_those_of_finite_differences(solver: Solver) -> None:
    torch.manual_seed(2)
    layer = MultilayerCSCConv2d(1, 2, 3, 1, 1, unfolding=2, solver=solver).double()
    images = torch.randn(1, 1, 4, 4).double().requires_grad_()

    def output(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        result: Tensor = torch.func.functional_call(layer, parameters, (images,))
        return result

    assert torch.autograd.gradcheck(output, (images, layer.weight, layer.bias))


@pytest.mark.parametrize(("unfolding", "solver"), [(-1, "ista"), (1, "fist")])
def test_what_makes_no_sense_is_refused(unfolding: int, solver: str) -> None:
    with pytest.raises(ValueError, match="unfolding must be at least 0 and solver ista or fista"):
        MultilayerCSCConv2d(1, 1, 3, unfolding=unfolding, solver=solver)  # type: ignore[arg-type]
