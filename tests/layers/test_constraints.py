import pytest
import torch
from torch import nn

from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.unit_dictionary import UnitDictionary


def test_one_sgd_step_and_a_projection_end_on_the_unit_sphere_and_touch_nothing_else() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(CSCConv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(CSCConv2d(4, 3, 3), nn.Conv2d(3, 2, 1)))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(torch.randn(2, 1, 6, 6)).square().sum().backward()
    optimizer.step()
    dictionaries = {f"{name}.dictionary" for name in ("0", "2.0")}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert (before["0.dictionary.weight"].flatten(1).norm(dim=1) - 1).abs().max() > 0.01
    project_parameters(model)
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] not in dictionaries:
            assert torch.equal(tensor, before[name]), name
    for name in dictionaries:
        weight = model.get_parameter(f"{name}.weight").detach()
        torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.ones(len(weight)))
    assert [module.training for module in model.modules()] == modes


def test_a_constrained_module_alone_is_projected_too() -> None:
    dictionary = UnitDictionary(1, 2, (3, 3))
    with torch.no_grad():
        dictionary.weight.mul_(3)
    project_parameters(dictionary)
    assert dictionary.weight.detach().flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_the_projection_stays_out_of_the_graph() -> None:
    layer = CSCConv2d(1, 2, 3)
    project_parameters(layer)
    assert layer.dictionary.weight.is_leaf
    assert layer.dictionary.weight.requires_grad
    assert not layer.dictionary.lipschitz.requires_grad
