from collections.abc import Callable

import pytest
import torch
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import chosen, coding_layers, watch
from robustcsc.inspection.specimen import Specimen
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.task_driven import ElasticNetCode

Make = Callable[..., Specimen]


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(CSCConv2d(1, 3, 3), nn.ReLU(), CSCConv2d(3, 2, 3), nn.Conv2d(2, 2, 1))


def test_layers_of_sparse_coding_are_found_in_order_whatever_model_they_are_in() -> None:
    model = nn.ModuleDict(
        {
            "a": small(),
            "b": DenseCSCConv2d(1, 2, unfolding=0),
            "c": MultilayerCSCConv2d(1, 2, 3, unfolding=0),
            "d": ElasticNetCode(4, 5, lam=0.1),
        }
    )
    found = coding_layers(model)
    assert list(found) == ["a.0", "a.2", "b", "c", "d"]
    assert [layer.kind for layer in found.values()] == ["CSC", "CSC", "MSD-CSC", "ML-CSC", "task-driven"]


def test_a_model_without_one_is_refused() -> None:
    with pytest.raises(RobustCSCError, match="no sparse-coding layer"):
        coding_layers(nn.Sequential(nn.Conv2d(1, 2, 3)))


def test_patterns_choose_by_the_whole_or_the_shown_name() -> None:
    layers = coding_layers(nn.ModuleDict({"network": small()}))
    assert list(chosen(layers, ())) == ["network.0", "network.2"]
    assert list(chosen(layers, ["2"])) == list(chosen(layers, ["network.2"])) == ["network.2"]
    assert list(chosen(layers, ["2", "*"])) == ["network.0", "network.2"]
    with pytest.raises(RobustCSCError, match=r"no layer 'stem' to inspect: choose --layers among 0, 2\."):
        chosen(layers, ["0", "stem"])


def test_what_layers_do_is_told_and_nothing_stays(specimen: Make) -> None:
    model = small().train()
    images = torch.rand(5, 1, 8, 8)
    seen = []
    watch(specimen(model, images, batch_size=3), coding_layers(model), lambda *it: seen.append(it))
    assert [name for name, *_ in seen] == ["0", "2", "0", "2"]
    for at in (1, 2):  # the batch, and the input of the first layer
        told = [it[1].images if at == 1 else it[2] for it in (seen[0], seen[2])]
        torch.testing.assert_close(torch.cat(told), images, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(seen[0][3], model[0](images[:3]), rtol=0, atol=0)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_no_images_and_layers_that_are_never_used_are_refused(specimen: Make) -> None:
    model = small()
    with pytest.raises(RobustCSCError, match="There are no images"):
        watch(specimen(model, torch.rand(0, 1, 6, 6)), coding_layers(model), lambda *it: None)

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = CSCConv2d(1, 2, 3), CSCConv2d(1, 2, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            codes: torch.Tensor = self.used(images)
            return codes

    lazy = Lazy()
    with pytest.raises(RobustCSCError, match="never uses its layer 'idle'"):
        watch(specimen(lazy, torch.rand(1, 1, 6, 6)), coding_layers(lazy), lambda *it: None)
