"""WideResNet, the networks that DeTraMe-WideResNets are compared with.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; DeTraMe-Net (Tang et al., arXiv:2002.07898),
table 2.

| builder | stages | widths | parameters (10 classes) |
|---|---|---|---|
| `wideresnet16_4` | 2-2-2 | 64-128-256 | 2.75M |
| `wideresnet16_8` | 2-2-2 | 128-256-512 | 10.96M |

Differences from the paper: table 2 of DeTraMe-Net does not say whether blocks normalise first. Here they do, as in Wide
Residual Networks, whose settings that paper adopts.
"""

from torch import nn

from robustcsc.layers.preactivation import wide_network


def _relu(channels: int) -> nn.Module:
    return nn.ReLU(inplace=True)


def wideresnet16_4(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns WideResNet-16-4."""
    return wide_network(2, 4, num_classes, in_channels, _relu)


def wideresnet16_8(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns WideResNet-16-8."""
    return wide_network(2, 8, num_classes, in_channels, _relu)
