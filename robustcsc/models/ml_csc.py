"""ML-CSC, and the feed-forward network that it becomes without unfolding.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections III and VII-B, table III; Papyan, Romano and Elad, JMLR 2017.

| model | steps after the first | parameters (10 classes) |
|---|---|---|
| `ml-csc-feedforward` | none: convolutions and ReLUs | 4.0M |
| `ml-csc-thresholding` | none: the layered thresholding algorithm | 4.0M |
| `ml-csc-ista` | `unfolding`, 2 by default, of ISTA | 4.0M |
| `ml-csc-fista` | `unfolding`, 2 by default, of FISTA | 4.0M |

Six layers of 32, 64, 128, 256, 512 and 512 filters; the first three are 4x4 of stride 2, the others 3x3 of stride 1.

Differences from the paper:
- For the layers see `robustcsc.layers.multilayer_csc`. All networks have the same parameters.
- Padding and head are not given. Here padding is 1, and average pooling is followed by a linear layer, which is the
  only way to get the paper's number of parameters.
"""

from functools import partial
from typing import Literal, get_args

from torch import nn

from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.models.builder import Builder, described

#: Filters, their size, and the stride of each layer (section VII-B).
LAYERS = ((32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 3, 1), (512, 3, 1), (512, 3, 1))

Solver = Literal["ista", "fista"]


def _network(solver: Solver, num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    layers: list[nn.Module] = []
    channels = in_channels
    for filters, size, stride in LAYERS:
        layers.append(MultilayerCSCConv2d(channels, filters, size, stride, 1, unfolding=unfolding, solver=solver))
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def _thresholding(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _network("ista", num_classes, in_channels, unfolding=0)


def _feedforward(num_classes: int, in_channels: int = 3) -> nn.Module:
    modules: list[nn.Module] = []
    channels = in_channels
    for filters, size, stride in LAYERS:
        convolution = nn.Conv2d(channels, filters, size, stride, 1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # it has one
        modules += [convolution, nn.ReLU(inplace=True)]
        channels = filters
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    "ml-csc-feedforward": described("the feed-forward network with the layer sizes of ML-CSC", partial(_feedforward)),
    "ml-csc-thresholding": described("ML-CSC with the layered thresholding algorithm", partial(_thresholding)),
    **{
        f"ml-csc-{solver}": described(f"ML-CSC with {solver.upper()} in each layer", partial(_network, solver))
        for solver in get_args(Solver)
    },
}
