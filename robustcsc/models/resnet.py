"""ResNet, the networks that SDNets are compared with.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

| model | stages | widths | parameters (10 classes, CIFAR form) |
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
| `resnet-digits` | 1-1 | 16-32 | 20k |
| `resnet-textures` | 1-1, after a 7x7 stem of stride 2 | 8-16 | 6k |

Differences from the paper: shortcuts are 1x1 convolutions where the shape changes; `shortcut="A"` (no parameters) is
the paper's on CIFAR, for the weights of others. ResNet-164 has 27 blocks of two 3x3 layers in
each stage, as in DeTraMe-Net (table 2), not the bottleneck blocks that the name often stands for. The CIFAR form of
ResNet-18 and -34 (3x3 stem, no max-pool) is the one SDNet compares with.
"""

from functools import partial

from torch import nn

from robustcsc.layers.residual import BasicBlock, Form, ResidualNetwork, Shortcut, conv, stem
from robustcsc.models.builder import Builder, described


# A network's own sizes come first: `MODELS` sets them.
def _resnet(
    depths: tuple[int, ...], widths: tuple[int, ...], num_classes: int, in_channels: int = 3, *, form: Form = "cifar"
) -> nn.Module:
    first = stem(form, in_channels, widths[0], conv, nn.ReLU(inplace=True))
    return ResidualNetwork(first, widths[0], widths, depths, num_classes)


def _small(
    stem_form: Form,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int = 3,
    *,
    shortcut: Shortcut = "B",
) -> nn.Module:
    first = stem(stem_form, in_channels, widths[0], conv, nn.ReLU(inplace=True), pool=nn.Identity())
    block = partial(BasicBlock, shortcut=shortcut)
    return ResidualNetwork(first, widths[0], widths, depths, num_classes, block)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    **{
        f"resnet{layers}": described(
            f"ResNet-{layers} in the CIFAR or the ImageNet form", partial(_resnet, depths, (64, 128, 256, 512))
        )
        for layers, depths in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)))
    },
    **{
        f"resnet{layers}": described(
            f"the CIFAR network of {layers} layers and widths 16-32-64",
            partial(_small, "cifar", (16, 32, 64), ((layers - 2) // 6,) * 3),
        )
        for layers in (8, 20, 32, 44, 56, 110, 164, 218)
    },
    "resnet-digits": described(
        "a tiny ResNet for 8x8 digits: two stages of one block, widths 16-32",
        partial(_small, "cifar", (16, 32), (1, 1)),
    ),
    "resnet-textures": described(
        "a tiny ResNet for 24x24 textures: a 7x7 stem of stride 2, then two stages of one block, widths 8-16",
        partial(_small, "imagenet", (8, 16), (1, 1)),
    ),
}
