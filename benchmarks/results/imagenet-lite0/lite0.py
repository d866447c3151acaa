"""EfficientNet-Lite0 with ImageNet weights, for --model lite0:network; see README.md."""

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from robustcsc.layers.normalize import Normalize


class ChannelsLast(nn.Module):
    """Lays images out as convolutions on CPUs are fastest."""

    def forward(self, images: Tensor) -> Tensor:
        """Returns the images unchanged, with the channels last in memory."""
        return images.contiguous(memory_format=torch.channels_last)


def network() -> nn.Module:
    """Returns the network behind its normalisation: images (N, 3, 224, 224) in [0, 1] to 1,000 logits."""
    net = EfficientNet.from_name("efficientnet-lite0").to(memory_format=torch.channels_last)
    return nn.Sequential(Normalize((127 / 255,) * 3, (128 / 255,) * 3), ChannelsLast(), net)
