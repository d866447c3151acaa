"""Res-CSC, its simplified form, and the plain networks of the same shape.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections IV and VII-A, figure 3, table II.

| builders | blocks | parameters (10 classes) of 20, 32, 44, 56, 110, 218 layers |
|---|---|---|
| `res_csc20` ... `res_csc218` | eq. 3 and 5 | 0.27M, 0.47M, 0.66M, 0.86M, 1.73M, 3.48M |
| `res_csc20_simplified` ... | without the term ``X_{-1}`` | the same |
| `plain20` ... | without shortcuts | the same, less the shortcuts (2,752) and c |

The networks have the shape of the ResNets for CIFAR: 3 stages of (layers - 2) / 6 blocks, widths 16-32-64. The only
additional parameter is c, one per block.

Differences from the paper:
- For the blocks see `robustcsc.layers.residual_csc`, for the rest `robustcsc.layers.residual`.
- Table II counts 1.70M and 3.40M parameters for 110 and 218 layers. Even without the shortcuts there are 1.73M and
  3.48M.
- "Plain" is a network without shortcuts. In table II it loses accuracy with depth; with 110 and 218 layers, neither it
  nor Res-CSC-Simplified could be trained.
"""

from functools import partial

from torch import nn

from robustcsc.layers.residual import BasicBlock, BlockBuilder, ResidualNetwork, conv, stem
from robustcsc.layers.residual_csc import ResidualCSCBlock

_PLAIN: BlockBuilder = partial(BasicBlock, shortcut=False)
_SIMPLIFIED: BlockBuilder = partial(ResidualCSCBlock, keep_start=False)


def _network(layers: int, num_classes: int, in_channels: int, block: BlockBuilder) -> nn.Module:
    first = stem("cifar", in_channels, 16, conv, nn.ReLU(inplace=True))
    return ResidualNetwork(first, 16, (16, 32, 64), ((layers - 2) // 6,) * 3, num_classes, block)


def res_csc20(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 20 layers."""
    return _network(20, num_classes, in_channels, ResidualCSCBlock)


def res_csc32(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 32 layers."""
    return _network(32, num_classes, in_channels, ResidualCSCBlock)


def res_csc44(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 44 layers."""
    return _network(44, num_classes, in_channels, ResidualCSCBlock)


def res_csc56(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 56 layers."""
    return _network(56, num_classes, in_channels, ResidualCSCBlock)


def res_csc110(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 110 layers."""
    return _network(110, num_classes, in_channels, ResidualCSCBlock)


def res_csc218(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC with 218 layers."""
    return _network(218, num_classes, in_channels, ResidualCSCBlock)


def res_csc20_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 20 layers."""
    return _network(20, num_classes, in_channels, _SIMPLIFIED)


def res_csc32_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 32 layers."""
    return _network(32, num_classes, in_channels, _SIMPLIFIED)


def res_csc44_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 44 layers."""
    return _network(44, num_classes, in_channels, _SIMPLIFIED)


def res_csc56_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 56 layers."""
    return _network(56, num_classes, in_channels, _SIMPLIFIED)


def res_csc110_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 110 layers."""
    return _network(110, num_classes, in_channels, _SIMPLIFIED)


def res_csc218_simplified(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns Res-CSC-Simplified with 218 layers."""
    return _network(218, num_classes, in_channels, _SIMPLIFIED)


def plain20(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 20 layers."""
    return _network(20, num_classes, in_channels, _PLAIN)


def plain32(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 32 layers."""
    return _network(32, num_classes, in_channels, _PLAIN)


def plain44(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 44 layers."""
    return _network(44, num_classes, in_channels, _PLAIN)


def plain56(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 56 layers."""
    return _network(56, num_classes, in_channels, _PLAIN)


def plain110(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 110 layers."""
    return _network(110, num_classes, in_channels, _PLAIN)


def plain218(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the plain network with 218 layers."""
    return _network(218, num_classes, in_channels, _PLAIN)
