import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks.catalog import craft
from robustcsc.attacks.threat import project
from robustcsc.errors import AttackError
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.threats import Norm, ThreatModel

PORT = AttackStep.of("autoattack-port")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_port_breaks_two_linear_classes_and_leaves_no_traces(norm: Norm, linear: nn.Module, inside: Tensor) -> None:
    margin = linear.margin(inside)  # type: ignore[operator]
    labels = (margin < 0).long()
    weight = linear.weight.detach().double()  # type: ignore[operator]
    distance = margin.abs() / (weight.abs().sum() if norm == "linf" else weight.norm())
    random_state = torch.get_rng_state()
    threat = ThreatModel(norm, 1.1 * float(distance.max()))
    found = craft(PORT, linear, inside, labels, threat, seed=3)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (linear(found).argmax(1) != labels).all()
    assert torch.equal(found, project(found, inside, threat)) and linear.weight.grad is None
    assert torch.equal(craft(PORT, linear, inside, labels, threat, seed=3), found)


def test_fewer_than_four_classes_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(AttackError, match="AutoAttack port needs at least 4 classes, but the model has 3"):
        craft(PORT, model, torch.rand(2, 3, 2, 2), torch.tensor([0, 1]), ThreatModel("linf", 0.1), seed=0)
