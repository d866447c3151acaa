from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.models.catalog import build, default_spec


def make(shape: tuple[int, int, int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(default_spec("mnist-cnn", 10, shape))


@pytest.mark.parametrize(
    ("shape", "left"),
    [((1, 28, 28), 4), ((1, 32, 32), 5), ((1, 8, 8), 2)],  # two 5x5 convolutions and poolings; 8x8 padded by 2
)
def test_parameters_are_those_of_the_layers(shape: tuple[int, int, int], left: int) -> None:
    layers = 20 * 26 + 50 * (20 * 25 + 1) + 500 * (50 * left**2 + 1) + 10 * 501
    model = make(shape)
    assert sum(parameter.numel() for parameter in model.parameters()) == layers
    if shape == (1, 28, 28):
        assert layers == 431_080
    assert model(torch.rand(3, *shape)).shape == (3, 10)


def test_the_first_convolution_sees_pixels_of_0_to_255_without_their_mean() -> None:
    model = make((1, 28, 28))
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    seen: list[Tensor] = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(images)
    torch.testing.assert_close(seen[0], 255 * (images - 0.1307), rtol=1e-5, atol=1e-3)


def test_weights_start_small_and_biases_at_zero() -> None:
    for name, parameter in make((1, 28, 28)).named_parameters():
        values = parameter.detach()
        if name.endswith("bias"):
            assert not values.any()
        else:
            assert values.std().item() == pytest.approx(0.01, rel=5 / (2 * values.numel()) ** 0.5)


def test_images_that_are_too_small_are_one_sentence() -> None:
    with pytest.raises(RobustCSCError, match="images of 2x2 pixels are too small"):
        make((1, 2, 2))
