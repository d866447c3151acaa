"""SDNet: a residual network whose first layer, or every layer, is a CSC layer.

Source: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022: sections 3.2 and 4,
table 6.

| model | CSC layers | network | parameters |
|---|---|---|---|
| `sdnet18`, `sdnet34` | the first | ResNet-18, -34 | 11.2M, 21.3M (10 classes, CIFAR form) |
| `sdnet18-all`, `sdnet34-all` | all but 1x1 shortcuts | ResNet-18, -34 | as above |
| `sdnet18-all-plain`, `sdnet34-all-plain` | all | ResNet-18, -34 without shortcuts | 11.0M, 21.1M |
| `sdnet20` | the first | 3-3-3 blocks of widths 16-32-64 | 0.28M with 64 atoms |
| `sdnet-digits` | the first | 1-1 blocks of widths 16-32 | 23k |
| `sdnet-textures` | the first, 7x7 of stride 2 | 1-1 blocks of widths 8-16 | 8k |

Defaults: lambda 0.1, two FISTA steps (section 4).

Differences from the paper:
- "Other layers are retained" (section 3.2) would keep the ReLU after a CSC layer. As in the authors' code, only batch
  normalisation follows it. The ReLU at the end of a block stays.
- The 1x1 shortcuts of the -All networks stay convolutions; the networks named plain have no shortcuts. As in the
  authors' code, they have no ReLU either: a chain of codes and batch normalisations, which eq. 14 inverts.
- In the ImageNet form of the -All networks a CSC layer of stride 2 stands in place of the max-pool, as there.
- SDNet-20 and the networks for digits and textures are ours, sized for a CPU.
"""

from functools import partial
from typing import Literal

from torch import nn

from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.residual import BasicBlock, BlockBuilder, ConvBuilder, Form, ResidualNetwork, stem
from robustcsc.models.builder import Builder, described

_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


# A network's own sizes come first, and `MODELS` sets them; the others are what its user chooses.
def _large(
    layers: int,
    csc_layers: Literal["first", "all", "all, no shortcuts"],
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    lam2: float = 0.0,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    csc: ConvBuilder = partial(CSCConv2d, lam=lam, lam2=lam2, num_steps=num_steps, signed=signed)
    block: BlockBuilder = BasicBlock
    if csc_layers == "all":
        block = partial(BasicBlock, layer=csc, inner=nn.Identity)
    elif csc_layers == "all, no shortcuts":
        block = partial(BasicBlock, layer=csc, inner=nn.Identity, outer=nn.Identity, shortcut=None)
    pool = csc(64, 64, 3, 2, 1) if form == "imagenet" and csc_layers != "first" else None
    first = stem(form, in_channels, 64, csc, nn.Identity(), pool)
    return ResidualNetwork(first, 64, (64, 128, 256, 512), _DEPTHS[layers], num_classes, block)


# Sizes that `MODELS` sets, and options, as above.
def _small(
    stem_form: Form,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int = 3,
    *,
    atoms: int = 64,
    lam: float = 0.1,
    lam2: float = 0.0,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    csc: ConvBuilder = partial(CSCConv2d, lam=lam, lam2=lam2, num_steps=num_steps, signed=signed)
    first = stem(stem_form, in_channels, atoms, csc, nn.Identity(), pool=nn.Identity())
    return ResidualNetwork(first, atoms, widths, depths, num_classes)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    **{
        f"sdnet{layers}": described(
            f"SDNet-{layers}: ResNet-{layers} with a CSC layer in place of the first convolution",
            partial(_large, layers, "first"),
        )
        for layers in _DEPTHS
    },
    **{
        f"sdnet{layers}-all": described(
            f"SDNet-{layers}-All: every convolution but the 1x1 shortcuts is a CSC layer",
            partial(_large, layers, "all"),
        )
        for layers in _DEPTHS
    },
    "sdnet18-all-plain": described(
        "SDNet-18-All without shortcuts: a plain chain of dictionaries, as in eq. 14",
        partial(_large, 18, "all, no shortcuts"),
    ),
    "sdnet34-all-plain": described("SDNet-34-All without shortcuts", partial(_large, 34, "all, no shortcuts")),
    "sdnet20": described(
        "SDNet-20: a CSC layer of `atoms` atoms, then the stages 16-32-64 of ResNet-20",
        partial(_small, "cifar", (16, 32, 64), (3, 3, 3)),
    ),
    "sdnet-digits": described(
        "a tiny SDNet for 8x8 digits: a CSC layer, then two stages of one block, widths 16-32",
        partial(_small, "cifar", (16, 32), (1, 1), atoms=32),
    ),
    "sdnet-textures": described(
        "a tiny SDNet for 24x24 textures: a CSC layer of 16 atoms of 7x7 and stride 2, then two stages of one block",
        partial(_small, "imagenet", (8, 16), (1, 1), atoms=16),
    ),
}
