"""Task-driven dictionary learning: a linear classifier on the elastic-net code of features of the image.

Source: Tirer and Giryes, "Task-Driven Dictionary Learning Based on Convolutional Neural Network Features", EUSIPCO 2018
(eq. 8-10, section IV), after Mairal, Bach and Ponce, "Task-Driven Dictionary Learning", IEEE TPAMI 2012.

Logits are ``W'alpha(f(x), D)``. Features f, dictionary D and classifier W are learned together, through the implicit
gradient of `robustcsc.layers.task_driven`.

| model | features of an image of 28x28 | their parameters | lambda_1 |
|---|---|---|---|
| `tddl-lin` | Z x, Z of 196x784 | 153,664 | 0.8 |
| `tddl-cnn` | convolution 20 5x5, max-pool 2, convolution 12 5x5, max-pool 2: 192 | 6,532 | 4 |
| `tddl-cifar` | three times convolution 3x3, ReLU, max-pool 2; standardised | 28,048 (colour: 28,624) | 0.8 |

There are 400 atoms, and lambda_2 = 0 (section IV). The option ``gap`` sets the duality gap of the codes. Images are
normalised to zero mean and unit norm. Weights of the features start from the standard normal distribution, biases at 0.
`robustcsc.training.initialise` initialises D and W.

Differences from the paper:
- The paper uses digits of 28x28 pixels. For smaller images, convolutions are padded by 2 so that features remain.
- `tddl-cifar` is ours, a small network for colour images with 32, 64 and 16 channels. Its features are standardised
  (zero mean, unit variance), so that their norm, and with it the effect of lambda_1, does not depend on their number.
  Its weights start as in He et al.
- Without the paper's initialisation, the atoms start as random unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustcsc.layers.elastic_net import GAP
from robustcsc.layers.normalize import UnitNorm
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.models.builder import Builder

#: Image size below which the convolutions of `tddl-cnn` are padded.
UNPADDED_FROM = 28


class TaskDriven(nn.Module):
    """Images to features to sparse codes to logits.

    Attributes:
        features: Images ``(N, C, H, W)`` to vectors ``(N, m)``.
        code: Vectors to codes ``(N, p)``.
        head: Codes to logits, linear without bias; its weight is W', one row per class.

    Args:
        features: The feature network.
        code: The layer that codes its features.
        num_classes: Number of logits.
    """

    def __init__(self, features: nn.Module, code: ElasticNetCode, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.code = code
        self.head = nn.Linear(code.dictionary.shape[1], num_classes, bias=False)

    def encode(self, images: Tensor) -> Tensor:
        """Returns the sparse codes ``(N, p)`` of the images."""
        codes: Tensor = self.code(self.features(images))
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits ``(N, num_classes)`` of the images."""
        logits: Tensor = self.head(self.encode(images))
        return logits


def tddl_lin(
    num_classes: int,
    in_channels: int = 1,
    *,
    image_size: tuple[int, int] = (28, 28),
    features: int = 196,
    atoms: int = 400,
    lam: float = 0.8,
    lam2: float = 0.0,
    gap: float = GAP,
) -> nn.Module:
    """Returns TDDL-LIN, which codes a learned linear transform of the image."""
    transform = nn.Linear(in_channels * image_size[0] * image_size[1], features, bias=False)
    network = nn.Sequential(UnitNorm(), nn.Flatten(), transform)
    _start_normal(network)
    return TaskDriven(network, ElasticNetCode(features, atoms, lam=lam, lam2=lam2, gap=gap), num_classes)


def tddl_cnn(
    num_classes: int,
    in_channels: int = 1,
    *,
    image_size: tuple[int, int] = (28, 28),
    atoms: int = 400,
    lam: float = 4.0,
    lam2: float = 0.0,
    gap: float = GAP,
) -> nn.Module:
    """Returns TDDL-CNN, which codes the features of two convolutions and two poolings."""
    padding = 2 if min(image_size) < UNPADDED_FROM else 0
    network = nn.Sequential(
        UnitNorm(),
        nn.Conv2d(in_channels, 20, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 12, 5, padding=padding),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    _start_normal(network)
    length = 12 * _after(image_size, lambda side: (side + 2 * padding - 4) // 2, 2)
    return TaskDriven(network, ElasticNetCode(length, atoms, lam=lam, lam2=lam2, gap=gap), num_classes)


def tddl_cifar(
    num_classes: int,
    in_channels: int = 3,
    *,
    image_size: tuple[int, int] = (32, 32),
    atoms: int = 400,
    lam: float = 0.8,
    lam2: float = 0.0,
    gap: float = GAP,
) -> nn.Module:
    """Returns a network for colour images that codes the features of three convolutions, ReLUs and poolings."""
    layers: list[nn.Module] = [UnitNorm()]
    channels = in_channels
    for width in (32, 64, 16):
        convolution = nn.Conv2d(channels, width, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    length = channels * _after(image_size, lambda side: side // 2, 3)
    network = nn.Sequential(*layers, nn.Flatten(), nn.LayerNorm(length, eps=1e-12, elementwise_affine=False))
    return TaskDriven(network, ElasticNetCode(length, atoms, lam=lam, lam2=lam2, gap=gap), num_classes)


def _after(image_size: tuple[int, int], stage: Callable[[int], int], stages: int) -> int:
    """Returns the number of positions after `stages` stages, each of which maps both sides by `stage`.

    Raises:
        ValueError: If a side becomes 0.
    """
    height, width = image_size
    for _ in range(stages):
        height, width = stage(height), stage(width)
    if height < 1 or width < 1:
        raise ValueError(f"images of {image_size[0]}x{image_size[1]} pixels are too small for its poolings")
    return height * width


@torch.no_grad()
def _start_normal(network: nn.Module) -> None:
    """Draws all weights from the standard normal distribution and sets the biases to 0 (section IV)."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.normal_()


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {"tddl-lin": tddl_lin, "tddl-cnn": tddl_cnn, "tddl-cifar": tddl_cifar}
