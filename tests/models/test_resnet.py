import importlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from robustcsc.layers.residual import PaddedShortcut
from robustcsc.models.catalog import MODELS

torchvision_models = importlib.import_module("torchvision.models")

WIDE = (64, 128, 256, 512)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("builder", "form", "classes", "published"),
    [
        (MODELS["resnet18"], "cifar", 10, 11_173_962),  # 11.2M in SDNet's table 6
        (MODELS["resnet18"], "cifar", 100, 11_220_132),
        # 21.28M with the 1x1 shortcuts (option B). SDNet's table says 21.1M, which is the count without them.
        (MODELS["resnet34"], "cifar", 10, 21_282_122),
        (MODELS["resnet18"], "imagenet", 1000, 11_689_512),
        (MODELS["resnet34"], "imagenet", 1000, 21_797_672),  # 21.80M, as torchvision counts; SDNet's table 6 says 21.5M
    ],
)
def test_wide_networks_have_the_parameters_of_the_architecture(
    builder: Callable[..., nn.Module], form: str, classes: int, published: int, residual_parameters: Callable[..., int]
) -> None:
    with torch.device("meta"):
        model = builder(classes, form=form)
    depths = (2, 2, 2, 2) if builder is MODELS["resnet18"] else (3, 4, 6, 3)
    stem = 3 if form == "cifar" else 7
    assert parameters(model) == published
    assert parameters(model) == residual_parameters(stem=stem, first=64, widths=WIDE, depths=depths, classes=classes)


def test_resnet20_has_the_parameters_of_the_architecture(residual_parameters: Callable[..., int]) -> None:
    # 269,722 in He et al. with shortcuts that cost nothing (option A); the 1x1 shortcuts add 2,752.
    expected = residual_parameters(stem=3, first=16, widths=(16, 32, 64), depths=(3, 3, 3), classes=10)
    assert parameters(MODELS["resnet20"](10)) == expected == 269_722 + (16 * 32 + 64) + (32 * 64 + 128)


def test_the_digits_network_has_the_parameters_of_the_architecture(residual_parameters: Callable[..., int]) -> None:
    # 20k: stem 176, blocks 4,672 and 13,952, shortcut 576, head 330.
    colour = residual_parameters(stem=3, first=16, widths=(16, 32), depths=(1, 1), classes=10)
    assert parameters(MODELS["resnet-digits"](10, 1)) == colour - 2 * 9 * 16 == 19_706  # one channel in place of three


def test_the_network_for_textures_has_the_parameters_of_the_architecture(
    residual_parameters: Callable[..., int],
) -> None:
    # 6k: stem 1,192, blocks 1,184 and 3,520, shortcut 160, head 170.
    expected = residual_parameters(stem=7, first=8, widths=(8, 16), depths=(1, 1), classes=10)
    assert parameters(MODELS["resnet-textures"](10)) == expected == 6_226


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_the_imagenet_form_is_that_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        model, theirs = MODELS[name](1000, form="imagenet"), torchvision_models.get_model(name, weights=None)
    # Same tensors in the same order, except that ours names them otherwise and has the shortcut behind the block.
    assert parameters(model) == parameters(theirs)
    assert sorted(tuple(p.shape) for p in model.parameters()) == sorted(tuple(p.shape) for p in theirs.parameters())


def test_the_imagenet_form_computes_what_torchvision_computes() -> None:
    torch.manual_seed(0)
    model, theirs = MODELS["resnet18"](5, form="imagenet").eval(), torchvision_models.resnet18(num_classes=5).eval()
    for tensor in theirs.parameters():
        torch.nn.init.normal_(tensor, 0.02, 0.02)
    names = {"conv1": "stem.0", "bn1": "stem.1", "fc": "head"} | {f"layer{i + 1}": f"stages.{i}" for i in range(4)}
    state = {}
    for name, tensor in theirs.state_dict().items():
        head, _, rest = name.partition(".")
        state[f"{names[head]}.{rest}".replace("downsample", "shortcut")] = tensor
    model.load_state_dict(state)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images))


def test_padded_shortcuts_keep_every_other_pixel_between_zeros() -> None:
    images = torch.arange(32.0).view(1, 2, 4, 4) + 1
    padded = PaddedShortcut(5 - 2, 2)(images)
    assert padded.shape == (1, 5, 2, 2)
    assert torch.equal(padded[0, [0, 3, 4]], torch.zeros(3, 2, 2))  # 3 new channels: one before, two after
    assert torch.equal(padded[0, 1:3], torch.tensor([[[1.0, 3.0], [9.0, 11.0]], [[17.0, 19.0], [25.0, 27.0]]]))


@pytest.mark.parametrize(("name", "expected"), [("resnet20", 269_722), ("resnet110", 1_727_962)])
def test_with_padded_shortcuts_cifar_resnets_have_the_parameters_of_the_paper(name: str, expected: int) -> None:
    """0.27M and 1.7M in table 6 of He et al.; the sums are over stem, blocks and head."""
    with torch.device("meta"):
        model = MODELS[name](10, shortcut="A")
    assert parameters(model) == expected
    with pytest.raises(ValueError, match="shortcut must be A or B, got 'C'"):
        MODELS[name](10, shortcut="C")
