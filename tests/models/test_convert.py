import importlib

import pytest
import torch
from torch import nn

from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.errors import RobustCSCError
from robustcsc.layers.csc import CSCConv1d, CSCLinear, csc_layers
from robustcsc.models.convert import convert

resnet18 = importlib.import_module("torchvision.models").resnet18

SHAPE = (3, 16, 16)


@pytest.fixture
def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 5, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(5, 2, 1),
    ).double()


def converted_names(model: nn.Module) -> list[str]:
    return list(csc_layers(model))


def test_the_first_convolution_of_a_torchvision_resnet_becomes_sparse() -> None:
    torch.manual_seed(0)
    model = resnet18(num_classes=5).eval()
    filters = model.conv1.weight.detach().clone()
    rest = {name: tensor.clone() for name, tensor in model.state_dict().items() if not name.startswith("conv1.")}
    assert convert(model, (3, 32, 32), lam=0.2, num_steps=3, signed=True) is model
    assert converted_names(model) == ["conv1"]
    layer = csc_layers(model)["conv1"]
    norms = filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(layer.dictionary.weight.detach(), filters / norms)
    assert (layer.lam0, layer.num_steps, layer.signed) == (0.2, 3, True)
    assert (layer.dictionary.stride, layer.dictionary.padding) == ((2, 2), (3, 3))
    assert layer.dictionary.eigenvector.shape == (1, 3, 32, 32)
    for name, tensor in rest.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert not any(module.training for module in model.modules())
    with torch.no_grad():
        assert torch.isfinite(model(torch.rand(2, 3, 32, 32))).all()


def test_all_means_every_convolution_but_the_1x1_shortcuts() -> None:
    with torch.device("meta"):
        model = resnet18()
        convert(model, (3, 32, 32), layers="all")
    assert len(converted_names(model)) == 17
    left = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.kernel_size for conv in left] == [(1, 1)] * 3


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("layer1.*", ["layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2"]),
        ("conv1", ["conv1"]),
        (["conv1", "layer2.?.conv1"], ["conv1", "layer2.0.conv1", "layer2.1.conv1"]),
        ("layer4.0.downsample.0", ["layer4.0.downsample.0"]),  # a 1x1 convolution that is named is replaced
    ],
)
def test_names_and_patterns_choose_convolutions(layers: str | list[str], expected: list[str]) -> None:
    with torch.device("meta"):
        model = resnet18()
        convert(model, (3, 32, 32), layers=layers)
    assert converted_names(model) == expected


def test_geometry_precision_and_mode_are_those_of_the_convolution(small: nn.Sequential) -> None:
    small[3].eval()
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    sizes = small(images).shape
    filters = {name: small.get_parameter(f"{name}.weight").detach().clone() for name in ("0", "3")}
    convert(small, SHAPE, layers="all")
    assert converted_names(small) == ["0", "3"]  # not the grouped one, not the 1x1
    assert small(images).shape == sizes
    for name, layer in csc_layers(small).items():
        norms = filters[name].flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        weight = layer.dictionary.weight.detach()
        assert weight.dtype == torch.float64
        torch.testing.assert_close(weight, filters[name] / norms, rtol=1e-14, atol=1e-14)
    assert [layer.training for layer in csc_layers(small).values()] == [True, False]
    assert [layer.dictionary.dilation for layer in csc_layers(small).values()] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("layers", ["2", ["0", "2"], "*"])
def test_a_grouped_convolution_that_is_meant_is_refused_and_the_model_left_as_it_was(
    small: nn.Sequential, layers: str | list[str]
) -> None:
    with pytest.raises(RobustCSCError, match="Convolution '2' is grouped or not zero-padded"):
        convert(small, SHAPE, layers=layers)
    assert converted_names(small) == []


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(3, 2, 3, padding="same"), nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")]
)
def test_padding_that_is_not_a_number_of_zeros_is_refused(conv: nn.Conv2d) -> None:
    with pytest.raises(RobustCSCError, match="Convolution '0' is grouped or not zero-padded by a number of pixels"):
        convert(nn.Sequential(conv), SHAPE)
    with pytest.raises(RobustCSCError, match="no convolution that could become a CSC layer"):
        convert(nn.Sequential(conv), SHAPE, layers="all")


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do(small: nn.Sequential) -> None:
    with pytest.raises(RobustCSCError, match="layer named 'conv9': its convolutional or linear layers are 0, 2, 3, 4"):
        convert(small, SHAPE, layers=["0", "conv9"])
    assert converted_names(small) == []


