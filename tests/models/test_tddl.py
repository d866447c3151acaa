from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.tddl import TaskDriven


def make(name: str, shape: tuple[int, int, int] = (1, 28, 28), **options: Any) -> TaskDriven:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(default_spec(name, 10, shape, options=options)).get_submodule("network")
    assert isinstance(network, TaskDriven)
    return network


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "features", "length", "lam"),
    # Section IV of the paper; the last one from its layers: 9 taps and a bias per filter.
    [
        ("tddl-lin", 153_664, 196, 0.8),
        ("tddl-cnn", 6_532, 192, 4.0),
        ("tddl-cifar", 9 * (32 + 32 * 64 + 64 * 16) + 32 + 64 + 16, 16 * 3 * 3, 0.8),
    ],
)
def test_sizes_are_those_of_the_paper(name: str, features: int, length: int, lam: float) -> None:
    network = make(name)
    assert count(network.features) == features
    assert network.code.dictionary.shape == (length, 400)
    assert (network.code.lam0, network.code.lam2) == (lam, 0.0)
    assert network.head.bias is None
    assert count(network) == features + 400 * length + 10 * 400


@pytest.mark.parametrize(
    ("name", "shape", "length"),
    [
        ("tddl-lin", (3, 32, 32), 196),
        ("tddl-cnn", (3, 32, 32), 12 * 5 * 5),
        ("tddl-cnn", (1, 8, 8), 12 * 2 * 2),
        ("tddl-cifar", (3, 32, 32), 16 * 4 * 4),
        ("tddl-cifar", (1, 8, 8), 16),
    ],
)
def test_any_image_size_has_as_many_features_as_atoms_have_entries(
    name: str, shape: tuple[int, int, int], length: int
) -> None:
    network = make(name, shape, atoms=30)
    assert network.code.dictionary.shape == (length, 30)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    assert network.features(images).shape == (2, length)


@pytest.mark.parametrize("name", ["tddl-lin", "tddl-cnn"])
def test_weights_of_the_features_are_standard_normal_and_biases_zero(name: str) -> None:
    for parameter_name, parameter in make(name).features.named_parameters():
        values = parameter.detach()
        if parameter_name.endswith("bias"):
            assert not values.any()
        else:  # mean and deviation of n normal numbers, within five of their own deviations
            assert abs(values.mean()) < 5 / values.numel() ** 0.5
            assert abs(values.std() - 1) < 5 / (2 * values.numel()) ** 0.5


def test_the_features_of_tddl_lin_are_a_linear_transform_of_the_normalised_image() -> None:
    network = make("tddl-lin")
    image = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    centred = image.flatten() - image.mean()
    transform = dict(network.features.named_parameters())["2.weight"]
    torch.testing.assert_close(network.features(image)[0], transform @ (centred / centred.norm()))


@pytest.mark.parametrize("name", ["tddl-lin", "tddl-cnn", "tddl-cifar"])
def test_brightness_and_contrast_of_an_image_change_nothing(name: str) -> None:
    network = make(name).double()
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(0.3 * images + 0.1), network(images))


def test_logits_are_linear_in_the_code() -> None:
    network = make("tddl-cnn", atoms=50)
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        codes = network.encode(images)
        assert 0 < (codes != 0).float().mean() < 1
        torch.testing.assert_close(network(images), codes @ network.head.weight.T)


def test_options_reach_the_code() -> None:
    code = make("tddl-lin", atoms=30, features=20, lam=0.5, lam2=0.1).code
    assert isinstance(code, ElasticNetCode)
    assert (code.dictionary.shape, code.lam0, code.lam2) == ((20, 30), 0.5, 0.1)


@pytest.mark.parametrize(
    ("name", "shape", "options", "cause"),
    [
        ("tddl-cnn", (1, 28, 28), {"lam": 0.0}, "lam must be above 0, got 0.0"),
        ("tddl-lin", (1, 28, 28), {"lam": -1.0}, "lam must be above 0, got -1.0"),
        ("tddl-lin", (1, 28, 28), {"lam2": -1.0}, "lam2 at least 0"),
        ("tddl-lin", (1, 28, 28), {"atoms": 0}, "atoms must be at least 1"),
        ("tddl-cnn", (1, 2, 2), {}, "images of 2x2 pixels are too small"),
        ("tddl-cifar", (1, 7, 9), {}, "images of 7x9 pixels are too small"),
    ],
)
def test_settings_without_sense_are_one_sentence(
    name: str, shape: tuple[int, int, int], options: dict[str, Any], cause: str
) -> None:
    with pytest.raises(RobustCSCError, match=cause) as caught:
        build(default_spec(name, 10, shape, options=options))
    assert "\n" not in str(caught.value)
