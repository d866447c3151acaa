"""SCN and SCN-18: their sizes, their start and what stays where."""

import pytest
import torch
from torch import nn

from robustcsc.layers.patch_code import PatchCode2d
from robustcsc.models.catalog import MODELS, build, default_spec
from robustcsc.training.recipes import RECIPES


@pytest.mark.parametrize(
    ("name", "options", "classes", "parameters"),
    [
        ("scn", {}, 10, 694_216),
        ("scn", {}, 100, 717_346),
        ("scn", {"width": 2}, 10, 347_336),
        ("scn-k1", {}, 10, 173_896),
        ("scn18", {}, 10, 11_173_963),
        ("scn18", {}, 100, 11_220_133),
    ],
)
def test_sizes_are_those_of_the_authors(name: str, options: dict[str, int], classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = MODELS[name](classes, **options)
    assert sum(it.numel() for it in network.parameters()) == parameters


def test_the_small_one_has_the_size_it_says() -> None:
    assert sum(it.numel() for it in MODELS["scn-digits"](10, 1).parameters()) == 19_160


def test_scn_is_a_chain_of_fourteen_codes_that_halves_the_image_twice() -> None:
    with torch.device("meta"):
        network = MODELS["scn"](10)
    codes = [it for it in network.modules() if isinstance(it, PatchCode2d)]
    slim_and_wide = [16, 64] * 3 + [32, 128] * 2 + [64, 256] * 2
    assert [len(it.weight) for it in codes] == slim_and_wide
    assert [at for at, it in enumerate(codes, 1) if it.stride == 2] == [7, 11]
    assert not any(it.affine for it in network.modules() if isinstance(it, nn.BatchNorm2d))
    assert all(len(it.weight) <= it.weight[0].numel() for it in codes)  # never overcomplete


def test_about_half_of_all_codes_are_active_at_the_start_and_every_lambda_is_0() -> None:
    torch.manual_seed(0)
    network = MODELS["scn-k1"](10).train()
    features = torch.randn(2, 3, 16, 16)
    for layer in network.children():
        features = layer(features)
        if isinstance(layer, PatchCode2d):
            assert layer.threshold == 0
            assert 0.4 < (features > 0).float().mean() < 0.6


def test_grey_images_have_eight_atoms_first() -> None:
    spec = default_spec("scn", 10, (1, 28, 28))
    assert next(it for it in build(spec).modules() if isinstance(it, PatchCode2d)).weight.shape == (8, 1, 3, 3)


def test_the_recipe_is_that_of_the_released_code() -> None:
    recipe = RECIPES["scn-cifar"]
    assert [recipe.rate_at(it) for it in (0, 80, 160, 199)] == pytest.approx([0.1, 0.01, 0.001, 0.001])
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.nesterov) == (200, 128, 0.9, False)
