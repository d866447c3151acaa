"""The residual network that several families share: a stem, stages of blocks, a global average and a linear head.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the CIFAR form (3x3 stem) and the
ImageNet form (7x7 stem of stride 2, max-pool).

Differences from the paper: the shortcut of a block that changes the shape is a 1x1 convolution with batch normalisation
(option B) on CIFAR too, unless `PaddedShortcut` (option A, the paper's on CIFAR) is asked for.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import pad

#: Builds a layer without bias from ``(in_channels, out_channels, kernel_size, stride, padding)``.
ConvBuilder = Callable[[int, int, int, int, int], nn.Module]
#: Builds a block from ``(in_channels, out_channels, stride)``.
BlockBuilder = Callable[[int, int, int], nn.Module]
Form = Literal["cifar", "imagenet"]
#: What stands beside the layers of a block that changes the shape: nothing learned, or a 1x1 convolution.
Shortcut = Literal["A", "B"]

_IN_PLACE = partial(nn.ReLU, inplace=True)


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Conv2d:
    """Returns a plain convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


def stem(
    form: Form,
    in_channels: int,
    channels: int,
    layer: ConvBuilder,
    activation: nn.Module,
    pool: nn.Module | None = None,
) -> nn.Module:
    """Returns the first layer, batch normalisation and `activation` (and `pool`, in the ImageNet form only).

    `pool` halves the image; a max-pool of 3x3 by default.

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
        pool or nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


class PaddedShortcut(nn.Module):
    """The option A of He et al.: every `stride`-th pixel, and zeros for the new channels, as many before as after.

    Args:
        new_channels: Channels of the output less those of the input.
        stride: Distance of the pixels that are kept.
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before, self.after = new_channels // 2, new_channels - new_channels // 2

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features ``(N, channels, h, w)``."""
        kept = images[:, :, :: self.stride, :: self.stride]
        return pad(kept, (0, 0, 0, 0, self.before, self.after))


def shortcut_path(in_channels: int, channels: int, stride: int, kind: Shortcut = "B") -> nn.Module:
    """Returns the identity, or where the shape changes, what `kind` says.

    Raises:
        ValueError: If `kind` is unknown.
    """
    if kind not in get_args(Shortcut):
        raise ValueError(f"shortcut must be A or B, got {kind!r}")
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    if kind == "A":
        return PaddedShortcut(channels - in_channels, stride)
    return nn.Sequential(conv(in_channels, channels, 1, stride, 0), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3x3 layers and a shortcut: ``outer(BN(layer2(inner(BN(layer1(x))))) + shortcut(x))``.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first layer.
        layer: Builder of the two 3x3 layers.
        inner: Activation between the two layers.
        outer: Activation of the output.
        shortcut: How the input is added to the output where the shape changes; ``None`` if it never is.

    Raises:
        ValueError: If `shortcut` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        layer: ConvBuilder = conv,
        inner: Callable[[], nn.Module] = nn.ReLU,
        outer: Callable[[], nn.Module] = _IN_PLACE,
        shortcut: Shortcut | None = "B",
    ) -> None:
        super().__init__()
        self.conv1 = layer(in_channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.inner = inner()
        self.conv2 = layer(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_path(in_channels, channels, stride, shortcut) if shortcut else None
        self.outer = outer()

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features ``(N, channels, h, w)``."""
        features: Tensor = self.bn2(self.conv2(self.inner(self.bn1(self.conv1(images)))))
        if self.shortcut is not None:
            features = features + self.shortcut(images)
        activated: Tensor = self.outer(features)
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
