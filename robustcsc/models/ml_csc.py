"""ML-CSC, and the feed-forward network that it becomes without unfolding.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding", sections III and VII-B, table III; Papyan, Romano and Elad, JMLR 2017.

| builder | steps after the first | parameters (10 classes) |
|---|---|---|
| `ml_csc_feedforward` | none: convolutions and ReLUs | 4.0M |
| `ml_csc_thresholding` | none: the layered thresholding algorithm | 4.0M |
| `ml_csc_ista` | `unfolding`, 2 by default, of ISTA | 4.0M |
| `ml_csc_fista` | `unfolding`, 2 by default, of FISTA | 4.0M |

Six layers of 32, 64, 128, 256, 512 and 512 filters; the first three are 4x4 of stride 2, the others 3x3 of stride 1.

Differences from the paper:
- For the layers see `robustcsc.layers.multilayer_csc`. All networks have the same parameters.
- Padding and head are not given. Here padding is 1, and average pooling is followed by a linear layer, which is the
  only way to get the paper's number of parameters.
"""

from typing import Literal

from torch import nn

from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d

#: Filters, their size, and the stride of each layer (section VII-B).
LAYERS = ((32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 3, 1), (512, 3, 1), (512, 3, 1))


def _network(num_classes: int, in_channels: int, unfolding: int, solver: Literal["ista", "fista"]) -> nn.Module:
    layers: list[nn.Module] = []
    channels = in_channels
    for filters, size, stride in LAYERS:
        layers.append(MultilayerCSCConv2d(channels, filters, size, stride, 1, unfolding=unfolding, solver=solver))
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def ml_csc_thresholding(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns ML-CSC with the layered thresholding algorithm."""
    return _network(num_classes, in_channels, 0, "ista")


def ml_csc_ista(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns ML-CSC with ISTA in each layer."""
    return _network(num_classes, in_channels, unfolding, "ista")


def ml_csc_fista(num_classes: int, in_channels: int = 3, *, unfolding: int = 2) -> nn.Module:
    """Returns ML-CSC with FISTA in each layer."""
    return _network(num_classes, in_channels, unfolding, "fista")


def ml_csc_feedforward(num_classes: int, in_channels: int = 3) -> nn.Module:
    """Returns the feed-forward network with the layer sizes of ML-CSC."""
    modules: list[nn.Module] = []
    channels = in_channels
    for filters, size, stride in LAYERS:
        convolution = nn.Conv2d(channels, filters, size, stride, 1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # it has one
        modules += [convolution, nn.ReLU(inplace=True)]
        channels = filters
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
