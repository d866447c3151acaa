"""WideResNet, the networks that DeTraMe-WideResNets are compared with.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; DeTraMe-Net (Tang et al., arXiv:2002.07898),
table 2.

| model | stages | widths | parameters (10 classes) |
|---|---|---|---|
| `wideresnet16-4` | 2-2-2 | 64-128-256 | 2.75M |
| `wideresnet16-8` | 2-2-2 | 128-256-512 | 10.96M |

Differences from the paper: table 2 of DeTraMe-Net does not say whether blocks normalise first. Here they do, as in Wide
Residual Networks, whose settings that paper adopts.
"""

from functools import partial

from torch import nn

from robustcsc.layers.preactivation import wide_network
from robustcsc.models.builder import Builder, described


def _wide_resnet(factor: int, num_classes: int, in_channels: int = 3) -> nn.Module:
    return wide_network(2, factor, num_classes, in_channels, lambda channels: nn.ReLU(inplace=True))


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    f"wideresnet16-{factor}": described(f"WideResNet-16-{factor}", partial(_wide_resnet, factor)) for factor in (4, 8)
}
