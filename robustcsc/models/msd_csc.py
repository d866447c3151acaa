"""MSD-CSC, and the mixed-scale dense network (MSDNet) that it becomes without unfolding.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections V to VII-B, figure 6, table III; Pelt and Sethian, PNAS 2018 (MSDNet).

| models | layers d | steps after the first | parameters (10 classes) |
|---|---|---|---|
| `msdnet6`, `msdnet9`, `msdnet12` | 6, 9, 12 | none | 0.15M, 0.34M, 0.62M |
| `msd-csc-ista6`, ... | the same | `unfolding`, 2 by default, of ISTA | the same |
| `msd-csc-fista6`, ... | the same | `unfolding`, 2 by default, of FISTA | the same |

Every layer appends 32 features (w); dilations cycle through 1, 2, 3; max-pooling follows one third and two thirds
of the layers, average pooling the last. Weights fit any number of steps and either algorithm; with up to one step
after the first the two algorithms are the same. After loading the weights of an MSDNet into an MSD-CSC, call
`robustcsc.layers.constraints.project_parameters`: training does not estimate a step size that is not used.

Differences from the paper:
- For the layers see `robustcsc.layers.dense_csc`.
- The authors' code has another network than the paper: a stem and three blocks of 12 layers of 12 features.
"""

from functools import partial
from typing import Literal, get_args

from torch import nn

from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.models.builder import Builder, described

#: Number of features that each layer appends (w), section VII-B.
WIDTH = 32
#: Dilations, in turn.
DILATIONS = (1, 2, 3)
#: Numbers of layers (d).
DEPTHS = (6, 9, 12)

Solver = Literal["ista", "fista"]


def _network(depth: int, solver: Solver, num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    layers: list[nn.Module] = []
    channels = in_channels
    for index in range(depth):
        dilation = DILATIONS[index % len(DILATIONS)]
        layers.append(
            DenseCSCConv2d(channels, WIDTH, 3, dilation, signed=in_channels, unfolding=unfolding, solver=solver)
        )
        channels += WIDTH
        if index + 1 in (depth // 3, 2 * depth // 3):
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def _msdnet(depth: int, num_classes: int, in_channels: int = 3) -> nn.Module:
    return _network(depth, "ista", num_classes, in_channels, unfolding=0)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    **{f"msdnet{depth}": described(f"MSDNet with {depth} layers", partial(_msdnet, depth)) for depth in DEPTHS},
    **{
        f"msd-csc-{solver}{depth}": described(
            f"MSD-CSC with {depth} layers, solved by {solver.upper()}", partial(_network, depth, solver)
        )
        for solver in get_args(Solver)
        for depth in DEPTHS
    },
}
