"""The networks after DDL have the shapes of PlainNets."""

import pytest
import torch
from torch import nn

from robustcsc.layers.patch_code import PatchCode2d
from robustcsc.models.catalog import MODELS


@pytest.mark.parametrize("depth", [3, 6, 9, 12])
def test_sizes_are_those_of_plainnet_without_biases(depth: int) -> None:
    with torch.device("meta"):
        network, plain = MODELS[f"ddl-plainnet{depth}"](10), MODELS[f"plainnet{depth}"](10)
    weights = [it.weight.shape for it in plain.modules() if isinstance(it, nn.Conv2d)]
    ours = [it.weight.shape for it in network.modules() if isinstance(it, nn.Conv2d | PatchCode2d)]
    assert ours == weights
    assert sum(it.numel() for it in network.parameters()) == sum(it.numel() for it in weights)


def test_ddl_9_has_the_size_of_table_3() -> None:
    with torch.device("meta"):
        sizes = [sum(it.numel() for it in MODELS["ddl-plainnet9"](classes).parameters()) for classes in (10, 100)]
    assert sizes == [1_368_480, 1_385_760]


def test_only_the_overcomplete_first_layer_takes_the_steps_that_such_a_dictionary_needs() -> None:
    with torch.device("meta"):
        network = MODELS["ddl-plainnet9"](10)
    steps = [it.num_steps for it in network.modules() if isinstance(it, PatchCode2d)]
    assert steps == [200] + [50] * 7