@pytest.mark.parametrize("model", [nn.Sequential(nn.ReLU()), nn.Conv2d(3, 2, 3)])
def test_a_model_without_a_convolution_inside_is_refused(model: nn.Module) -> None:
    with pytest.raises(RobustCSCError, match="no convolution that could become a CSC layer"):
        convert(model, SHAPE)


def test_an_activation_that_worked_in_place_leaves_the_gradient_of_the_codes_alone() -> None:
    torch.manual_seed(0)
    model = convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).double(), SHAPE)
    images = torch.rand(1, *SHAPE, dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(model(images).sum())
    codes = convert(nn.Sequential(nn.Conv2d(3, 4, 3)).double(), SHAPE)
    codes.load_state_dict(model.state_dict())
    expected = images.detach().clone().requires_grad_()
    torch.autograd.backward(codes(expected).sum())
    assert images.grad is not None and images.grad.any() and torch.equal(images.grad, expected.grad)  # type: ignore[arg-type]


class Attentive(nn.Module):
    """Patches of an image as tokens, through a convolution over them, attention and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Unfold(4, stride=4)
        self.mix = nn.Conv1d(48, 12, 3, padding=1)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.mix(self.patches(images)).transpose(1, 2)
        result: torch.Tensor = self.mlp(tokens + self.attention(tokens, tokens, tokens)[0]).mean(1)
        return result


def test_sequences_and_named_linear_layers_become_sparse() -> None:
    torch.manual_seed(0)
    model = Attentive().double().eval()
    filters, rows = model.mix.weight.detach().clone(), model.get_parameter("mlp.0.weight").detach().clone()
    convert(model, SHAPE, layers=["mix", "mlp.0"], lam=0.05, lam2=0.1, num_steps=3)
    mix, mlp = csc_layers(model).values()
    assert (type(mix), type(mlp)) == (CSCConv1d, CSCLinear)
    torch.testing.assert_close(mix.dictionary.weight.detach(), filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1))
    torch.testing.assert_close(mlp.dictionary.weight.detach(), rows / rows.norm(dim=1, keepdim=True))
    assert [(it.lam0, it.lam2, it.num_steps, it.training) for it in (mix, mlp)] == [(0.05, 0.1, 3, False)] * 2
    images = torch.rand(3, *SHAPE, dtype=torch.float64)
    with torch.no_grad():
        tokens = model.patches(images)
        expected = mix.residual(tokens, mix(tokens))
        torch.testing.assert_close(residuals(model, images)[:, 0], expected)
        levels = torch.tensor([0.01, 0.1, 0.2], dtype=torch.float64)
        logits = logits_at(model, images, levels)
        for index, level in enumerate(levels.tolist()):
            torch.testing.assert_close(logits[index : index + 1], logits_at(model, images[index : index + 1], level))


@pytest.mark.parametrize(
    ("layers", "expected"), [("first", ["mix"]), ("all", ["mix"]), ("*", ["mix", "mlp.0", "mlp.2"])]
)
def test_linear_layers_are_replaced_by_name_and_the_projection_of_attention_never(
    layers: str, expected: list[str]
) -> None:
    model = convert(Attentive(), SHAPE, layers=layers)
    assert converted_names(model) == expected
    assert model(torch.rand(1, *SHAPE)).isfinite().all()


def test_a_network_of_linear_layers_says_how_to_choose_one() -> None:
    with pytest.raises(RobustCSCError, match="no convolution that could become a CSC layer: name linear layers"):
        convert(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), SHAPE)
