"""PlainNet, the networks without shortcuts that DeTraMe-PlainNets are compared with.

Source: DeTraMe-Net (Tang et al., arXiv:2002.07898), table 1, after the All Convolutional Net of Springenberg et al.

| builder | parameters (10 classes) |
|---|---|
| `plainnet3` | 0.09M |
| `plainnet6` | 0.68M |
| `plainnet9` | 1.37M (the paper's table 3: 1.4M) |
| `plainnet12` | 2.37M |

Differences from the paper: see `robustcsc.layers.plain`. The ReLU after the last convolution is the paper's: logits are
averages of non-negative numbers, and an image for which that ReLU is 0 everywhere has no gradient.
"""

from torch import nn

from robustcsc.layers.plain import plain_network


def _relu(channels: int, kernel_size: int) -> nn.Module:
    return nn.ReLU(inplace=True)


def plainnet3(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns PlainNet with 3 convolutions."""
    return plain_network(3, num_classes, in_channels, _relu)


def plainnet6(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns PlainNet with 6 convolutions."""
    return plain_network(6, num_classes, in_channels, _relu)


def plainnet9(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns PlainNet with 9 convolutions, close to ALL-CNN-C."""
    return plain_network(9, num_classes, in_channels, _relu)


def plainnet12(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns PlainNet with 12 convolutions."""
    return plain_network(12, num_classes, in_channels, _relu)
