"""Reconstruction from codes: eq. 14 by hand, and where a chain ends."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.signals.chain import reconstructions
from robustcsc.inspection.signals.reconstruction import (
    correlation,
    draw_reconstruction,
    measure,
    psnr,
    reconstruction_table,
)
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d
from robustcsc.layers.normalize import Normalize
from robustcsc.layers.residual import BasicBlock, Form, ResidualNetwork, Shortcut, stem
from robustcsc.models.catalog import build, default_spec

IMAGES = torch.rand(3, 2, 9, 8, generator=torch.Generator().manual_seed(0))


def csc(*sizes: int, **options: int) -> CSCConv2d:
    torch.manual_seed(sum(sizes))
    return CSCConv2d(*sizes, 3, padding=1, lam=0.02, **options)  # type: ignore[arg-type, misc]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    torch.manual_seed(channels)
    layer = nn.BatchNorm2d(channels)
    for tensor in (layer.running_var, layer.weight):
        assert tensor is not None
        tensor.data.uniform_(0.5, 2)
    for tensor in (layer.running_mean, layer.bias):
        assert tensor is not None
        tensor.data.normal_()
    return layer


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_one_layer_is_reconstructed_by_its_own_dictionary(stride: int) -> None:
    layer = csc(2, 5, stride=stride)
    (found,) = reconstructions(nn.Sequential(layer, nn.Flatten()), IMAGES).found
    expected = layer.operator.synthesize(layer(IMAGES), (9, 8))
    assert torch.equal(found.estimate, expected)
    assert torch.equal(found.pixels, expected)
    assert torch.equal(found.signal, IMAGES)
    assert (found.layer, found.depth) == ("0", 1)


@torch.no_grad()
def test_normalisation_of_pixels_is_undone() -> None:
    layer, normalize = csc(2, 5), Normalize((0.4, 0.6), (0.2, 0.5))
    (found,) = reconstructions(nn.Sequential(normalize, layer), IMAGES).found
    synthesis = layer.operator.synthesize(layer(normalize(IMAGES)), (9, 8))
    torch.testing.assert_close(found.signal, (IMAGES - normalize.mean) / normalize.std)
    assert torch.equal(found.estimate, synthesis)
    torch.testing.assert_close(found.pixels, synthesis * normalize.std + normalize.mean)


@torch.no_grad()
def test_two_layers_follow_equation_14_through_batch_norm_stride_and_relu() -> None:
    one, norm, two = csc(2, 6), batch_norm(6), csc(6, 7, stride=2)
    model = nn.Sequential(one, norm, nn.ReLU(inplace=True), two, nn.BatchNorm2d(7), nn.Flatten()).train()
    first, second = reconstructions(model, IMAGES).found
    norm.eval()
    inner = norm(one(IMAGES)).relu()
    back = two.operator.synthesize(two(inner), (9, 8))
    # undoing batch normalisation: norm(back) is what we are looking for
    undone = torch.linspace(-1, 1, 6)
    assert norm.running_mean is not None and norm.running_var is not None
    undone = (back - norm.bias[:, None, None]) / norm.weight[:, None, None]
    undone = undone * (norm.running_var + norm.eps)[:, None, None].sqrt() + norm.running_mean[:, None, None]
    torch.testing.assert_close(norm(undone), back, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.pixels, one.operator.synthesize(undone, (9, 8)), atol=1e-5, rtol=1e-5)
    assert (first.depth, second.depth, second.layer) == (1, 2, "3")
    assert model.training and not any(it._forward_hooks or it._forward_pre_hooks for it in model.modules())


@torch.no_grad()
def test_orthonormal_dictionaries_without_shrinkage_give_the_image_back_from_any_depth() -> None:
    layers: list[nn.Module] = []
    for seed in range(3):
        layer = CSCConv2d(4, 4, 1, lam=0.0, num_steps=30, signed=True)
        torch.manual_seed(seed)
        layer.dictionary.weight.copy_(torch.linalg.qr(torch.randn(4, 4)).Q[:, :, None, None])
        layer.dictionary.update_lipschitz()
        layers += [layer, batch_norm(4)]
    images = torch.rand(2, 4, 5, 5)
    found = reconstructions(nn.Sequential(*layers), images).found
    assert [it.depth for it in found] == [1, 2, 3]
    for it in found:
        torch.testing.assert_close(it.pixels, images, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_channels_that_batch_norm_multiplies_by_zero_get_their_mean() -> None:
    one, norm, two = csc(2, 3), batch_norm(3), csc(3, 4)
    norm.weight[1] = 0
    found = reconstructions(nn.Sequential(one, norm, two), IMAGES).found[1]
    assert found.pixels.isfinite().all()


@torch.no_grad()
def test_pooling_is_undone_by_interpolation() -> None:
    one, two = csc(2, 3), csc(3, 4)
    found = reconstructions(nn.Sequential(one, nn.MaxPool2d(2), two), IMAGES).found[1]
    pooled = F.max_pool2d(one(IMAGES), 2)
    back = two.operator.synthesize(two(pooled), (4, 4))
    wide = F.interpolate(back, (9, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.pixels, one.operator.synthesize(wide, (9, 8)))


@torch.no_grad()
def test_layers_of_ml_csc_and_msd_csc_have_their_own_dictionaries() -> None:
    torch.manual_seed(0)
    multi, dense = MultilayerCSCConv2d(2, 5, 3, 2, 1, unfolding=2), DenseCSCConv2d(5, 4, unfolding=1)
    first, second = reconstructions(nn.Sequential(multi, dense), IMAGES).found
    codes = multi(IMAGES)
    left = 1 - multi.decay
    scale = multi.lipschitz * (1 + left + left**2)  # three steps of ISTA
    transposed = F.conv_transpose2d(codes, multi.weight, None, 2, 1, (0, 1))
    torch.testing.assert_close(first.pixels, scale * transposed)
    inner = dense(codes) * dense.step_size * (2 - dense.decay)  # as the two steps of ISTA have them
    inner = inner[:, :5] + F.conv_transpose2d(inner[:, 5:], dense.weight, None, 1, 1)
    torch.testing.assert_close(second.pixels, scale * F.conv_transpose2d(inner, multi.weight, None, 2, 1, (0, 1)))


class Own(nn.Module):
    """A user's model, whose forward pass calls functions."""

    def __init__(self, before: Callable[[Tensor], Tensor], between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = csc(2, 4), csc(4, 4)
        self.before, self.between = before, between

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.second(self.between(self.first(self.before(images))))
        return codes.mean((2, 3))


@torch.no_grad()
def test_a_normalisation_that_is_a_function_is_recognised() -> None:
    mean, std = torch.tensor([0.1, 0.7])[:, None, None], torch.tensor([0.3, 0.6])[:, None, None]
    model = Own(lambda images: (images - mean) / std, lambda codes: codes)
    first, second = reconstructions(model, IMAGES).found
    synthesis = model.first.operator.synthesize(model.first((IMAGES - mean) / std), (9, 8))
    torch.testing.assert_close(first.pixels, synthesis * std + mean, atol=1e-4, rtol=1e-4)
    assert second.depth == 2


@pytest.mark.parametrize(
    "between", [lambda it: it.add_(1), lambda it: it + 0, lambda it: F.relu(it)], ids=["in place", "sum", "function"]
)
def test_a_function_between_layers_ends_the_chain(between: Callable[[Tensor], Tensor]) -> None:
    reached = reconstructions(Own(lambda it: it, between), IMAGES)
    assert [it.layer for it in reached.found] == ["first"]
    assert reached.layers == 2
    assert reached.obstacle == "second is preceded by a shortcut or a function that is not a module"


def test_what_is_no_dictionary_ends_the_chain_and_is_named() -> None:
    model = nn.Sequential(csc(2, 3), nn.Conv2d(3, 3, 1), nn.ReLU(), csc(3, 4))
    reached = reconstructions(model, IMAGES)
    assert [it.layer for it in reached.found] == ["0"]
    assert reached.obstacle == "3 is preceded by 1 (Conv2d), which has no dictionary"
    with pytest.raises(RobustCSCError, match=r"1 is preceded by 0 \(Conv2d\)"):
        reconstructions(nn.Sequential(nn.Conv2d(2, 2, 3), csc(2, 3)), IMAGES)
    with pytest.raises(RobustCSCError, match="no convolutional sparse-coding layer"):
        reconstructions(nn.Sequential(nn.Conv2d(2, 2, 3)), IMAGES)


def layer(in_channels: int, atoms: int, size: int, stride: int, padding: int) -> nn.Module:
    return CSCConv2d(in_channels, atoms, size, stride, padding)


@pytest.mark.parametrize(("form", "before"), [("cifar", 1), ("imagenet", 2)])
@pytest.mark.parametrize(("shortcut", "reached"), [(None, 4), ("B", 2)])
def test_the_network_of_sdnet_is_a_chain_up_to_its_first_shortcut(
    form: Form, before: int, shortcut: Shortcut | None, reached: int
) -> None:
    first = stem(form, 3, 4, layer, nn.Identity(), layer(4, 4, 3, 2, 1))
    block = partial(BasicBlock, layer=layer, inner=nn.Identity, shortcut=shortcut)
    found = reconstructions(ResidualNetwork(first, 4, (4, 6), (1, 1), 10, block), torch.rand(1, 3, 16, 16))
    assert ([it.depth for it in found.found], found.layers) == (list(range(1, before + reached + 1)), before + 4)
    obstacle = "stages.1.0.conv1 is preceded by a shortcut or a function that is not a module" if shortcut else ""
    assert found.obstacle == obstacle


@torch.no_grad()
def test_the_dictionary_in_place_of_the_pool_is_undone_as_equation_14_says() -> None:
    torch.manual_seed(0)
    first = stem("imagenet", 3, 4, layer, nn.Identity(), layer(4, 5, 3, 2, 1))
    one, norm, _, two = first.children()
    assert isinstance(one, CSCConv2d) and isinstance(norm, nn.BatchNorm2d) and isinstance(two, CSCConv2d)
    norm.running_mean = torch.linspace(-1, 1, 4)
    norm.bias.copy_(torch.linspace(0.5, -0.5, 4))
    images = torch.rand(2, 3, 17, 16)  # whose codes have 9x8 and 5x4 positions
    found = reconstructions(first, images).found[1]
    inner = F.conv_transpose2d(first.eval()(images), two.dictionary.weight, None, 2, 1, (0, 1))
    assert norm.running_var is not None
    before = (inner - norm.bias[:, None, None]) * (norm.running_var + norm.eps).sqrt()[:, None, None]
    before += norm.running_mean[:, None, None]
    torch.testing.assert_close(found.pixels, F.conv_transpose2d(before, one.dictionary.weight, None, 2, 3, (0, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "reached", "layers"),
    [
        ("sdnet20", 8, 1, 1),
        ("sdnet18-all", 8, 3, 17),
        ("sdnet18-all-plain", 8, 17, 17),
        ("sdnet18-all-plain", 96, 18, 18),  # the ImageNet form
        ("ml-csc-ista", 8, 6, 6),
    ],
)
def test_models_of_the_catalog(name: str, side: int, reached: int, layers: int) -> None:
    torch.manual_seed(0)
    model = build(default_spec(name, 10, (3, side, side)))
    found = reconstructions(model, torch.rand(1, 3, side, side))
    assert ([it.depth for it in found.found], found.layers) == (list(range(1, reached + 1)), layers)
    assert (found.obstacle == "") == (reached == layers)


def test_fidelity_by_hand() -> None:
    images = torch.tensor([[[[0.0, 0.5], [0.5, 1.0]]]])
    torch.testing.assert_close(psnr(images, images + 0.1), torch.tensor([20.0], dtype=torch.float64))
    others = torch.rand(4, 3, 5, 5)
    mixed = torch.rand(4, 3, 5, 5) + others
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(others.numpy(), mixed.numpy(), strict=True)]
    np.testing.assert_allclose(correlation(others, mixed).numpy(), expected, atol=1e-6)
    assert correlation(torch.ones_like(others), mixed).abs().max() == 0


@torch.no_grad()
def test_measures_are_those_of_the_layer_itself_and_add_up_over_batches() -> None:
    layer = csc(2, 5)
    model = nn.Sequential(layer)
    clean = IMAGES * 0.9
    pairs = [(IMAGES[:2], clean[:2]), (IMAGES[2:], clean[2:])]
    measured = measure(model, pairs, "noise 3")
    (found,) = measured.found
    residual = layer.residual(IMAGES, layer(IMAGES)).sum() / IMAGES.square().sum()
    assert found.relative_error == pytest.approx(float(residual), rel=1e-5)
    pixels = layer.operator.synthesize(layer(IMAGES), (9, 8)).clamp(0, 1)
    assert found.psnr == pytest.approx(float(psnr(pixels, IMAGES).mean()), rel=1e-5)
    assert found.psnr_clean == pytest.approx(float(psnr(pixels, clean).mean()), rel=1e-5)
    assert (found.given, found.images, measured.left_out) == ("noise 3", 3, "")
    table = reconstruction_table([measured], "m")
    assert table.rows[0][:3] == ("noise 3", 1, "0")
    with pytest.raises(RobustCSCError, match="no images"):
        measure(model, [], "clean")


def test_the_figure_has_a_row_per_image_and_input_and_a_column_per_depth() -> None:
    model = nn.Sequential(csc(1, 3), csc(3, 4))
    images = torch.rand(2, 1, 6, 6)
    plot = draw_reconstruction(model, [("clean", images), ("noise 3", images / 2)], "m")
    (ax,) = plot.figure.axes
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (4 * 7, 3 * 7)
    np.testing.assert_allclose(sheet[:6, :6], images[0, 0].double().numpy(), atol=1e-7)
    np.testing.assert_allclose(sheet[7:13, :6], images[0, 0].double().numpy() / 2, atol=1e-7)
    np.testing.assert_allclose(sheet[14:20, :6], images[1, 0].double().numpy(), atol=1e-7)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["input", "1: 0", "2: 1"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["clean", "noise 3"] * 2
