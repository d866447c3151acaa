from collections.abc import Callable

import pytest
import torch
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.signals.coding import inspect_coding
from robustcsc.inspection.specimen import Specimen
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d

Make = Callable[..., Specimen]


def dense(scale: float, unfolding: int = 0) -> DenseCSCConv2d:
    """One 1x1 atom on one channel: F = scale."""
    layer = DenseCSCConv2d(1, 1, 1, unfolding=unfolding)
    nn.init.constant_(layer.weight, scale)
    return layer


def test_a_layer_of_msd_csc_by_hand(specimen: Make) -> None:
    layer = dense(0.5, unfolding=1)
    nn.init.constant_(layer.bias, -0.05)
    layer.step_size.fill_(0.5)
    images = torch.tensor([0.0, 0.1, 0.4, 1.0]).view(2, 1, 1, 2)
    # Two steps of ISTA, by hand: the first gives half of (X, ReLU(X / 2 - 0.05)).
    x = images.flatten()
    kept, new = x / 2, (x / 2 - 0.05).relu() / 2
    error = kept + new / 2 - x
    kept, new = kept - error / 2, (new - error / 4 - 0.025).relu()
    error = kept + new / 2 - x
    (found,) = inspect_coding(specimen(nn.Sequential(layer), images, batch_size=1)).facts
    assert (found.layer, found.kind, found.images) == ("0", "MSD-CSC", 2)
    assert (found.signal, found.codes, found.dimensions) == ((1, 1, 2), (2, 1, 2), 2)
    assert found.beta == pytest.approx(0.05)
    assert found.residual == pytest.approx(error.square().sum().item() / 2)
    assert found.relative_residual == pytest.approx((error.square().sum() / images.square().sum()).item())
    assert found.zeros == pytest.approx(3 / 8)  # the codes of X = 0, and that of 0.1 on F
    assert found.unsuccessful == pytest.approx(1 / 2)  # only |error| = 0.16 is above 0.1
    assert found.negative_thresholds == 0
    assert found.convergence == pytest.approx(0.5 * (1 + 0.25))
    assert found.coherence == 0
    assert found.coherence_with_identity == pytest.approx(1)  # a 1x1 atom on one channel is a column of I


@pytest.mark.parametrize("unfolding", [0, 1])
def test_a_layer_of_ml_csc_by_hand(unfolding: int, specimen: Make) -> None:
    layer = MultilayerCSCConv2d(1, 1, 1, unfolding=unfolding)
    nn.init.constant_(layer.weight, 0.5)
    nn.init.constant_(layer.bias, -0.1)
    layer.project_parameters()
    images = torch.tensor([0.1, 1.0]).view(1, 1, 1, 2)
    # W = 0.5, L = 1 / W^2 = 4, D = L W = 2: one step from 0 solves the lasso min (X - 2 z)^2 / 2 + 0.4 z,
    # and all of the signal is explained by it: codes are not divided.
    (found,) = inspect_coding(specimen(nn.Sequential(layer), images)).facts
    error = torch.tensor([-0.1, 2 * (0.5 - 0.1) - 1])
    assert found.beta == pytest.approx(0.4, rel=1e-5)
    assert found.residual == pytest.approx(error.square().sum().item(), rel=1e-4)
    assert found.zeros == 0.5
    assert found.unsuccessful == 0
    assert found.convergence == pytest.approx(1, rel=1e-5)


def test_a_csc_layer_has_its_lambda_and_its_own_residual(specimen: Make) -> None:
    torch.manual_seed(0)
    layer = CSCConv2d(2, 5, 3, stride=2, padding=1, lam=0.3)
    images = torch.rand(3, 2, 9, 8)
    (found,) = inspect_coding(specimen(nn.Sequential(layer).train(), images)).facts
    assert found.kind == "CSC"
    assert found.beta == pytest.approx(0.3)
    with torch.no_grad():
        assert found.residual == pytest.approx(layer.residual(images, layer(images)).mean().item(), rel=1e-5)
    assert found.convergence == pytest.approx(0.9)
    assert layer.training


def test_positive_biases_are_no_penalty_and_are_told(specimen: Make) -> None:
    layer = DenseCSCConv2d(1, 4, 1, unfolding=0)
    layer.bias.data.copy_(torch.tensor([-0.4, 0.0, 0.2, 0.4]))
    assert layer.lasso(torch.Size((1, 1, 4, 4))).beta == pytest.approx(0.1)
    (found,) = inspect_coding(specimen(nn.Sequential(layer), torch.rand(1, 1, 4, 4))).facts
    assert found.negative_thresholds == 0.5


def test_all_dimensions_that_the_code_explains_exactly_are_successful(specimen: Make) -> None:
    layer = dense(0.0)
    layer.project_parameters()  # [1 0] has L = 1
    (found,) = inspect_coding(specimen(nn.Sequential(layer), torch.rand(4, 1, 3, 3))).facts
    assert (found.residual, found.unsuccessful, found.beta) == (0, 0, 0)


def test_batches_are_added_up(specimen: Make) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(DenseCSCConv2d(3, 4, unfolding=1), DenseCSCConv2d(7, 4, unfolding=2))
    images = torch.rand(7, 3, 6, 6)
    whole, parts = (inspect_coding(specimen(model, images, batch_size=size)).facts for size in (7, 3))
    for one, other in zip(whole, parts, strict=True):
        assert one.images == other.images == 7
        assert one.residual == pytest.approx(other.residual)
        assert one.zeros == pytest.approx(other.zeros)
        assert one.unsuccessful == pytest.approx(other.unsuccessful)
    assert [it.layer for it in whole] == ["0", "1"]
    assert not model[0]._forward_hooks


def test_a_model_without_sparse_coding_and_no_images_are_refused(specimen: Make) -> None:
    with pytest.raises(RobustCSCError, match="no convolutional sparse-coding layer"):
        inspect_coding(specimen(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(1, 3, 6, 6)))
    with pytest.raises(RobustCSCError, match="There are no images"):
        inspect_coding(specimen(nn.Sequential(dense(1.0)), torch.rand(0, 1, 4, 4)))
