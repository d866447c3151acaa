"""The residual network that several families share: a stem, stages of blocks, a global average and a linear head.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the CIFAR form (3x3 stem) and the
ImageNet form (7x7 stem of stride 2, max-pool).

Differences from the paper: the shortcut of a block that changes the shape is a 1x1 convolution with batch normalisation
(option B) on CIFAR too.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

#: Builds a layer without bias from ``(in_channels, out_channels, kernel_size, stride, padding)``.
ConvBuilder = Callable[[int, int, int, int, int], nn.Module]
#: Builds a block from ``(in_channels, out_channels, stride)``.
BlockBuilder = Callable[[int, int, int], nn.Module]
Form = Literal["cifar", "imagenet"]


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Conv2d:
    """Returns a plain convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


def stem(form: Form, in_channels: int, channels: int, layer: ConvBuilder, activation: nn.Module) -> nn.Module:
    """Returns the first layer, batch normalisation and `activation` (and the max-pool of the ImageNet form).

    Raises:
        ValueError: If `form` is unknown.
    """
    if form not in get_args(Form):
        raise ValueError(f"form must be cifar or imagenet, got {form!r}")
    if form == "cifar":
        return nn.Sequential(layer(in_channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), activation)
    return nn.Sequential(
        layer(in_channels, channels, 7, 2, 3),
        nn.BatchNorm2d(channels),
        activation,
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


def shortcut_path(in_channels: int, channels: int, stride: int) -> nn.Module:
    """Returns the identity, or where the shape changes, a 1x1 convolution with batch normalisation."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(conv(in_channels, channels, 1, stride, 0), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3x3 layers and a shortcut: ``ReLU(BN(layer2(inner(BN(layer1(x))))) + shortcut(x))``.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first layer.
        layer: Builder of the two 3x3 layers.
        inner: Activation between the two layers.
        shortcut: Whether the input is added to the output.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        layer: ConvBuilder = conv,
        inner: Callable[[], nn.Module] = nn.ReLU,
        shortcut: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = layer(in_channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.inner = inner()
        self.conv2 = layer(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_path(in_channels, channels, stride) if shortcut else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features ``(N, channels, h, w)``."""
        features: Tensor = self.bn2(self.conv2(self.inner(self.bn1(self.conv1(images)))))
        if self.shortcut is not None:
            features = features + self.shortcut(images)
        activated: Tensor = self.relu(features)
        return activated


class ResidualNetwork(nn.Module):
    """Stem, stages of blocks, global average pooling, linear head.

    Args:
        first: The built stem.
        first_channels: Channels of the stem's output.
        widths: Channels of each stage; every stage after the first halves the image.
        depths: Number of blocks of each stage.
        num_classes: Number of logits.
        block: Builder of the blocks.
    """

    def __init__(
        self,
        first: nn.Module,
        first_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        block: BlockBuilder = BasicBlock,
    ) -> None:
        super().__init__()
        self.stem = first
        channels = first_channels
        stages: list[nn.Module] = []
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(channels, width, stride))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits ``(N, num_classes)`` of normalised images."""
        logits: Tensor = self.head(self.pool(self.stages(self.stem(images))).flatten(1))
        return logits
