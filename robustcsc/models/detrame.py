"""DeTraMe-Net: networks whose ReLUs solve a sparse-coding problem in a learned metric.

Source: Tang et al., "Deep Transform and Metric Learning Network", arXiv:2002.07898, section 5, tables 1, 2 and 4.

| model | Q-Metric ReLUs | network | parameters (10 classes) | of them without |
|---|---|---|---|---|
| `detrame-plainnet3` | all, of the filter size before | PlainNet-3 | 0.26M | 0.09M |
| `detrame-plainnet6` | as above | PlainNet-6 | 1.60M | 0.68M |
| `detrame-plainnet9` | as above | PlainNet-9 | 2.99M (table 3: 3.0M) | 1.37M |
| `detrame-plainnet12` | as above | PlainNet-12 | 4.98M | 2.37M |
| `detrame-resnet8` | inside the blocks, 3x3 | ResNet-8 | 0.13M | 0.08M |
| `detrame-resnet20` | as above | ResNet-20 | 0.42M | 0.27M |
| `detrame-resnet56` | as above | ResNet-56 | 1.29M | 0.86M |
| `detrame-resnet110` | as above | ResNet-110 | 2.61M | 1.73M |
| `detrame-resnet164` | as above | ResNet-164 | 3.92M | 2.61M |
| `detrame-wideresnet16-4` | as above | WideResNet-16-4 | 4.30M | 2.75M |
| `detrame-wideresnet16-8` | as above | WideResNet-16-8 | 17.2M | 10.96M |

Defaults: iterations of table 4 for CIFAR-10; `NUM_STEPS` has those for the other data sets.

Differences from the paper:
- Table 5 gives 2.4M parameters for DeTraMe-Net 12, which is PlainNet-12 (2.37M). With W~, h and b there are 4.98M.
- Table 4 has no ResNet-110 on SVHN and no ResNet-164. They use 2 iterations, as ResNet-110 elsewhere.
- W~ is one full block (every channel is linked to every other), which is the only way to get the count of table 3.
- For the layers see `robustcsc.layers.qmetric`, `robustcsc.layers.plain` and `robustcsc.layers.preactivation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.layers.plain import activated, plain_network
from robustcsc.layers.preactivation import wide_network
from robustcsc.layers.qmetric import QMetricReLU
from robustcsc.layers.residual import BasicBlock, ResidualNetwork, conv, stem
from robustcsc.layers.tracing import run_zero_image, traced
from robustcsc.models.builder import Builder, described
from robustcsc.models.convert import matching, put_in_place

#: Iterations of table 4, by model name and data set.
NUM_STEPS: dict[str, dict[str, int]] = {
    "detrame-plainnet3": {"cifar10": 5, "cifar100": 3, "svhn": 8},
    "detrame-plainnet6": {"cifar10": 2, "cifar100": 2, "svhn": 5},
    "detrame-plainnet9": {"cifar10": 2, "cifar100": 2, "svhn": 5},
    "detrame-plainnet12": {"cifar10": 2, "cifar100": 2, "svhn": 3},
    "detrame-resnet8": {"cifar10": 3, "cifar100": 2, "svhn": 3},
    "detrame-resnet20": {"cifar10": 3, "cifar100": 2, "svhn": 2},
    "detrame-resnet56": {"cifar10": 3, "cifar100": 2, "svhn": 2},
    "detrame-resnet110": {"cifar10": 2, "cifar100": 2},
    "detrame-wideresnet16-4": {"cifar10": 2, "cifar100": 3, "svhn": 3},
    "detrame-wideresnet16-8": {"cifar10": 2, "cifar100": 3, "svhn": 3},
}


def _plainnet(depth: int, num_classes: int, in_channels: int = 3, *, num_steps: int) -> nn.Module:
    return plain_network(depth, num_classes, in_channels, activated(partial(QMetricReLU, num_steps=num_steps)))


def _resnet(layers: int, num_classes: int, in_channels: int = 3, *, num_steps: int) -> nn.Module:
    def block(channels_before: int, channels: int, stride: int) -> nn.Module:
        inner = partial(QMetricReLU, channels, 3, num_steps=num_steps)
        return BasicBlock(channels_before, channels, stride, inner=inner)

    first = stem("cifar", in_channels, 16, conv, nn.ReLU(inplace=True))
    return ResidualNetwork(first, 16, (16, 32, 64), ((layers - 2) // 6,) * 3, num_classes, block)


def _wide_resnet(factor: int, num_classes: int, in_channels: int = 3, *, num_steps: int) -> nn.Module:
    inner = partial(QMetricReLU, kernel_size=3, num_steps=num_steps)
    return wide_network(2, factor, num_classes, in_channels, inner)


#: The networks, by their names in the catalog.
MODELS: dict[str, Builder] = {
    **{
        f"detrame-plainnet{depth}": described(
            f"DeTraMe-PlainNet with {depth} convolutions", partial(_plainnet, depth, num_steps=num_steps)
        )
        for depth, num_steps in ((3, 5), (6, 2), (9, 2), (12, 2))
    },
    **{
        f"detrame-resnet{layers}": described(f"DeTraMe-ResNet-{layers}", partial(_resnet, layers, num_steps=num_steps))
        for layers, num_steps in ((8, 3), (20, 3), (56, 3), (110, 2), (164, 2))
    },
    **{
        f"detrame-wideresnet16-{factor}": described(
            f"DeTraMe-WideResNet-16-{factor}", partial(_wide_resnet, factor, num_steps=2)
        )
        for factor in (4, 8)
    },
}


def replace_relu(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    layers: str | Sequence[str] = "*",
    num_steps: int = 2,
    blocks: int = 1,
) -> nn.Module:
    """Replaces ReLUs of `model` by Q-Metric ReLUs, in place, and returns the model.

    The filters have the size of those of the preceding convolution (1x1 after a linear layer). The new activations
    start as ReLUs, so the model's output does not change. A ReLU that a model uses in several places stays one
    activation, sized for the first of them.

    Args:
        model: Any module with ``nn.ReLU`` inside; ReLUs called as functions are not found.
        image_shape: ``(C, H, W)`` of the images the model is made for.
        layers: Names of modules as in ``model.named_modules()``, with ``*`` as a wildcard.
        num_steps: As `QMetricReLU`.
        blocks: As `QMetricReLU`.

    Raises:
        RobustCSCError: If a name matches no ReLU, or a ReLU cannot be replaced: it is never called, it is called with
            different numbers of channels or with neither vectors nor images, it follows filters of even size, or
            `blocks` does not divide its channels.
    """
    named = model.named_modules(remove_duplicate=False)
    relus = {name: module for name, module in named if name and isinstance(module, nn.ReLU)}
    chosen = {name: relus[name] for name in matching(relus, layers, "ReLU")}
    uses = _uses(model, image_shape, set(chosen.values()))
    replacements: dict[nn.ReLU, QMetricReLU] = {}
    for name, relu in chosen.items():
        if relu not in replacements:
            replacements[relu] = _as_qmetric(name, relu, uses[relu], num_steps, blocks)
    put_in_place(model, {name: replacements[relu] for name, relu in chosen.items()})
    return model


#: The features that a ReLU was called with, and the size of the filters that computed them.
_Use = tuple[Tensor, tuple[int, ...]]


def _uses(model: nn.Module, image_shape: tuple[int, int, int], relus: set[nn.ReLU]) -> dict[nn.ReLU, list[_Use]]:
    """Returns what the ReLUs are called with in one forward pass of a zero image."""
    uses: dict[nn.ReLU, list[_Use]] = {relu: [] for relu in relus}
    size: tuple[int, ...] = (1, 1)

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal size
        if isinstance(module, nn.ReLU):
            uses[module].append((inputs[0], size))
        else:
            size = module.kernel_size if isinstance(module, nn.Conv2d) else (1, 1)

    watched = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear) or module in relus]
    with traced(watched, before=note):
        run_zero_image(model, image_shape)
    return uses


def _as_qmetric(name: str, relu: nn.ReLU, uses: list[_Use], num_steps: int, blocks: int) -> QMetricReLU:
    kinds = {(features.ndim, features.shape[1]) for features, _ in uses}
    if len(kinds) != 1 or next(iter(kinds))[0] not in (2, 4):
        raise RobustCSCError(
            f"ReLU {name!r} is not called with vectors or images of one number of channels: "
            "leave it out, or give each place its own."
        )
    features, size = uses[0]
    try:
        layer = QMetricReLU(features.shape[1], (size[0], size[1]), num_steps=num_steps, blocks=blocks)
    except ValueError as error:
        raise RobustCSCError(f"ReLU {name!r} cannot be replaced ({error}): leave it out.") from error
    return layer.to(features.device, features.dtype).train(relu.training)
