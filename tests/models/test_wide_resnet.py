import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustcsc.layers.preactivation import PreActivationBlock
from robustcsc.models.catalog import MODELS


def expected_parameters(factor: int, classes: int) -> int:
    """Counted from table 1 of Wide Residual Networks: two blocks of two 3x3 convolutions in each of three stages."""
    total, before = 27 * 16, 16
    for width in (16 * factor, 32 * factor, 64 * factor):
        total += before * width  # 1x1 shortcut
        total += 2 * before + 9 * before * width + 2 * width + 9 * width**2  # first block
        total += 2 * (2 * width + 9 * width**2)  # second block
        before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(
    ("factor", "classes", "published"),
    [(4, 10, 2_748_890), (8, 10, 10_961_370), (8, 100, 11_007_540)],  # Wide Residual Networks, table 5: 2.7M, 11.0M
)
def test_the_networks_have_the_parameters_of_the_architecture(factor: int, classes: int, published: int) -> None:
    with torch.device("meta"):
        model = MODELS[f"wideresnet16-{factor}"](classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == published
    assert expected_parameters(factor, classes) == published
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 16  # the depth counts the stem and the three shortcuts


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 2)])
def test_a_block_normalises_and_activates_before_each_convolution(channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = PreActivationBlock(4, channels, stride, inner=lambda width: nn.ReLU()).eval()
    for norm in (block.bn1, block.bn2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    images = torch.randn(2, 4, 6, 6)

    def activated(features: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:  # running mean 0, variance 1
        return F.relu(features * norm.weight[:, None, None] / (1 + norm.eps) ** 0.5 + norm.bias[:, None, None])

    with torch.no_grad():
        first = activated(images, block.bn1)
        inside = activated(F.conv2d(first, block.conv1.get_parameter("weight"), stride=stride, padding=1), block.bn2)
        shortcut = images
        if block.shortcut is not None:
            shortcut = F.conv2d(first, block.shortcut.get_parameter("weight"), stride=stride)
        expected = shortcut + F.conv2d(inside, block.conv2.get_parameter("weight"), padding=1)
        torch.testing.assert_close(block(images), expected)
    assert (block.shortcut is None) == (channels == 4)
