import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from robustcsc.data import MemoryImages
from robustcsc.data import load as load_images
from robustcsc.errors import RobustCSCError
from robustcsc.layers.preactivation import PreActivationBlock
from robustcsc.layers.qmetric import QMetricReLU
from robustcsc.layers.residual import BasicBlock
from robustcsc.models.catalog import MODELS, build, default_spec
from robustcsc.models.detrame import replace_relu
from robustcsc.training.loop import Epoch, train
from robustcsc.training.recipes import Recipe

torchvision_models = importlib.import_module("torchvision.models")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def activation(channels: int, size: int) -> int:
    """W~ with the size of the convolution before, h and b."""
    return channels**2 * size**2 + 2 * channels


def activations(model: nn.Module) -> list[QMetricReLU]:
    return [module for module in model.modules() if isinstance(module, QMetricReLU)]


@pytest.mark.parametrize(
    ("depth", "extra", "published"),
    [
        (3, 2 * activation(96, 3) + activation(10, 3), None),
        (6, 3 * activation(96, 3) + 2 * activation(192, 3) + activation(10, 3), None),
        (9, 3 * activation(96, 3) + 4 * activation(192, 3) + activation(192, 1) + activation(10, 1), 3.0),  # table 3
        (12, 3 * activation(96, 3) + 7 * activation(192, 3) + activation(192, 1) + activation(10, 1), None),
    ],
)
def test_in_plainnet_every_relu_has_the_size_of_the_convolution_before(
    depth: int, extra: int, published: float | None
) -> None:
    with torch.device("meta"):
        plain = MODELS[f"plainnet{depth}"](10)
        model = MODELS[f"detrame-plainnet{depth}"](10)
    assert parameters(model) == parameters(plain) + extra
    assert published is None or round(parameters(model) / 1e6, 1) == published
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    for before, after in zip(convolutions, activations(model), strict=True):
        assert after.weight.shape == (before.out_channels, before.out_channels, *before.kernel_size)


@pytest.mark.parametrize(("depth", "published"), [(8, None), (20, 0.27), (56, None), (110, 1.7), (164, None)])
def test_in_resnet_the_relu_inside_each_block_has_3x3_filters(
    depth: int, published: float | None, residual_parameters: Callable[..., int]
) -> None:
    blocks = (depth - 2) // 6
    with torch.device("meta"):
        plain = MODELS[f"resnet{depth}"](10)
        model = MODELS[f"detrame-resnet{depth}"](10)
    counted = residual_parameters(stem=3, first=16, widths=(16, 32, 64), depths=(blocks,) * 3, classes=10)
    assert parameters(plain) == counted
    assert published is None or abs(counted / 1e6 - published) < 0.05
    assert parameters(model) == counted + blocks * sum(activation(width, 3) for width in (16, 32, 64))
    inside = [module.inner for module in model.modules() if isinstance(module, BasicBlock)]
    assert inside == activations(model)
    assert len(inside) == 3 * blocks
    # Those of the stem and of the ends of the blocks stay.
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == 1 + 3 * blocks


@pytest.mark.parametrize("factor", [4, 8])
def test_in_wide_resnet_the_relu_between_the_convolutions_of_a_block_is_replaced(factor: int) -> None:
    with torch.device("meta"):
        plain = MODELS[f"wideresnet16-{factor}"](10)
        model = MODELS[f"detrame-wideresnet16-{factor}"](10)
    widths = [16 * factor, 32 * factor, 64 * factor]
    assert parameters(model) == parameters(plain) + 2 * sum(activation(width, 3) for width in widths)
    inside = [module.inner for module in model.modules() if isinstance(module, PreActivationBlock)]
    assert inside == activations(model)
    assert [len(layer.gain) for layer in activations(model)] == [width for width in widths for _ in range(2)]


#: Table 4, iterations on CIFAR-10, CIFAR-100 and SVHN.
TABLE_4 = {
    "plainnet3": (5, 3, 8),
    "plainnet6": (2, 2, 5),
    "plainnet9": (2, 2, 5),
    "plainnet12": (2, 2, 3),
    "resnet8": (3, 2, 3),
    "resnet20": (3, 2, 2),
    "resnet56": (3, 2, 2),
    "resnet110": (2, 2, 2),  # not on SVHN
    "wideresnet16-4": (2, 3, 3),
    "wideresnet16-8": (2, 3, 3),
}


@pytest.mark.parametrize("name", TABLE_4)
def test_the_number_of_iterations_is_that_of_table_4(name: str) -> None:
    expected = dict(zip(("cifar10", "cifar100", "svhn"), TABLE_4[name], strict=True))
    for data, steps in {**expected, "imagefolder": expected["cifar10"]}.items():
        with torch.device("meta"):
            model = build(default_spec(f"detrame-{name}", 10, (3, 32, 32), normalization=data))
        assert {layer.num_steps for layer in activations(model)} == {steps}
    asked = default_spec(f"detrame-{name}", 10, (3, 32, 32), normalization="svhn", options={"num_steps": 7})
    assert asked.options == {"num_steps": 7}


