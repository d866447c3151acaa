from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.layers.tracing import run_until_called, run_zero_image, traced


def hooks(model: nn.Module) -> int:
    return sum(len(it._forward_hooks) + len(it._forward_pre_hooks) for it in model.modules())


class Failing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("broken")


def test_calls_are_told_in_order_and_no_hook_stays() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    told: list[tuple[str, str, Any]] = []
    with traced(
        model,
        before=lambda module, inputs: told.append(("before", type(module).__name__, inputs[0])),
        after=lambda module, inputs, output: told.append(("after", type(module).__name__, output)),
    ):
        result = model(torch.tensor([-1.0, 2.0]))
    assert [it[:2] for it in told] == [("before", "ReLU"), ("after", "ReLU"), ("before", "Tanh"), ("after", "Tanh")]
    assert told[1][2] is told[2][2]
    assert told[3][2] is result
    model(torch.ones(2))
    assert len(told) == 4
    assert hooks(model) == 0


def test_no_hook_stays_behind_a_failure() -> None:
    model = nn.Sequential(nn.ReLU(), Failing())
    with pytest.raises(RuntimeError, match="broken"), traced(model.modules(), after=lambda *it: None):
        model(torch.ones(2))
    with pytest.raises(RuntimeError, match="broken"):
        run_until_called(lambda: model(torch.ones(2)), list(model.modules()), lambda *it: None)
    assert hooks(model) == 0


def test_the_pass_stops_behind_the_last_watched_module() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), Failing())
    outputs: list[Tensor] = []
    for _ in range(2):
        run_until_called(
            lambda: model(torch.tensor([-1.0, 2.0])),
            [model[1], model[0]],
            lambda module, inputs, output: outputs.append(output),
        )
    assert [it.tolist() for it in outputs[::2]] == [[0, 2]] * 2
    assert len(outputs) == 4
    assert hooks(model) == 0


def test_a_zero_image_runs_in_evaluation_mode_without_a_graph() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).double().train()
    seen: list[tuple[Tensor, bool, bool]] = []
    with traced(
        [model[0]], after=lambda module, inputs, output: seen.append((inputs[0], module.training, output.requires_grad))
    ):
        run_zero_image(model, (2, 5, 6))
    ((images, training, graph),) = seen
    assert torch.equal(images, torch.zeros(1, 2, 5, 6, dtype=torch.float64))
    assert not training and not graph
    assert model[0].training
    assert model[1].num_batches_tracked == 0
