"""The wide residual network that several families share, whose blocks normalise and activate before each convolution.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, table 1, without dropout.

Depth 6n + 4 counts the stem, 2n convolutions in each of three stages, and the three 1x1 shortcuts.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from robustcsc.layers.residual import BlockBuilder, ResidualNetwork, conv


class PreActivationBlock(nn.Module):
    """Two 3x3 layers, each after its activation: ``layer2(inner(BN(layer1(a)))) + shortcut`` with ``a = ReLU(BN(x))``.

    The shortcut is the input itself, or a 1x1 convolution of ``a`` where the shape changes. The stride is that of
    the first layer.

    Args:
        inner: Builder of the activation between the two layers, given its channels.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, *, inner: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = conv(in_channels, channels, 3, stride, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.inner = inner(channels)
        self.conv2 = conv(channels, channels, 3, 1, 1)
        same = stride == 1 and in_channels == channels
        self.shortcut = None if same else conv(in_channels, channels, 1, stride, 0)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features ``(N, channels, h, w)``."""
        activated = self.relu(self.bn1(images))
        shortcut = images if self.shortcut is None else self.shortcut(activated)
        features: Tensor = shortcut + self.conv2(self.inner(self.bn2(self.conv1(activated))))
        return features


def wide_network(
    blocks: int, factor: int, num_classes: int, in_channels: int, inner: Callable[[int], nn.Module]
) -> nn.Module:
    """Returns the wide residual network for normalised images of CIFAR's size.

    Args:
        blocks: Blocks of each of the three stages.
        factor: Factor by which the stages are wider than 16-32-64.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        inner: As `PreActivationBlock`.
    """
    widths = (16 * factor, 32 * factor, 64 * factor)
    block: BlockBuilder = partial(PreActivationBlock, inner=inner)
    network = ResidualNetwork(conv(in_channels, 16, 3, 1, 1), 16, widths, (blocks,) * 3, num_classes, block)
    network.stages.append(nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)))
    return network
