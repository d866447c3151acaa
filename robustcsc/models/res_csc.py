"""Res-CSC, its simplified form, and the plain networks of the same shape.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections IV and VII-A, figure 3, table II.

| models | blocks | parameters (10 classes) of 20, 32, 44, 56, 110, 218 layers |
|---|---|---|
| `res-csc20` ... `res-csc218` | eq. 3 and 5 | 0.27M, 0.47M, 0.66M, 0.86M, 1.73M, 3.48M |
| `res-csc20-simplified` ... | without the term ``X_{-1}`` | the same |
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
from robustcsc.models.builder import Builder, described

_KINDS: dict[str, tuple[str, BlockBuilder]] = {
    "res-csc{}": ("Res-CSC", ResidualCSCBlock),
    "res-csc{}-simplified": ("Res-CSC-Simplified", partial(ResidualCSCBlock, keep_start=False)),
    "plain{}": ("the plain network", partial(BasicBlock, shortcut=None)),
}


def _network(layers: int, block: BlockBuilder, num_classes: int, in_channels: int = 3) -> nn.Module:
    first = stem("cifar", in_channels, 16, conv, nn.ReLU(inplace=True))
    return ResidualNetwork(first, 16, (16, 32, 64), ((layers - 2) // 6,) * 3, num_classes, block)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    name.format(layers): described(f"{kind} with {layers} layers", partial(_network, layers, block))
    for name, (kind, block) in _KINDS.items()
    for layers in (20, 32, 44, 56, 110, 218)
}
