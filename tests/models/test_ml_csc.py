import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.models.catalog import MODELS

#: Section VII-B: filters, their size, stride.
LAYERS = [(32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 3, 1), (512, 3, 1), (512, 3, 1)]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["feedforward", "thresholding", "ista", "fista"])
def test_the_number_of_parameters_is_that_of_table_3(name: str) -> None:
    channels = [3] + [filters for filters, _, _ in LAYERS]
    expected = sum(before * after * size**2 + after for before, (after, size, _) in zip(channels, LAYERS, strict=False))
    expected += 512 * 10 + 10  # head
    with torch.device("meta"):
        assert parameters(MODELS[f"ml-csc-{name}"](10)) == expected
    assert round(expected / 1e6, 1) == 4.0


@pytest.mark.parametrize(("name", "unfolding"), [("thresholding", 0), ("ista", 2), ("fista", 2)])
def test_layers_are_those_of_section_7(name: str, unfolding: int) -> None:
    with torch.device("meta"):
        model = MODELS[f"ml-csc-{name}"](10)
    layers = [module for module in model.modules() if isinstance(module, MultilayerCSCConv2d)]
    assert [(len(it.weight), it.weight.shape[2], it.stride) for it in layers] == LAYERS
    assert {it.unfolding for it in layers} == {unfolding}


@pytest.mark.parametrize(("name", "options"), [("thresholding", {}), ("ista", {"unfolding": 0})])
def test_layered_thresholding_is_the_feed_forward_network_to_the_bit(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    plain, coded = MODELS["ml-csc-feedforward"](10).eval(), MODELS[f"ml-csc-{name}"](10, **options).eval()
    for module in plain.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        for mine, other in zip(coded.parameters(), plain.parameters(), strict=True):
            mine.copy_(other)
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(plain(images), coded(images))


@pytest.mark.parametrize("solver", ["ista", "fista"])
def test_more_steps_hardly_change_the_scale_of_the_initial_codes_of_smooth_images(solver: str) -> None:
    images = F.interpolate(torch.randn(4, 3, 4, 4), (32, 32), mode="bilinear")
    scales = []
    for unfolding in (0, 1, 2, 4):
        torch.manual_seed(1)
        model = MODELS[f"ml-csc-{solver}"](10, unfolding=unfolding)
        assert isinstance(model, nn.Sequential)
        with torch.no_grad():
            scales.append(model[:6](images).norm().item())
    # The solver's own codes are 100 times as large after two further steps.
    assert max(scales) < 1.6 * min(scales)
