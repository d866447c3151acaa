import pytest
import torch
from torch import nn

from robustcsc.layers.modes import evaluation_mode


def mixed() -> nn.Sequential:
    """A training model with a frozen BatchNorm and, inside an evaluating part, a Dropout that trains."""
    dropout = nn.Dropout()
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Sequential(dropout, nn.ReLU()))
    model[0].eval()
    model[1].eval()
    dropout.train()
    return model


def test_the_mode_of_every_submodule_comes_back() -> None:
    model = mixed()
    modes = [module.training for module in model.modules()]
    assert modes == [True, False, False, True, False]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_modes_come_back_after_an_error() -> None:
    model = mixed()
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        _ = 1 / 0
    assert [module.training for module in model.modules()] == [True, False, False, True, False]


def test_inside_nothing_is_random_and_no_statistic_moves() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout())
    images = torch.arange(1.0, 5).view(1, 1, 2, 2)
    with evaluation_mode(model):
        # Fresh statistics are mean 0 and variance 1.
        torch.testing.assert_close(model(images), images / (1 + 1e-5) ** 0.5)
    assert model[0].num_batches_tracked == 0
