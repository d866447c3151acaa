import pytest
import torch
from torch import nn

from robustcsc.models.catalog import MODELS


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def convolution(before: int, after: int, size: int = 3) -> int:
    return before * after * size**2 + after


#: Table 1 of the paper, written as sums.
EXPECTED = {
    3: convolution(3, 96) + convolution(96, 96) + convolution(96, 10),
    6: convolution(3, 96)
    + 2 * convolution(96, 96)
    + convolution(96, 192)
    + convolution(192, 192)
    + convolution(192, 10),
    9: convolution(3, 96)
    + 2 * convolution(96, 96)
    + convolution(96, 192)
    + 3 * convolution(192, 192)
    + convolution(192, 192, 1)
    + convolution(192, 10, 1),
    12: convolution(3, 96)
    + 2 * convolution(96, 96)
    + convolution(96, 192)
    + 6 * convolution(192, 192)
    + convolution(192, 192, 1)
    + convolution(192, 10, 1),
}


@pytest.mark.parametrize(("depth", "published"), [(3, None), (6, None), (9, 1.4), (12, 2.4)])
def test_a_plainnet_has_the_layers_and_parameters_of_table_1(depth: int, published: float | None) -> None:
    with torch.device("meta"):
        model = MODELS[f"plainnet{depth}"](10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth
    assert parameters(model) == EXPECTED[depth]
    # Table 3: 1.4M. Table 5's 2.4M stands beside DeTraMe-Net 12, but is the network without Q-Metric ReLUs.
    assert published is None or round(EXPECTED[depth] / 1e6, 1) == published
    # Every convolution has its ReLU, the last one too.
    kinds = [type(module) for module in model.children() if not isinstance(module, nn.Dropout)]
    assert kinds == [nn.Conv2d, nn.ReLU] * depth + [nn.AdaptiveAvgPool2d, nn.Flatten]


@pytest.mark.parametrize(("depth", "side"), [(3, 8), (6, 8), (9, 8), (12, 4)])
def test_the_last_map_is_as_small_as_the_strides_make_it(depth: int, side: int) -> None:
    with torch.device("meta"):
        model = MODELS[f"plainnet{depth}"](10)
        assert isinstance(model, nn.Sequential)
        assert model[:-2](torch.zeros(1, 3, 32, 32)).shape == (1, 10, side, side)


@pytest.mark.parametrize(("depth", "dropouts"), [(3, [0.2]), (6, [0.2, 0.5]), (9, [0.2, 0.5, 0.5])])
def test_dropout_is_at_the_input_and_behind_the_halvings_of_table_1(depth: int, dropouts: list[float]) -> None:
    with torch.device("meta"):
        model = MODELS[f"plainnet{depth}"](10)
    children = list(model.children())
    assert [module.p for module in children if isinstance(module, nn.Dropout)] == dropouts
    assert isinstance(children[0], nn.Dropout)
    for place, module in enumerate(children[1:], start=1):
        if isinstance(module, nn.Dropout):
            halving = children[place - 2]
            assert isinstance(halving, nn.Conv2d)
            assert halving.stride == (2, 2)


def test_logits_are_averages_of_non_negative_maps() -> None:
    torch.manual_seed(0)
    model = MODELS["plainnet3"](5)
    assert isinstance(model, nn.Sequential)
    images = torch.randn(2, 3, 16, 16)
    model.eval()
    with torch.no_grad():
        maps = model[:-2](images)
        assert maps.min() >= 0
        torch.testing.assert_close(model(images), maps.mean((2, 3)))
