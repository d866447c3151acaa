"""SCN, networks of sparse codes of patches, and ResNet-18 with one such layer.

Source: Sun, Nasrabadi and Tran, "Supervised Deep Sparse Coding Networks", ICIP 2018, and their released code; SCN-18 is
a row of table 1 of SDNet (Dai et al., NeurIPS 2022).

A stage of SCN is batch normalisation without scale and shift, and a layer of patch codes, 3x3. A module is a slim stage
and one that is `width` times as wide, K in the paper. Codes are not negative, so nothing else stands between them.

| model | modules: slim-wide (/2: stride 2) | parameters (10 classes) |
|---|---|---|
| `scn` | 3 of 16-64, 32-128/2, 32-128, 64-256/2, 64-256 | 694,216 (100 classes: 717,346) |
| `scn-k1` | 3 of 16-16, 32-32/2, 32-32, 64-64/2, 64-64 | 173,896 |
| `scn-digits` | 8-16, 8-32, 16-64/2 | 19,160 |
| `scn18` | ResNet-18, first layer 64 atoms | 11,173,963 (100 classes: 11,220,133) |

| setting | SCN | SCN-18 (ours) |
|---|---|---|
| lambda | learned in every layer, from 0 | learned, from 0.1 |
| lambda_2 | 0 | 0.1 |
| atoms | free, from N(0, 1) / (9 C) | of unit norm |
| steps | 50 of FISTA | 200 |
| classifier | from N(0, 1) / features, bias 0 | as ResNet-18 |

Differences from the papers:
- Whoever computed the row of SCN-18 published no settings. Its dictionary is overcomplete (64 atoms for patches of 27
  numbers), so a code without lambda_2 is hardly determined, and 50 steps do not reach it.
- SCN's network for MNIST has 8 atoms in its first layer and another order of normalisation. Here grey images get the
  8 atoms, since 16 in patches of 9 numbers are overcomplete, and the order of the other networks.
- SCN subtracts the mean of each channel and leaves pixels in 0 to 255, which the first normalisation undoes.
- `scn-digits` is ours, sized for a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from robustcsc.layers.gradients import Gradient
from robustcsc.layers.patch_code import PatchCode2d
from robustcsc.layers.residual import ResidualNetwork, stem
from robustcsc.models.builder import Builder, described


class _Module(NamedTuple):
    """Atoms of the slim and the wide stage, and the stride of the slim one."""

    slim: int
    wide: int
    stride: int = 1


def _cifar(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: int = 4,
    modules: int = 1,
    lam: float = 0.0,
    num_steps: int = 50,
    gradient: Gradient = "implicit",
) -> nn.Module:
    first = 16 if in_channels > 1 else 8
    chain = [
        _Module(first, 16 * width),
        *[_Module(16, 16 * width)] * (2 * modules),
        *[
            it
            for slim in (32, 64)
            for it in (_Module(slim, slim * width, 2), *[_Module(slim, slim * width)] * (2 * modules - 1))
        ],
    ]
    return _scn(chain, num_classes, in_channels, lam=lam, num_steps=num_steps, gradient=gradient)


def _digits(
    num_classes: int,
    in_channels: int = 1,
    *,
    lam: float = 0.0,
    num_steps: int = 50,
    gradient: Gradient = "implicit",
) -> nn.Module:
    chain = [_Module(8, 16), _Module(8, 32), _Module(16, 64, 2)]
    return _scn(chain, num_classes, in_channels, lam=lam, num_steps=num_steps, gradient=gradient)


def _scn(
    chain: list[_Module], num_classes: int, in_channels: int, *, lam: float, num_steps: int, gradient: Gradient
) -> nn.Module:
    coded = partial(PatchCode2d, lam=lam, num_steps=num_steps, learn_lambda=True, unit_atoms=False, gradient=gradient)
    layers: list[nn.Module] = []
    channels = in_channels
    for module in chain:
        for atoms, stride in ((module.slim, module.stride), (module.wide, 1)):
            layers += [_normalising(channels), coded(channels, atoms, 3, stride, 1)]
            channels = atoms
    head = nn.Linear(channels, num_classes)
    with torch.no_grad():
        head.weight.normal_().div_(channels)
        head.bias.zero_()
    return nn.Sequential(*layers, _normalising(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _normalising(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-4, affine=False)


def _scn18(
    num_classes: int,
    in_channels: int = 3,
    *,
    lam: float = 0.1,
    lam2: float = 0.1,
    num_steps: int = 200,
    gradient: Gradient = "implicit",
) -> nn.Module:
    coded = partial(PatchCode2d, lam=lam, lam2=lam2, num_steps=num_steps, learn_lambda=True, gradient=gradient)
    first = stem("cifar", in_channels, 64, coded, nn.Identity())
    return ResidualNetwork(first, 64, (64, 128, 256, 512), (2, 2, 2, 2), num_classes)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    "scn": described(
        "SCN-4: 14 layers of patch codes, each second one `width` times as wide, each with a learned lambda",
        partial(_cifar),
    ),
    "scn-k1": described("SCN without wide layers", partial(_cifar, width=1)),
    "scn-digits": described("a tiny SCN for 8x8 digits: six layers of patch codes", partial(_digits)),
    "scn18": described(
        "SCN-18: ResNet-18 with a layer of patch codes in place of the first convolution; its settings are ours",
        partial(_scn18),
    ),
}
