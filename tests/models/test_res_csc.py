from collections.abc import Callable

import pytest
import torch
from torch import nn

from robustcsc.layers.residual import BasicBlock
from robustcsc.layers.residual_csc import ResidualCSCBlock
from robustcsc.models.catalog import MODELS

LAYERS = (20, 32, 44, 56, 110, 218)
#: Millions of parameters, table II; None where it rounds otherwise than any count of these networks (1.73, 3.48).
TABLE_II = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: None, 218: None}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("layers", LAYERS)
def test_all_networks_have_the_parameters_of_the_architecture(
    layers: int, residual_parameters: Callable[..., int]
) -> None:
    blocks = (layers - 2) // 6
    shape = {"stem": 3, "first": 16, "widths": (16, 32, 64), "depths": (blocks,) * 3, "classes": 10}
    with torch.device("meta"):
        counts = {
            name: parameters(MODELS[name.format(layers)](10))
            for name in ("resnet{}", "res-csc{}", "res-csc{}-simplified", "plain{}")
        }
    plain = residual_parameters(**shape, shortcut=False)
    assert counts["plain{}"] == plain
    assert counts["resnet{}"] == residual_parameters(**shape) == plain + (16 * 32 + 64) + (32 * 64 + 128)
    scalars = 3 * blocks
    assert counts["res-csc{}"] == counts["res-csc{}-simplified"] == counts["resnet{}"] + scalars
    published = TABLE_II[layers]
    assert published is None or round(plain / 1e6, 2) == published
    # He et al. count 1.7M for 110 layers; the paper has 1.70M and 3.40M, 2 % less than these networks have.
    assert layers < 110 or round(plain / 1e6, 2) == {110: 1.73, 218: 3.48}[layers]


@pytest.mark.parametrize("layers", LAYERS)
def test_the_number_of_layers_is_that_of_the_name(layers: int) -> None:
    with torch.device("meta"):
        model = MODELS[f"res-csc{layers}"](10)
    convolutions = [it for it in model.modules() if isinstance(it, nn.Conv2d) and it.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == layers  # and the head


def test_with_all_c_zero_res_csc_is_the_resnet_to_the_bit() -> None:
    torch.manual_seed(0)
    resnet = MODELS["resnet20"](10)
    model = MODELS["res-csc20"](10)
    missing = model.load_state_dict(resnet.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith(".synthesis_weight") for name in missing.missing_keys)
    for name, parameter in model.named_parameters():
        if name.endswith(".synthesis_weight"):
            nn.init.zeros_(parameter)
    images = torch.randn(4, 3, 16, 16)
    for training in (True, False):
        assert torch.equal(model.train(training)(images), resnet.train(training)(images))


def test_the_three_networks_differ_in_their_blocks_only() -> None:
    with torch.device("meta"):
        models = {name: MODELS[name](10) for name in ("res-csc20", "res-csc20-simplified", "plain20")}
    kept = {
        name: [it.keep_start for it in model.modules() if isinstance(it, ResidualCSCBlock)]
        for name, model in models.items()
    }
    assert kept == {"res-csc20": [True] * 9, "res-csc20-simplified": [False] * 9, "plain20": []}
    blocks = [it for it in models["plain20"].modules() if isinstance(it, BasicBlock)]
    assert [it.shortcut for it in blocks] == [None] * 9
