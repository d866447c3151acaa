import pytest
from torch import nn

from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.lambdas import lambda_layers, set_lambda
from robustcsc.layers.task_driven import ElasticNetCode


def both() -> nn.Module:
    return nn.Sequential(CSCConv2d(1, 2, 3, lam=0.1), nn.Sequential(nn.Flatten(), ElasticNetCode(8, 4, lam=0.5)))


def test_layers_of_every_kind_are_found_and_set() -> None:
    model = both()
    assert {name: layer.lam0 for name, layer in lambda_layers(model).items()} == {"0": 0.1, "1.1": 0.5}
    set_lambda(model, 0.7)
    assert [layer.lam.item() for layer in lambda_layers(model).values()] == [pytest.approx(0.7)] * 2
    assert [layer.lam0 for layer in lambda_layers(model).values()] == [0.1, 0.5]


def test_lambda_travels_with_the_weights() -> None:
    model, other = both(), both()
    set_lambda(model, 0.9)
    other.load_state_dict(model.state_dict())
    assert [layer.lam.item() for layer in lambda_layers(other).values()] == [pytest.approx(0.9)] * 2


def test_zero_is_a_lambda_for_unrolled_layers_only() -> None:
    layers = lambda_layers(both())
    layers["0"].lam = 0.0  # type: ignore[assignment]
    with pytest.raises(ValueError, match="above 0"):
        layers["1.1"].lam = 0.0  # type: ignore[assignment]
