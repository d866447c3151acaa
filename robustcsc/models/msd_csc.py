"""MSD-CSC, and the mixed-scale dense network (MSDNet) that it becomes without unfolding.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections V to VII-B, figure 6, table III; Pelt and Sethian, PNAS 2018 (MSDNet).

| builders | layers d | steps after the first | parameters (10 classes) |
|---|---|---|---|
| `msdnet6`, `msdnet9`, `msdnet12` | 6, 9, 12 | none | 0.15M, 0.34M, 0.62M |
| `msd_csc_ista6`, ... | the same | `unfolding`, 2 by default, of ISTA | the same |
| `msd_csc_fista6`, ... | the same | `unfolding`, 2 by default, of FISTA | the same |

Every layer appends 32 features (w); dilations cycle through 1, 2, 3; max-pooling follows one third and two thirds
of the layers, average pooling the last. Weights fit any number of steps and either algorithm; with up to one step
after the first the two algorithms are the same. After loading the weights of an MSDNet into an MSD-CSC, call
`robustcsc.layers.constraints.project_parameters`: training does not estimate a step size that is not used.

Differences from the paper:
- For the layers see `robustcsc.layers.dense_csc`.
- The authors' code has another network than the paper: a stem and three blocks of 12 layers of 12 features.
"""

from typing import Literal

from torch import nn

from robustcsc.layers.dense_csc import DenseCSCConv2d

#: Number of features that each layer appends (w), section VII-B.
WIDTH = 32
#: Dilations, in turn.
DILATIONS = (1, 2, 3)


def _network(
    depth: int, num_classes: int, in_channels: int, unfolding: int, solver: Literal["ista", "fista"]
) -> nn.Module:
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


def msdnet6(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns MSDNet with 6 layers."""
    return _network(6, num_classes, in_channels, 0, "ista")


def msdnet9(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns MSDNet with 9 layers."""
    return _network(9, num_classes, in_channels, 0, "ista")


def msdnet12(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns MSDNet with 12 layers."""
    return _network(12, num_classes, in_channels, 0, "ista")


def msd_csc_ista6(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 6 layers, solved by ISTA."""
    return _network(6, num_classes, in_channels, unfolding, "ista")


def msd_csc_ista9(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 9 layers, solved by ISTA."""
    return _network(9, num_classes, in_channels, unfolding, "ista")


def msd_csc_ista12(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 12 layers, solved by ISTA."""
    return _network(12, num_classes, in_channels, unfolding, "ista")


def msd_csc_fista6(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 6 layers, solved by FISTA."""
    return _network(6, num_classes, in_channels, unfolding, "fista")


def msd_csc_fista9(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 9 layers, solved by FISTA."""
    return _network(9, num_classes, in_channels, unfolding, "fista")


def msd_csc_fista12(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns MSD-CSC with 12 layers, solved by FISTA."""
    return _network(12, num_classes, in_channels, unfolding, "fista")
