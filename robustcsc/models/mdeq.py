r"""MDEQ: a multiscale deep equilibrium network, whose features are the fixed point of one cell.

Source: Bai, Koltun and Kolter, "Multiscale Deep Equilibrium Models", NeurIPS 2020: sections 3 and 4.1; sizes and what
the text leaves open are those of the authors' code (locuslab/deq, MDEQ-Vision, 2021). SDNet (Dai et al., NeurIPS 2022)
compares with `mdeq` in table 1.

The state z = (z_1, ..., z_n) has one resolution more coarse by half than the other, and the image enters at the finest.
With G groups of channels in every normalisation, f(z, x) is

1. ``h = ReLU(GN(conv3x3(z_i)))`` with e times as many channels, ``h = GN(drop(conv3x3(h)) + u_i) + z_i`` with u_1 made
   of the image and no other u_i, and ``h_i = GN(ReLU(h))``;
2. ``y_i`` = h_i and the sum of all other h_j, brought to its resolution: downwards by 3x3 convolutions of stride 2 and
   normalisations, with ReLUs in between, upwards by a 1x1 convolution, a normalisation and the nearest pixel;
3. ``z_i' = GN(conv1x1(ReLU(y_i)))`` with half as many groups.

The convolutions of 1 and 3 are weight-normalised. Weights, and the channels that dropout leaves out, are drawn or
computed once in a forward pass, and are the same in all iterations.

| model | channels by resolution | e, G | head | parameters | dropout |
|---|---|---|---|---|---|
| `mdeq` | 32, 64, 128, 256 | 5, 8 | 14, 28, 56, 112; 1680 | 11.10M, 11.25M for 100 classes | 0.3 |
| `mdeq-tiny` | 24, 24 | 5, 8 | 8, 16; 200 | 0.16M | 0.25 |
| `mdeq-digits` | 16, 16 | 2, 4 | 4, 8; 64 | 34k | 0 |

Defaults: Broyden's method, 18 evaluations forward and 20 back, a relative residual of 1e-3, ten plain iterations at the
beginning of a training.

Differences from the paper:
- A state has its own end: see `robustcsc.layers.fixed_point`.
- The last group normalisation of the cell is not affine, as in the maintained code.
- The sides of a resolution are half of the next one, rounded up, so images of any size fit.
- `mdeq-digits` is ours, sized for a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, relu

from robustcsc.layers.fixed_point import FixedPoint, Solver, StateMap
from robustcsc.layers.gradients import Gradient
from robustcsc.layers.residual import conv
from robustcsc.models.builder import Builder, described


class WeightNormConv2d(nn.Module):
    """The weight of a convolution without bias as a length and a direction for every output channel.

    Source: Salimans and Kingma, "Weight Normalization", NeurIPS 2016.

    Attributes:
        direction: ``(out_channels, in_channels, k, k)``.
        length: ``(out_channels, 1, 1, 1)``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(conv(in_channels, out_channels, kernel_size, 1, 0).weight.detach())
        self.length = nn.Parameter(_lengths(self.direction).detach())

    def weight(self) -> Tensor:
        """Returns the filters ``(out_channels, in_channels, k, k)``."""
        return self.direction * (self.length / _lengths(self.direction))


def _lengths(direction: Tensor) -> Tensor:
    return direction.square().sum((1, 2, 3), keepdim=True).sqrt()


