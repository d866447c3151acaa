"""What every coding layer promises, whatever its family."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from robustcsc.layers.coding import CodingLayer, ConvCodingLayer, conv_coding_layers
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.task_driven import ElasticNetCode

IMAGES = torch.rand(3, 2, 7, 6, generator=torch.Generator().manual_seed(0)).double()


def layers() -> list[tuple[CodingLayer, Tensor]]:
    torch.manual_seed(0)
    built: list[tuple[CodingLayer, Tensor]] = [
        (CSCConv2d(2, 5, 3, 2, 1), IMAGES),
        (MultilayerCSCConv2d(2, 5, 4, 2, 1, unfolding=2), IMAGES),
        (DenseCSCConv2d(2, 5, 3, 2, unfolding=2), IMAGES),
        (ElasticNetCode(84, 9, lam=0.1), IMAGES.flatten(1)),
    ]
    return [(layer.double(), signals) for layer, signals in built]


@torch.no_grad()
def test_the_residual_is_the_squared_distance_to_the_reconstruction() -> None:
    for layer, signals in layers():
        codes = layer(signals)
        rebuilt = layer.reconstruct(codes, signals.shape)
        assert rebuilt.shape == signals.shape
        expected = [float((x - y).norm()) ** 2 for x, y in zip(signals, rebuilt, strict=True)]
        assert layer.residual(signals, codes).tolist() == pytest.approx(expected)


def test_reconstruction_is_linear_in_the_codes() -> None:
    for layer, signals in layers():
        first, second = layer(signals), layer(signals.flip(0))
        together = layer.reconstruct(2 * first - second, signals.shape)
        apart = 2 * layer.reconstruct(first, signals.shape) - layer.reconstruct(second, signals.shape)
        torch.testing.assert_close(together, apart)


def test_residuals_are_float32_or_better() -> None:
    for layer, signals in layers():
        for given, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
            layer.to(given)
            codes = torch.zeros_like(layer.double()(signals)).to(given)
            assert layer.to(given).residual(signals.to(given), codes).dtype == expected


def test_the_lasso_has_one_threshold_per_atom_and_reconstructs_as_the_layer() -> None:
    for layer, signals in layers()[:3]:
        assert isinstance(layer, ConvCodingLayer)
        lasso = layer.lasso(torch.Size((1, 1, 7, 6)))
        assert lasso.thresholds.shape == (5,)
        assert lasso.lipschitz > 0
        codes = layer(signals)
        assert torch.equal(lasso.reconstruct(codes, signals.shape), layer.reconstruct(codes, signals.shape))


@pytest.mark.parametrize("layer", [MultilayerCSCConv2d(2, 5, 3, unfolding=0), DenseCSCConv2d(2, 5, unfolding=0)])
def test_the_lasso_of_a_layer_without_further_steps_has_a_step_size_that_fits_its_weights(
    layer: MultilayerCSCConv2d | DenseCSCConv2d,
) -> None:
    nn.init.normal_(layer.weight, std=3)
    before = deepcopy(layer.state_dict())
    assert 0.8 < layer.lasso(torch.Size((1, 1, 12, 12))).convergence < 1.2
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    unfolded = deepcopy(layer)
    unfolded.unfolding = 1  # the step size of the initial filters
    assert not 0.2 < unfolded.lasso(torch.Size((1, 1, 12, 12))).convergence < 5


def test_convolutional_coding_layers_are_found_by_name() -> None:
    model = nn.ModuleDict({"a": CSCConv2d(1, 2, 3), "b": ElasticNetCode(4, 5, lam=0.1), "c": nn.Conv2d(1, 2, 3)})
    assert list(conv_coding_layers(model)) == ["a"]
