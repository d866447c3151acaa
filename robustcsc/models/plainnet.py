"""PlainNet, the networks without shortcuts that DeTraMe-PlainNets are compared with.

Source: DeTraMe-Net (Tang et al., arXiv:2002.07898), table 1, after the All Convolutional Net of Springenberg et al.

| model | parameters (10 classes) |
|---|---|
| `plainnet3` | 0.09M |
| `plainnet6` | 0.68M |
| `plainnet9` | 1.37M (the paper's table 3: 1.4M) |
| `plainnet12` | 2.37M |

Differences from the paper: see `robustcsc.layers.plain`. The ReLU after the last convolution is the paper's: logits are
averages of non-negative numbers, and an image for which that ReLU is 0 everywhere has no gradient.
"""

from functools import partial

from torch import nn

from robustcsc.layers.plain import activated, plain_network
from robustcsc.models.builder import Builder, described


def _plainnet(convolutions: int, num_classes: int, in_channels: int = 3) -> nn.Module:
    layer = activated(lambda channels, kernel_size: nn.ReLU(inplace=True))
    return plain_network(convolutions, num_classes, in_channels, layer)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    f"plainnet{convolutions}": described(
        f"PlainNet with {convolutions} convolutions{remark}", partial(_plainnet, convolutions)
    )
    for convolutions, remark in ((3, ""), (6, ""), (9, ", close to ALL-CNN-C"), (12, ""))
}
