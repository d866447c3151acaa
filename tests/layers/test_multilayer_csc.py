from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.solvers import SOLVERS
from robustcsc.layers.synthesis import fixed_pattern, power_iteration

Solver = Literal["ista", "fista"]


def layer_of(unfolding: int, solver: Solver = "ista", stride: int = 2, size: int = 4) -> MultilayerCSCConv2d:
    torch.manual_seed(0)
    layer = MultilayerCSCConv2d(3, 8, size, stride, 1, unfolding=unfolding, solver=solver).double()
    nn.init.normal_(layer.bias, std=0.05)
    return layer


def analysis_matrix(layer: MultilayerCSCConv2d, shape: tuple[int, ...]) -> Tensor:
    """W as a matrix: its columns are the responses to the unit images."""
    basis = torch.eye(torch.Size(shape).numel()).double().view(-1, *shape)
    return F.conv2d(basis, layer.weight.detach(), None, layer.stride, layer.padding).flatten(1).T


@pytest.mark.parametrize("solver", ["ista", "fista"])
@pytest.mark.parametrize("unfolding", [1, 2, 4])
@pytest.mark.parametrize(("stride", "size", "sides"), [(2, 4, (8, 8)), (2, 4, (9, 7)), (1, 3, (6, 6))])
def test_codes_are_those_of_the_solver_on_the_dense_dictionary(
    solver: Solver, unfolding: int, stride: int, size: int, sides: tuple[int, int]
) -> None:
    layer = layer_of(unfolding, solver, stride, size)
    assert layer.c is not None
    images = torch.randn(1, 3, *sides).double()
    lipschitz = -layer.c.detach()
    dictionary = lipschitz * analysis_matrix(layer, (3, *sides)).T  # D = L W'
    codes = layer(images).detach()
    positions = codes[0, 0].numel()
    betas = (-layer.bias.detach() * lipschitz).repeat_interleave(positions)
    signal = images.flatten()
    expected = SOLVERS[solver](
        lambda z: dictionary.T @ (dictionary @ z - signal),
        lambda z: (z - betas / lipschitz).clamp_min(0),
        torch.zeros(dictionary.shape[1]).double(),
        1 / lipschitz,
        1 + unfolding,
    )
    torch.testing.assert_close(codes.flatten(), expected, rtol=1e-9, atol=1e-12)
    assert expected.any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_without_further_steps_it_is_a_convolution_with_relu_to_the_bit(layout: torch.memory_format) -> None:
    layer = layer_of(0).float()
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)
    convolution = nn.Conv2d(3, 8, 4, 2, 1)
    convolution.load_state_dict(layer.state_dict())
    assert torch.equal(layer(images), F.relu(convolution(images)))
    assert layer.c is None


def test_more_steps_lower_the_objective_of_the_lasso() -> None:
    images = torch.randn(2, 3, 8, 8).double()
    values = []
    for unfolding in (1, 3, 10, 50):
        layer = layer_of(1)
        layer.unfolding = unfolding
        nn.init.constant_(layer.bias, -0.02)
        assert layer.c is not None
        scale = -layer.c.item()
        codes = layer(images)
        error = scale * layer.synthesize(codes, (8, 8)) - images
        values.append((error.square().sum() / 2 + 0.02 * scale * codes.sum()).item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


@pytest.mark.parametrize(("channels", "filters", "size", "stride"), [(32, 64, 4, 2), (64, 64, 3, 1), (64, 128, 3, 1)])
@pytest.mark.parametrize("unfolding", [1, 2])
def test_the_initial_c_is_minus_the_inverse_of_the_largest_eigenvalue(
    channels: int, filters: int, size: int, stride: int, unfolding: int
) -> None:
    torch.manual_seed(1)
    layer = MultilayerCSCConv2d(channels, filters, size, stride, 1, unfolding=unfolding)
    assert layer.c is not None
    assert -layer.c.item() * layer.largest_eigenvalue((16, 16)) == pytest.approx(1, rel=0.2)


def test_projection_keeps_the_step_size_at_most_one_over_the_lipschitz_constant() -> None:
    layer = layer_of(1, stride=1, size=3)
    assert layer.c is not None
    nn.init.constant_(layer.c, -100.0)
    for _ in range(30):  # each projection goes on with the power iteration
        layer.project_parameters()
    weight = layer.weight.detach()
    largest = power_iteration(weight, fixed_pattern(3, (12, 12)).double(), 500, padding=1)[0]
    assert -layer.c.item() * largest.item() == pytest.approx(1, rel=1e-2)
    inside = -0.5 / largest.item()
    nn.init.constant_(layer.c, inside)
    layer.project_parameters()
    assert layer.c.item() == inside
    nn.init.constant_(layer.c, 3.0)
    layer.project_parameters()
    assert layer.c.item() == 0


@pytest.mark.parametrize("solver", ["ista", "fista"])
def test_gradients_are_those_of_finite_differences(solver: Solver) -> None:
    torch.manual_seed(2)
    layer = MultilayerCSCConv2d(1, 2, 3, 1, 1, unfolding=2, solver=solver).double()
    assert layer.c is not None
    images = torch.randn(1, 1, 4, 4).double().requires_grad_()

    def output(images: Tensor, weight: Tensor, bias: Tensor, c: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias, "c": c}
        result: Tensor = torch.func.functional_call(layer, parameters, (images,))
        return result

    assert torch.autograd.gradcheck(output, (images, layer.weight, layer.bias, layer.c))


@pytest.mark.parametrize(("unfolding", "solver"), [(-1, "ista"), (1, "fist")])
def test_what_makes_no_sense_is_refused(unfolding: int, solver: str) -> None:
    with pytest.raises(ValueError, match="unfolding must be at least 0 and solver ista or fista"):
        MultilayerCSCConv2d(1, 1, 3, unfolding=unfolding, solver=solver)  # type: ignore[arg-type]
