from collections.abc import Callable

import pytest
import torch
from torch import nn

from robustcsc.layers.csc import CSCConv2d, csc_layers, fit_image_size
from robustcsc.layers.residual import BasicBlock
from robustcsc.models.catalog import MODELS

WIDE = (64, 128, 256, 512)
DEPTHS_18, DEPTHS_34 = (2, 2, 2, 2), (3, 4, 6, 3)
#: 1x1 shortcuts with their batch normalisation where the width doubles.
SHORTCUTS = sum(width * 2 * width + 4 * width for width in WIDE[:3])


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("builder", "form", "classes", "depths", "shortcut", "expected"),
    [
        # SDNet's table 6: 11.2M, 11.3M, 11.7M.
        (MODELS["sdnet18"], "cifar", 10, DEPTHS_18, True, 11_173_962),
        (MODELS["sdnet18-all"], "cifar", 10, DEPTHS_18, True, 11_173_962),
        (MODELS["sdnet18"], "cifar", 100, DEPTHS_18, True, 11_220_132),
        (MODELS["sdnet18"], "imagenet", 1000, DEPTHS_18, True, 11_689_512),
        (MODELS["sdnet18-all"], "imagenet", 1000, DEPTHS_18, True, 11_726_376),
        (MODELS["sdnet18-all-plain"], "cifar", 10, DEPTHS_18, False, 11_173_962 - SHORTCUTS),
        # The paper says 21.1M for the CIFAR form: that is the count without 1x1 shortcuts. With them it is 21.28M.
        (MODELS["sdnet34"], "cifar", 10, DEPTHS_34, True, 21_282_122),
        (MODELS["sdnet34-all"], "cifar", 10, DEPTHS_34, True, 21_282_122),
        (MODELS["sdnet34-all-plain"], "cifar", 10, DEPTHS_34, False, 21_108_298),
        # 21.80M, as torchvision's ResNet-34, where table 6 says 21.5M.
        (MODELS["sdnet34"], "imagenet", 1000, DEPTHS_34, True, 21_797_672),
    ],
)
def test_wide_networks_have_the_parameters_of_the_architecture(
    builder: Callable[..., nn.Module],
    form: str,
    classes: int,
    depths: tuple[int, ...],
    shortcut: bool,
    expected: int,
    residual_parameters: Callable[..., int],
) -> None:
    with torch.device("meta"):
        model = builder(classes, form=form)
    stem = 3 if form == "cifar" else 7
    counted = residual_parameters(stem=stem, first=64, widths=WIDE, depths=depths, classes=classes, shortcut=shortcut)
    pooling = expected - counted  # of a CSC layer that halves images
    assert parameters(model) == expected
    assert pooling == (64 * 64 * 9 if expected == 11_726_376 else 0)


def test_small_networks_have_the_parameters_of_the_architecture(residual_parameters: Callable[..., int]) -> None:
    # 64 atoms before a first stage of width 16: the first block gets a 1x1 shortcut.
    expected = residual_parameters(stem=3, first=64, widths=(16, 32, 64), depths=(3, 3, 3), classes=10)
    assert parameters(MODELS["sdnet20"](10)) == expected
    assert 275_000 <= expected < 285_000  # 0.28M
    narrow = residual_parameters(stem=3, first=16, widths=(16, 32, 64), depths=(3, 3, 3), classes=10)
    assert parameters(MODELS["sdnet20"](10, atoms=16)) == narrow == parameters(MODELS["resnet20"](10))
    digits = residual_parameters(stem=3, first=32, widths=(16, 32), depths=(1, 1), classes=10) - 2 * 9 * 32
    assert parameters(MODELS["sdnet-digits"](10, 1)) == digits == 352 + (6_976 + 544) + (13_952 + 576) + 330
    textures = residual_parameters(stem=7, first=16, widths=(8, 16), depths=(1, 1), classes=10)
    assert parameters(MODELS["sdnet-textures"](10)) == textures == 2_384 + (1_760 + 144) + (3_520 + 160) + 170


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in model.parameters()]