def test_every_model_that_is_compared_has_its_detrame_version_and_the_other_way_round() -> None:
    plain = {*TABLE_4, "resnet164"}
    assert {name.removeprefix("detrame-") for name in MODELS if name.startswith("detrame-")} == plain
    assert plain <= MODELS.keys()


def test_svhn_stays_in_the_range_from_0_to_1() -> None:
    spec = default_spec("detrame-plainnet9", 10, (3, 32, 32), normalization="svhn")
    assert (spec.mean, spec.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_projections_hold_after_every_step_of_a_training_that_learns() -> None:
    """On the embedded digits, with the paper's network and number of iterations."""
    images = load_images("digits", split="train")
    assert isinstance(images, MemoryImages)
    torch.manual_seed(0)
    model = build(default_spec("detrame-resnet8", 10, images.image_shape))
    layers = activations(model)
    start = [layer.weight.detach().clone() for layer in layers]
    at_bound = 0
    epochs: list[Epoch] = []

    def check(label: str, done: float, total: float) -> None:
        nonlocal at_bound
        for layer in layers:
            diagonal = layer.weight[:, :, 1, 1].diagonal()
            assert torch.equal(diagonal, torch.zeros_like(diagonal))
            assert layer.gain.min() >= 0
            assert layer.gain.max() <= 1
            assert layer.threshold.min() >= 0
            at_bound += int((layer.threshold == 0).sum())

    recipe = Recipe(epochs=2, batch_size=64, learning_rate=0.1, schedule="onecycle", crop_padding=0, source="test")
    few = images.subset(torch.arange(640))
    fabric = Fabric(accelerator="cpu", devices=1)
    epochs += train(model, few, recipe, fabric=fabric, progress=check)
    assert epochs[1].loss < 0.6 * epochs[0].loss
    assert at_bound > 0  # the projection had something to do
    for layer, before in zip(layers, start, strict=True):
        assert not torch.allclose(layer.weight, before)


def test_a_detrame_network_starts_as_the_network_it_is_compared_with() -> None:
    images = torch.rand(4, 3, 16, 16)
    models = []
    for name in ("plainnet6", "detrame-plainnet6"):
        torch.manual_seed(5)
        models.append(build(default_spec(name, 10, (3, 16, 16))).eval())
    with torch.no_grad():
        first, second = (model(images) for model in models)
    assert first.std() > 0
    torch.testing.assert_close(second, first)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), padding=(1, 2)),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 1),
        nn.BatchNorm2d(6),
        nn.Sequential(nn.ReLU()),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
        nn.ReLU(),
    ).double()


def test_a_converted_model_computes_what_it_did_until_it_is_trained() -> None:
    model = small()
    model[3].eval()
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    before = model(images)
    modes = [module.training for module in model.modules()]
    assert replace_relu(model, (3, 4, 4), num_steps=3) is model
    torch.testing.assert_close(model(images), before, rtol=1e-12, atol=1e-12)
    assert [tuple(layer.weight.shape) for layer in activations(model)] == [(4, 4, 3, 5), (6, 6, 1, 1), (5, 5, 1, 1)]
    assert [layer.num_steps for layer in activations(model)] == [3, 3, 3]
    assert [module.training for module in model.modules()] == modes
    model(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(layer.weight.grad is not None and layer.weight.grad.any() for layer in activations(model))


def test_names_choose_the_relus() -> None:
    model = replace_relu(small(), (3, 4, 4), layers=["4.*", "7"])
    assert [name for name, module in model.named_modules() if isinstance(module, QMetricReLU)] == ["4.0", "7"]
    assert isinstance(model.get_submodule("1"), nn.ReLU)


def test_a_torchvision_resnet_shares_the_activation_of_a_block() -> None:
    model = torchvision_models.resnet18(num_classes=5)
    replace_relu(model, (3, 32, 32), layers="layer*.relu")
    assert len(activations(model)) == 8
    assert isinstance(model.relu, nn.ReLU)
    shared = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), shared)
    replace_relu(twice, (3, 8, 8))
    assert twice[1] is twice[3]
    assert isinstance(twice[1], QMetricReLU)


@pytest.mark.parametrize(
    ("model", "arguments", "cause"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {}, r"no ReLU named '\*': its ReLUs are it has none"),
        (small(), {"layers": ["1", "relu"]}, "no ReLU named 'relu': its ReLUs are 1, 4.0, 7"),
        (nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU()), {}, "'1' cannot be replaced .*kernel_size odd"),
        (small(), {"blocks": 3}, "'1' cannot be replaced .*3 of 4"),
        (nn.Sequential(nn.Flatten(2), nn.ReLU()), {}, "'1' is not called with vectors or images"),
        (
            nn.Sequential(*[relu := nn.ReLU(), nn.Conv2d(3, 4, 1), relu]),
            {},
            "'0' is not called with vectors or images of one number of channels",
        ),
    ],
)
def test_a_relu_that_cannot_be_replaced_is_named_and_the_model_left_as_it_was(
    model: nn.Module, arguments: dict[str, Any], cause: str
) -> None:
    with pytest.raises(RobustCSCError, match=cause):
        replace_relu(model, (3, 4, 4), **arguments)
    assert not activations(model)