class _Block(nn.Module):
    """The residual block of one resolution, step 1 of the cell."""

    def __init__(self, channels: int, expansion: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.widen = WeightNormConv2d(channels, expansion * channels, 3)
        self.narrow = WeightNormConv2d(expansion * channels, channels, 3)
        self.norm1 = nn.GroupNorm(groups, expansion * channels)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.norm3 = nn.GroupNorm(groups, channels)
        self.dropout = nn.Dropout2d(dropout)  # of whole channels

    def bound(self, batch: int, injected: Tensor | None) -> StateMap:
        """Returns the block with what stays the same in all iterations of one pass."""
        widen, narrow = self.widen.weight(), self.narrow.weight()
        kept = self.dropout(narrow.new_ones(batch, len(narrow), 1, 1))

        def block(features: Tensor) -> Tensor:
            hidden = relu(self.norm1(conv2d(features, widen, padding=1)))
            hidden = conv2d(hidden, narrow, padding=1) * kept
            hidden = self.norm2(hidden if injected is None else hidden + injected) + features
            normalised: Tensor = self.norm3(relu(hidden))
            return normalised

        return block


class _Up(nn.Module):
    """From a coarser resolution to a finer one."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, 1, 1, 0)
        self.norm = nn.GroupNorm(groups, out_channels)

    def forward(self, features: Tensor, size: Sequence[int]) -> Tensor:
        return interpolate(self.norm(self.conv(features)), size=tuple(size))


class _Down(nn.Sequential):
    """From a finer resolution to a coarser one, half by half."""

    def __init__(self, in_channels: int, out_channels: int, halvings: int, groups: int) -> None:
        layers: list[nn.Module] = []
        for left in reversed(range(halvings)):
            channels = in_channels if left else out_channels
            layers += [conv(in_channels, channels, 3, 2, 1), nn.GroupNorm(groups, channels)]
            layers += [nn.ReLU()] * (left > 0)
        super().__init__(*layers)


class Cell(nn.Module):
    """f of the equilibrium z = f(z, x), of flat states.

    Args:
        channels: Channels of every resolution, from the finest.
        expansion: e, the widening inside the blocks.
        groups: G, which divides all channels; even.
        dropout: Share of the channels that are left out in training.
    """

    def __init__(self, channels: Sequence[int], expansion: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.blocks = nn.ModuleList(_Block(count, expansion, groups, dropout) for count in channels)
        self.fuse = nn.ModuleList(
            nn.ModuleList(
                _Down(source, target, i - j, groups) if j < i else _Up(source, target, groups)
                for j, source in enumerate(channels)
                if j != i
            )
            for i, target in enumerate(channels)
        )
        self.post = nn.ModuleList(WeightNormConv2d(count, count, 1) for count in channels)
        self.norms = nn.ModuleList(nn.GroupNorm(groups // 2, count, affine=False) for count in channels)

    def shapes(self, size: Sequence[int]) -> list[tuple[int, int, int]]:
        """Returns ``(C, H, W)`` of every resolution for injected features of this size ``(H, W)``."""
        sides = [((size[0] - 1 >> i) + 1, (size[1] - 1 >> i) + 1) for i in range(len(self.channels))]
        return [(count, *side) for count, side in zip(self.channels, sides, strict=True)]

    def parts(self, state: Tensor, size: Sequence[int]) -> list[Tensor]:
        """Returns the features ``(N, C, H, W)`` of every resolution in a state ``(N, n)``."""
        shapes = self.shapes(size)
        split = torch.split(state, [torch.Size(shape).numel() for shape in shapes], 1)
        return [part.view(-1, *shape) for part, shape in zip(split, shapes, strict=True)]

    def bound(self, injected: Tensor) -> tuple[StateMap, Tensor]:
        """Returns f for one forward pass, and the state of zeros ``(N, n)`` to start from.

        Args:
            injected: u_1 ``(N, C, H, W)``.
        """
        size, batch = injected.shape[2:], len(injected)
        blocks = [block.bound(batch, None if i else injected) for i, block in enumerate(self.blocks)]  # type: ignore[operator]
        post = [it.weight() for it in self.post]  # type: ignore[operator]
        shapes = self.shapes(size)
        start = post[0].new_zeros(batch, sum(torch.Size(shape).numel() for shape in shapes))

        def cell(state: Tensor) -> Tensor:
            features = [block(part) for block, part in zip(blocks, self.parts(state, size), strict=True)]
            following = []
            for i, (fuse, weight, norm) in enumerate(zip(self.fuse, post, self.norms, strict=True)):
                fused = features[i]
                others = [j for j in range(len(features)) if j != i]
                for j, path in zip(others, fuse, strict=True):  # type: ignore[call-overload]
                    fused = fused + (path(features[j]) if j < i else path(features[j], shapes[i][1:]))
                following.append(norm(conv2d(relu(fused), weight)).flatten(1))
            return torch.cat(following, 1).to(start.dtype)  # autocast rounds features, and states need all digits

        return cell, start


def _layer(in_channels: int, out_channels: int, kernel_size: int, *, affine: bool = True) -> nn.Sequential:
    norm = nn.BatchNorm2d(out_channels, affine=affine)
    return nn.Sequential(conv(in_channels, out_channels, kernel_size, 1, kernel_size // 2), norm)


class _Increase(nn.Module):
    """A bottleneck that makes 4p channels of the features of one resolution."""

    def __init__(self, in_channels: int, planes: int) -> None:
        super().__init__()
        plain = partial(_layer, affine=False)
        self.path = nn.Sequential(
            *(plain(in_channels, planes, 1), nn.ReLU(), plain(planes, planes, 3), nn.ReLU()),
            plain(planes, 4 * planes, 1),
        )
        self.shortcut = _layer(in_channels, 4 * planes, 1)

    def forward(self, features: Tensor) -> Tensor:
        return relu(self.path(features) + self.shortcut(features))


class _Head(nn.Module):
    """Bottlenecks from the finest resolution down to the coarsest, and a linear classifier."""

    def __init__(self, channels: Sequence[int], planes: Sequence[int], final: int, num_classes: int) -> None:
        super().__init__()
        self.increase = nn.ModuleList(_Increase(count, width) for count, width in zip(channels, planes, strict=True))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * fine, 4 * coarse, 3, 2, 1), nn.BatchNorm2d(4 * coarse), nn.ReLU())
            for fine, coarse in pairwise(planes)
        )
        self.final = nn.Sequential(nn.Conv2d(4 * planes[-1], final, 1), nn.BatchNorm2d(final), nn.ReLU())
        self.linear = nn.Linear(final, num_classes)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        features = self.increase[0](parts[0])
        for part, increase, down in zip(parts[1:], self.increase[1:], self.down, strict=True):
            features = increase(part) + down(features)
        logits: Tensor = self.linear(self.final(features).mean((2, 3)))
        return logits


class MDEQ(nn.Module):
    """Stem, equilibrium and head.

    Args:
        stem: Normalised images to the features that are injected.
        cell: f.
        fixed_point: How its equilibrium is found.
        head: Features of all resolutions to logits.
    """

    def __init__(self, stem: nn.Module, cell: Cell, fixed_point: FixedPoint, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.cell, self.fixed_point, self.head = stem, cell, fixed_point, head
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits ``(N, num_classes)`` of normalised images."""
        injected = self.stem(images)
        function, start = self.cell.bound(injected)
        state = self.fixed_point(function, start)
        logits: Tensor = self.head(self.cell.parts(state, injected.shape[2:]))
        return logits


# A network's own sizes come first, and `MODELS` sets them; the others are what its user chooses.
def _mdeq(
    channels: tuple[int, ...],
    planes: tuple[int, ...],
    final: int,
    expansion: int,
    groups: int,
    num_classes: int,
    in_channels: int = 3,
    *,
    dropout: float,
    solver: Solver = "broyden",
    num_steps: int = 18,
    backward_steps: int = 20,
    tolerance: float = 1e-3,
    gradient: Gradient = "implicit",
) -> nn.Module:
    first = channels[0]
    layers = [_layer(in_channels, first, 3), nn.ReLU(), _layer(first, first, 3), nn.ReLU()]
    if len(channels) > 2:
        layers += [_layer(first, first, 1), nn.ReLU()]
    fixed_point = FixedPoint(
        solver=solver, num_steps=num_steps, backward_steps=backward_steps, tolerance=tolerance, gradient=gradient
    )
    cell = Cell(channels, expansion, groups, dropout)
    return MDEQ(nn.Sequential(*layers), cell, fixed_point, _Head(channels, planes, final, num_classes))


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    "mdeq": described(
        "MDEQ in the large form for CIFAR: the equilibrium of four resolutions",
        partial(_mdeq, (32, 64, 128, 256), (14, 28, 56, 112), 1680, 5, 8, dropout=0.3),
    ),
    "mdeq-tiny": described(
        "MDEQ in the small form for CIFAR: the equilibrium of two resolutions",
        partial(_mdeq, (24, 24), (8, 16), 200, 5, 8, dropout=0.25),
    ),
    "mdeq-digits": described(
        "a tiny MDEQ for 8x8 digits: the equilibrium of two resolutions of 16 channels",
        partial(_mdeq, (16, 16), (4, 8), 64, 2, 4, dropout=0.0),
    ),
}