@pytest.mark.parametrize("name", ["18", "34"])
@pytest.mark.parametrize("form", ["cifar", "imagenet"])
def test_an_sdnet_has_the_very_parameter_shapes_of_the_resnet(name: str, form: str) -> None:
    with torch.device("meta"):
        expected = shapes(MODELS[f"resnet{name}"](10, form=form))
        assert shapes(MODELS[f"sdnet{name}"](10, form=form)) == expected
        pool = [(64, 64, 3, 3)] if form == "imagenet" else []  # a CSC layer after the first layer and its normalisation
        with_pool = [*expected[:3], *pool, *expected[3:]]
        assert shapes(MODELS[f"sdnet{name}-all"](10, form=form)) == with_pool


@pytest.mark.parametrize(
    ("builder", "layers", "shortcuts"),
    [
        # One stem and two layers per block; one 1x1 shortcut per stage that changes the width.
        (MODELS["sdnet18-all"], 1 + 2 * 8, 3),
        (MODELS["sdnet34-all"], 1 + 2 * 16, 3),
        (MODELS["sdnet18-all-plain"], 1 + 2 * 8, 0),
        (MODELS["sdnet34-all-plain"], 1 + 2 * 16, 0),
    ],
)
def test_in_the_all_networks_only_1x1_shortcuts_stay_convolutions(
    builder: Callable[..., nn.Module], layers: int, shortcuts: int
) -> None:
    with torch.device("meta"):
        model = builder(10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(csc_layers(model)) == layers
    assert [conv.kernel_size for conv in convolutions] == [(1, 1)] * shortcuts
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock)]
    assert len(blocks) == (layers - 1) // 2
    plain = [block.shortcut is None for block in blocks]
    assert all(plain) if shortcuts == 0 else not any(plain)
    # Only the end of a block has a ReLU, and only behind a shortcut.
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == (len(blocks) if shortcuts else 0)


@pytest.mark.parametrize("builder", [MODELS["sdnet18"], MODELS["sdnet34"]])
def test_in_an_sdnet_the_first_layer_alone_is_sparse_and_no_relu_follows_it(builder: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        model = builder(10)
    (name,) = csc_layers(model)
    assert name == "stem.0"
    assert next(iter(model.parameters())) is csc_layers(model)[name].dictionary.weight
    stem = model.get_submodule("stem")
    assert [type(module) for module in stem.children()] == [CSCConv2d, nn.BatchNorm2d, nn.Identity]


def test_defaults_are_those_of_the_paper_and_options_reach_every_layer() -> None:
    with torch.device("meta"):
        standard, other = MODELS["sdnet18-all"](10), MODELS["sdnet18-all"](10, lam=0.3, num_steps=4, signed=True)
    for layer in csc_layers(standard).values():
        assert (layer.lam0, layer.num_steps, layer.signed, layer.solver) == (0.1, 2, False, "fista")
    for layer in csc_layers(other).values():
        assert (layer.lam0, layer.num_steps, layer.signed, layer.solver) == (0.3, 4, True, "fista")


def test_logits_do_not_depend_on_the_batch_and_a_forward_pass_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = MODELS["sdnet-digits"](10, 1).double().eval()
    fit_image_size(model, (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        logits = model(images)
        torch.testing.assert_close(model(images[3:4]), logits[3:4], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(model(images.flip(0)), logits.flip(0), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(logits[0], logits[1])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("builder", [MODELS["sdnet18-all"], MODELS["sdnet18-all-plain"]])
def test_an_all_network_runs_and_every_layer_codes_its_input(builder: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = builder(10).eval()
    fit_image_size(model, (3, 32, 32))
    active = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], codes: torch.Tensor) -> None:
        assert codes.min() >= 0
        active.append((codes > 0).float().mean().item())

    for layer in csc_layers(model).values():
        layer.register_forward_hook(note)
    with torch.no_grad():
        logits = model(torch.randn(2, 3, 32, 32))
    assert torch.isfinite(logits).all()
    assert len(active) == 17
    assert active[0] > 0
