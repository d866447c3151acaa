import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.models.catalog import MODELS

DEPTHS = (6, 9, 12)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def layers(model: nn.Module) -> list[DenseCSCConv2d]:
    return [module for module in model.modules() if isinstance(module, DenseCSCConv2d)]


@pytest.mark.parametrize(("depth", "published"), [(6, 0.1), (9, 0.3), (12, 0.6)])
def test_the_number_of_parameters_is_that_of_table_3_for_every_unfolding(depth: int, published: float) -> None:
    filters = sum(9 * 32 * (3 + 32 * index) for index in range(depth))
    expected = filters + 32 * depth + 10 * (3 + 32 * depth) + 10  # biases, head
    with torch.device("meta"):
        models = [MODELS[f"msdnet{depth}"](10)]
        models += [
            MODELS[f"msd-csc-{it}{depth}"](10, unfolding=steps) for it in ("ista", "fista") for steps in range(3)
        ]
    assert {parameters(model) for model in models} == {expected}
    assert round(expected / 1e6, 1) == published


@pytest.mark.parametrize("depth", DEPTHS)
def test_dilations_cycle_and_the_image_halves_after_one_and_two_thirds(depth: int) -> None:
    with torch.device("meta"):
        model = MODELS[f"msd-csc-fista{depth}"](10)
    assert [it.dilation for it in layers(model)] == [1, 2, 3] * (depth // 3)
    assert {(it.unfolding, it.solver) for it in layers(model)} == {(2, "fista")}
    kinds = [type(it) for it in model.children() if isinstance(it, DenseCSCConv2d | nn.MaxPool2d)]
    third = [DenseCSCConv2d] * (depth // 3)
    assert kinds == [*third, nn.MaxPool2d, *third, nn.MaxPool2d, *third]


def msdnet(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network of Pelt and Sethian with the paper's pooling: each layer sees all feature maps before it."""
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight") and state[name].ndim == 4]
    maps = images
    for index, name in enumerate(names):
        dilation = index % 3 + 1
        new = F.conv2d(maps, state[f"{name}.weight"], state[f"{name}.bias"], padding=dilation, dilation=dilation)
        maps = torch.cat((maps, F.relu(new)), 1)
        if index + 1 in (len(names) // 3, 2 * len(names) // 3):
            maps = F.max_pool2d(maps, 2)
    (head,) = (name.removesuffix(".weight") for name in state if state[name].ndim == 2)
    return F.linear(F.adaptive_avg_pool2d(maps, 1).flatten(1), state[f"{head}.weight"], state[f"{head}.bias"])


@pytest.mark.parametrize("name", ["msdnet{}", "msd-csc-ista{}", "msd-csc-fista{}"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_proposition_1_without_unfolding_it_is_msdnet_to_the_bit(name: str, depth: int) -> None:
    torch.manual_seed(0)
    options = {} if name == "msdnet{}" else {"unfolding": 0}
    model = MODELS[name.format(depth)](10, **options).eval()
    for layer in layers(model):
        nn.init.normal_(layer.bias, std=0.1)
        layer.step_size.uniform_()
        layer.decay.uniform_()
    images = torch.randn(2, 3, 16, 16)  # normalised, so negative too
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(model(images), msdnet(model.state_dict(), images))


def test_weights_fit_every_unfolding() -> None:
    torch.manual_seed(2)
    plain, unfolded = MODELS["msdnet6"](10).eval(), MODELS["msd-csc-fista6"](10).eval()
    unfolded.load_state_dict(plain.state_dict())
    project_parameters(unfolded)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(plain(images), unfolded(images))


@pytest.mark.parametrize("name", ["msd-csc-ista6", "msd-csc-fista6"])
def test_more_steps_hardly_change_the_scale_of_the_initial_maps_of_smooth_images(name: str) -> None:
    images = F.interpolate(torch.randn(4, 3, 4, 4), (32, 32), mode="bilinear")
    scales = []
    for unfolding in (0, 1, 2, 4):
        torch.manual_seed(1)
        model = MODELS[name](10, unfolding=unfolding)
        assert isinstance(model, nn.Sequential)
        with torch.no_grad():
            scales.append(model[:-2](images).norm().item())
    assert max(scales) < 1.6 * min(scales)
