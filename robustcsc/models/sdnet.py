"""SDNet: a residual network whose first layer, or every layer, is a CSC layer.

Source: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022: sections 3.2 and 4,
table 6.

| builder | CSC layers | network | parameters |
|---|---|---|---|
| `sdnet18`, `sdnet34` | the first | ResNet-18, -34 | 11.2M, 21.3M (10 classes, CIFAR form) |
| `sdnet18_all`, `sdnet34_all` | all but 1x1 shortcuts | ResNet-18, -34 | as above |
| `sdnet18_all_plain`, `sdnet34_all_plain` | all | ResNet-18, -34 without shortcuts | 11.0M, 21.1M |
| `sdnet20` | the first | 3-3-3 blocks of widths 16-32-64 | 0.28M with 64 atoms |
| `sdnet_digits` | the first | 1-1 blocks of widths 16-32 | 23k |

Defaults: lambda 0.1, two FISTA steps (section 4).

Differences from the paper:
- "Other layers are retained" (section 3.2) would keep the ReLU after a CSC layer. As in the authors' code, only batch
  normalisation follows it. The ReLU at the end of a block stays.
- The 1x1 shortcuts of the -All networks stay convolutions; the networks named plain have no shortcuts.
- SDNet-20 and the digits network are ours, sized for a CPU.
"""

from functools import partial

from torch import nn

from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.residual import (
    BasicBlock,
    BlockBuilder,
    ConvBuilder,
    Form,
    ResidualNetwork,
    stem,
)


def _csc(lam: float, num_steps: int, signed: bool) -> ConvBuilder:
    def layer(in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        return CSCConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            lam=lam,
            num_steps=num_steps,
            signed=signed,
        )

    return layer


# The parts that the builders below combine; each argument differs between them.
def _sdnet(
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    form: Form,
    csc: ConvBuilder,
    atoms: int,
    block: BlockBuilder = BasicBlock,
) -> nn.Module:
    first = stem(form, in_channels, atoms, csc, nn.Identity())
    return ResidualNetwork(first, atoms, widths, depths, num_classes, block)


_WIDTHS = (64, 128, 256, 512)
_DEPTHS_18 = (2, 2, 2, 2)
_DEPTHS_34 = (3, 4, 6, 3)


def sdnet18(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-18: ResNet-18 with a CSC layer in place of the first convolution."""
    csc = _csc(lam, num_steps, signed)
    return _sdnet(_DEPTHS_18, _WIDTHS, num_classes, in_channels, form, csc, 64)


def sdnet34(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-34: ResNet-34 with a CSC layer in place of the first convolution."""
    csc = _csc(lam, num_steps, signed)
    return _sdnet(_DEPTHS_34, _WIDTHS, num_classes, in_channels, form, csc, 64)


def _all(
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    form: Form,
    csc: ConvBuilder,
    shortcut: bool,
) -> nn.Module:
    block = partial(BasicBlock, layer=csc, inner=nn.Identity, shortcut=shortcut)
    return _sdnet(depths, _WIDTHS, num_classes, in_channels, form, csc, 64, block)


def sdnet18_all(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-18-All: every convolution but the 1x1 shortcuts is a CSC layer."""
    return _all(_DEPTHS_18, num_classes, in_channels, form, _csc(lam, num_steps, signed), True)


def sdnet34_all(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-34-All: every convolution but the 1x1 shortcuts is a CSC layer."""
    return _all(_DEPTHS_34, num_classes, in_channels, form, _csc(lam, num_steps, signed), True)


def sdnet18_all_plain(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-18-All without shortcuts: a plain chain of dictionaries, as in eq. 14."""
    return _all(_DEPTHS_18, num_classes, in_channels, form, _csc(lam, num_steps, signed), False)


def sdnet34_all_plain(
    num_classes: int,
    in_channels: int = 3,
    *,
    form: Form = "cifar",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-34-All without shortcuts."""
    return _all(_DEPTHS_34, num_classes, in_channels, form, _csc(lam, num_steps, signed), False)


def sdnet20(
    num_classes: int,
    in_channels: int = 3,
    *,
    atoms: int = 64,
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns SDNet-20: a CSC layer of `atoms` atoms, then the stages 16-32-64 of ResNet-20."""
    csc = _csc(lam, num_steps, signed)
    return _sdnet((3, 3, 3), (16, 32, 64), num_classes, in_channels, "cifar", csc, atoms)


def sdnet_digits(
    num_classes: int,
    in_channels: int = 1,
    *,
    atoms: int = 32,
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Returns a tiny SDNet for 8x8 digits: a CSC layer, then two stages of one block, widths 16-32."""
    csc = _csc(lam, num_steps, signed)
    return _sdnet((1, 1), (16, 32), num_classes, in_channels, "cifar", csc, atoms)
