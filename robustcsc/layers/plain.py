"""The all-convolutional network that several families share: convolutions, activations and a global average.

Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR 2015 workshop, in the depths of
DeTraMe-Net (Tang et al., arXiv:2002.07898), table 1.

| depth | convolutions (3x3; /2: stride 2; d: followed by dropout 0.5) |
|---|---|
| 3 | 96, 96/2, classes/2 |
| 6 | 96, 96, 96/2 d, 192, 192, classes/2 |
| 9 | 96, 96, 96/2 d, 192, 192, 192/2 d, 192, 192 (1x1), classes (1x1) |
| 12 | 96, 96, 96/2 d, 192, 192, 192/2 d, 192, 192, 192/2, 192, 192 (1x1), classes (1x1) |

Every convolution, the last included, is followed by an activation. The input has dropout 0.2.

Differences from the paper:
- The column of depth 12 lists 11 convolutions. With a second 192 in its third group it has 12 and the 2.4M parameters
  of table 5, as here.
- Initial weights are not given. Here they are those of ``nn.Conv2d``, which are small. With He et al.'s larger ones and
  the paper's learning rate of 0.1, the last activation of depth 3 soon becomes 0 everywhere and learning stops.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

#: Builds the activation after a convolution of ``(out_channels, kernel_size)``.
ActivationBuilder = Callable[[int, int], nn.Module]


class PlainLayer(NamedTuple):
    """One convolution: number of filters (0: as many as classes), their size, stride, and the dropout that follows."""

    channels: int
    kernel_size: int = 3
    stride: int = 1
    dropout: float = 0.0


#: Builds the modules of a layer of ``(in_channels, out_channels, layer)``.
LayerBuilder = Callable[[int, int, PlainLayer], Sequence[nn.Module]]

_HALVING_96, _HALVING_192 = PlainLayer(96, stride=2, dropout=0.5), PlainLayer(192, stride=2, dropout=0.5)
_END = (PlainLayer(192, 1), PlainLayer(0, 1))

#: The networks of table 1 by their number of convolutions.
PLAIN_LAYERS: dict[int, tuple[PlainLayer, ...]] = {
    3: (PlainLayer(96), PlainLayer(96, stride=2), PlainLayer(0, stride=2)),
    6: (*[PlainLayer(96)] * 2, _HALVING_96, *[PlainLayer(192)] * 2, PlainLayer(0, stride=2)),
    9: (*[PlainLayer(96)] * 2, _HALVING_96, *[PlainLayer(192)] * 2, _HALVING_192, PlainLayer(192), *_END),
    12: (
        *[PlainLayer(96)] * 2,
        _HALVING_96,
        *[PlainLayer(192)] * 2,
        _HALVING_192,
        *[PlainLayer(192)] * 2,
        PlainLayer(192, stride=2),
        PlainLayer(192),
        *_END,
    ),
}


def plain_network(depth: int, num_classes: int, in_channels: int, layer: LayerBuilder) -> nn.Module:
    """Returns the network of `depth` layers, a key of `PLAIN_LAYERS`, for normalised images."""
    modules: list[nn.Module] = [nn.Dropout(0.2)]
    channels = in_channels
    for shape in PLAIN_LAYERS[depth]:
        filters = shape.channels or num_classes
        modules += layer(channels, filters, shape)
        if shape.dropout:
            modules.append(nn.Dropout(shape.dropout))
        channels = filters
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def activated(activation: ActivationBuilder) -> LayerBuilder:
    """Returns the builder of a convolution and its activation."""

    def layer(channels: int, filters: int, shape: PlainLayer) -> list[nn.Module]:
        size = shape.kernel_size
        return [nn.Conv2d(channels, filters, size, shape.stride, size // 2), activation(filters, size)]

    return layer
