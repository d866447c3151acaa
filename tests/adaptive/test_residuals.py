from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from robustcsc.adaptive.residuals import layer_residuals, logits_at, mean_residual, residuals
from robustcsc.errors import PolicyError
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.fits import Definition


def by_hand(coder: CSCConv2d, inputs: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """Two proximal gradient steps on lam |z|_1 + 1/2 |x - A z|^2, z >= 0, and |x - A z|^2 per image.

    A is written as the transpose (the input gradient) of the convolution with the atoms.
    """
    weight, stride = coder.dictionary.weight, coder.dictionary.stride
    step = 0.9 / coder.dictionary.lipschitz

    def synthesis(codes: Tensor) -> Tensor:
        transposed: Tensor = conv2d_input(inputs.shape, weight, codes, stride, 1)  # type: ignore[no-untyped-call]
        return transposed

    codes = torch.zeros_like(nn.functional.conv2d(inputs, weight, None, stride, 1))
    for _ in range(2):
        gradient = nn.functional.conv2d(synthesis(codes) - inputs, weight, None, stride, 1)
        codes = (codes - step * gradient - step * lam).clamp_min(0)
    return codes, torch.stack([(x - y).square().sum() for x, y in zip(inputs, synthesis(codes), strict=True)])


def test_residuals_follow_the_definition_in_every_layer_at_the_training_lambda(sdnet: Any, images: Tensor) -> None:
    inputs = (images - 0.5) / 0.125
    codes, first = by_hand(sdnet.first, inputs, 0.1)
    middle = sdnet.norm(codes)
    _, second = by_hand(sdnet.second, middle, 0.3)
    for lam in (0.1, 0.9):  # whatever lambda is in force
        set_lambda(sdnet, lam)
        squared, energy = layer_residuals(sdnet, images)
        torch.testing.assert_close(squared, torch.stack([first, second], 1), rtol=1e-10, atol=0)
        torch.testing.assert_close(residuals(sdnet, images), squared, rtol=0, atol=0)
        for column, values in enumerate((inputs, middle)):
            expected = torch.stack([value.pow(2).sum() for value in values])
            torch.testing.assert_close(energy[:, column], expected, rtol=1e-10, atol=0)


def test_the_pass_stops_behind_the_last_csc_layer(sdnet: Any, images: Tensor) -> None:
    layer_residuals(sdnet, images)
    assert (sdnet.between.calls, sdnet.behind.calls) == (1, 0)


@pytest.mark.parametrize("broken", [False, True])
def test_the_model_is_left_as_it_was(sdnet: Any, images: Tensor, broken: bool) -> None:
    set_lambda(sdnet, 0.7)
    sdnet.norm.train()
    modes = [module.training for module in sdnet.modules()]
    if broken:
        sdnet.between.broken = True
        with pytest.raises(RuntimeError, match="broken layer"):
            layer_residuals(sdnet, images)
        with pytest.raises(RuntimeError, match="broken layer"):
            logits_at(sdnet, images, 0.2)
    else:
        layer_residuals(sdnet, images)
        logits_at(sdnet, images, torch.linspace(0, 1, 5))
    assert [module.training for module in sdnet.modules()] == modes
    assert not any(module._forward_hooks for module in sdnet.modules())
    assert (sdnet.first.lam.item(), sdnet.second.lam.item()) == (0.7, 0.7)
    assert (sdnet.first.lam0, sdnet.second.lam0) == (0.1, 0.3)


def test_without_csc_layers_there_is_a_sentence(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(PolicyError, match="no CSC layer"):
        residuals(model, images)
    with pytest.raises(PolicyError, match="no CSC layer"):
        logits_at(model, images, 0.1)


def test_the_three_definitions_average_over_layers() -> None:
    squared = torch.tensor([[4.0, 16.0], [9.0, 0.0]])
    energy = torch.tensor([[8.0, 64.0], [9.0, 0.0]])
    assert mean_residual(squared, energy, "squared").tolist() == [10.0, 4.5]
    assert mean_residual(squared, energy, "norm").tolist() == [3.0, 1.5]
    assert mean_residual(squared, energy, "relative").tolist() == [0.375, 0.5]


@pytest.mark.parametrize("definition", ["squared", "norm", "relative"])
def test_gradients_stay_finite_where_a_residual_is_zero(sdnet: Any, definition: Definition) -> None:
    grey = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)  # 0 after normalisation
    mean_residual(*layer_residuals(sdnet, grey), definition).sum().backward()  # type: ignore[no-untyped-call]
    assert grey.grad is not None
    assert grey.grad.isfinite().all()


def test_a_scalar_lambda_equals_setting_it_in_every_layer(sdnet: Any, images: Tensor) -> None:
    changed = copy.deepcopy(sdnet)
    set_lambda(changed, 0.8)
    expected = changed(images)
    assert not torch.allclose(expected, sdnet(images))
    for lam in (0.8, torch.tensor(0.8, dtype=torch.float64)):
        torch.testing.assert_close(logits_at(sdnet, images, lam), expected, rtol=0, atol=0)
    torch.testing.assert_close(logits_at(sdnet, images, [0.8] * 5), expected)  # type: ignore[arg-type]


def test_one_lambda_per_image_equals_each_image_on_its_own(sdnet: Any, images: Tensor) -> None:
    lambdas = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.4], dtype=torch.float64)
    together = logits_at(sdnet, images, lambdas)
    changed = copy.deepcopy(sdnet)
    for image, lam, logits in zip(images, lambdas.tolist(), together, strict=True):
        set_lambda(changed, lam)
        torch.testing.assert_close(changed(image[None])[0], logits, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_lambda_is_that_of_finite_differences(sdnet: Any, images: Tensor) -> None:
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)

    def value(lam: Tensor) -> Tensor:
        return (logits_at(sdnet, images, lam) * weights).sum()

    lambdas = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(lambdas), lambdas)
    step = 1e-6
    for index in range(5):
        change = torch.zeros(5, dtype=torch.float64)
        change[index] = step
        slope = (value(lambdas.detach() + change) - value(lambdas.detach() - change)) / (2 * step)
        assert math.isclose(gradient[index].item(), slope.item(), rel_tol=1e-6)
        assert abs(slope) > 1e-3
