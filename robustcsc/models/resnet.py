"""ResNet, the networks that SDNets are compared with.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

| builder | stages | widths | parameters (10 classes, CIFAR form) |
|---|---|---|---|
| `resnet18` | 2-2-2-2 | 64-128-256-512 | 11.2M |
| `resnet34` | 3-4-6-3 | 64-128-256-512 | 21.3M |
| `resnet8` | 1-1-1 | 16-32-64 | 0.08M |
| `resnet20` | 3-3-3 | 16-32-64 | 0.27M |
| `resnet32` | 5-5-5 | 16-32-64 | 0.47M |
| `resnet44` | 7-7-7 | 16-32-64 | 0.66M |
| `resnet56` | 9-9-9 | 16-32-64 | 0.86M |
| `resnet110` | 18-18-18 | 16-32-64 | 1.73M |
| `resnet164` | 27-27-27 | 16-32-64 | 2.61M |
| `resnet218` | 36-36-36 | 16-32-64 | 3.48M |
| `resnet_digits` | 1-1 | 16-32 | 20k |

Differences from the paper: for shortcuts see `robustcsc.layers.residual`. ResNet-164 has 27 blocks of two 3x3 layers in
each stage, as in DeTraMe-Net (table 2), not the bottleneck blocks that the name often stands for. The CIFAR form of
ResNet-18 and -34 (3x3 stem, no max-pool) is the one SDNet compares with.
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


def resnet8(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 8 layers and widths 16-32-64."""
    return _resnet((1, 1, 1), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet20(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 20 layers and widths 16-32-64."""
    return _resnet((3, 3, 3), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet32(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 32 layers and widths 16-32-64."""
    return _resnet((5, 5, 5), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet44(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 44 layers and widths 16-32-64."""
    return _resnet((7, 7, 7), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet56(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 56 layers and widths 16-32-64."""
    return _resnet((9, 9, 9), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet110(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 110 layers and widths 16-32-64."""
    return _resnet((18, 18, 18), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet164(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 164 layers and widths 16-32-64."""
    return _resnet((27, 27, 27), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet218(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the CIFAR network of 218 layers and widths 16-32-64."""
    return _resnet((36, 36, 36), (16, 32, 64), num_classes, in_channels, "cifar")


def resnet_digits(num_classes: int, in_channels: int = 1) -> nn.Module:
    """Returns a tiny ResNet for 8x8 digits: two stages of one block, widths 16-32."""
    return _resnet((1, 1), (16, 32), num_classes, in_channels, "cifar")
