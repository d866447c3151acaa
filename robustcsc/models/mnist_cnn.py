"""The small CNN for MNIST that task-driven dictionary learning is compared with.

Source: Tirer and Giryes, EUSIPCO 2018, section IV: "an 8-layers CNN" from the MNIST example of the MatConvNet toolbox
(Vedaldi and Lenc, ACM MM 2015).

| layer | output for a 28x28 image |
|---|---|
| convolution 20 5x5, max-pool 2 | 12x12 |
| convolution 50 5x5, max-pool 2 | 4x4 |
| convolution 500 over the whole map, ReLU | 1x1 |
| convolution 1x1 to the classes | logits |

Weights start normally distributed with standard deviation 0.01, biases at 0. There are 431,080 parameters for 10
classes.

Differences from the paper:
- The example subtracts the mean image of the training set from pixels of 0 to 255. Here the mean pixel of MNIST is
  subtracted, so that the model does not depend on a training set.
- For images of other sizes the third convolution covers the whole remaining map; below 28 pixels the first two are
  padded by 2.
"""

from __future__ import annotations

import torch
from torch import nn

from robustcsc.layers.normalize import Normalize
from robustcsc.models.builder import Builder

#: Mean pixel of MNIST's training images in [0, 1] (33.3 of 255).
MEAN_PIXEL = 0.1307
#: Image size below which the first two convolutions are padded.
UNPADDED_FROM = 28


def mnist_cnn(num_classes: int, in_channels: int = 1, *, image_size: tuple[int, int] = (28, 28)) -> nn.Module:
    """Returns the CNN for images normalised with mean 0.5 and standard deviation 0.5.

    Raises:
        ValueError: If the image is too small for the two poolings.
    """
    padding = 2 if min(image_size) < UNPADDED_FROM else 0
    left = image_size
    for _ in range(2):
        left = ((left[0] + 2 * padding - 4) // 2, (left[1] + 2 * padding - 4) // 2)
    if min(left) < 1:
        raise ValueError(f"images of {image_size[0]}x{image_size[1]} pixels are too small for its poolings")
    network = nn.Sequential(
        Normalize((2 * MEAN_PIXEL - 1,) * in_channels, (2 / 255,) * in_channels),  # as the example: 0 to 255, centred
        nn.Conv2d(in_channels, 20, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Conv2d(50, 500, left),
        nn.ReLU(inplace=True),
        nn.Conv2d(500, num_classes, 1),
        nn.Flatten(),
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(std=0.01)
    return network


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {"mnist-cnn": mnist_cnn}
