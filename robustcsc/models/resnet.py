"""ResNet, the plain networks that SDNets are compared with.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

| builder | stages | widths | parameters (10 classes, CIFAR form) |
|---|---|---|---|
| `resnet18` | 2-2-2-2 | 64-128-256-512 | 11.2M |
| `resnet34` | 3-4-6-3 | 64-128-256-512 | 21.3M |
| `resnet20` | 3-3-3 | 16-32-64 | 0.27M |
| `resnet_digits` | 1-1 | 16-32 | 20k |

Differences from the paper: shortcuts as `robustcsc.layers.residual` says. The CIFAR form of ResNet-18 and -34 (3x3
stem, no max-pool) is the one SDNet compares with.
"""

from torch import nn

from robustcsc.layers.residual import Form, ResidualNetwork, conv, stem


def _resnet(
    depths: tuple[int, ...], widths: tuple[int, ...], num_classes: int, in_channels: int, form: Form
) -> nn.Module:
    first = stem(form, in_channels, widths[0], conv, nn.ReLU(inplace=True))
    return ResidualNetwork(first, widths[0], widths, depths, num_classes)


def resnet18(num_classes: int, in_channels: int = 3, *, form: Form = "cifar") -> nn.Module:
    """Returns ResNet-18 in the CIFAR or the ImageNet form."""
    return _resnet((2, 2, 2, 2), (64, 128, 256, 512), num_classes, in_channels, form)


def resnet34(num_classes: int, in_channels: int = 3, *, form: Form = "cifar") -> nn.Module:
    """Returns ResNet-34 in the CIFAR or the ImageNet form."""
    return _resnet((3, 4, 6, 3), (64, 128, 256, 512), num_classes, in_channels, form)


def resnet20(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 20 layers and widths 16-32-64."""
    return _resnet((3, 3, 3), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet_digits(num_classes: int, in_channels: int = 1) -> nn.Module:
    """Returns a tiny ResNet for 8x8 digits: two stages of one block, widths 16-32."""
    return _resnet((1, 1), (16, 32), num_classes, in_channels, "cifar")
