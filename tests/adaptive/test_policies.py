from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda, dataset_lambda, predict
from robustcsc.adaptive.residuals import layer_residuals, logits_at, mean_residual, residuals
from robustcsc.errors import PolicyError
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.policies import Scope

FitMaker = Callable[..., LambdaFit]


def steep(sdnet: Any, images: Tensor, **changes: object) -> dict[str, object]:
    """A line that gives the images' residuals lambdas from 0.2 to 1.3."""
    values = residuals(sdnet, images).mean(1)
    low, high = values.min().item(), values.max().item()
    slope = 1.1 / (high - low)
    line = Line(slope=slope, intercept=0.2 - slope * low, r2=1.0)
    return {"lines": {"squared": line}, "image_line": line, **changes}


def one(lam: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The lambda of all layers."""
    assert isinstance(lam, Tensor)
    return lam


def directional(function: Callable[[Tensor], Tensor], images: Tensor) -> tuple[float, float]:
    """The derivative along a random direction: by autograd, and by central differences."""
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    step = 1e-6
    ahead, behind = function(images + step * direction), function(images - step * direction)
    return (gradient * direction).sum().item(), ((ahead - behind) / (2 * step)).item()


def test_a_line_is_clamped_to_the_grid_and_lets_gradients_through() -> None:
    residual = torch.tensor([-5.0, 1.0, 50.0], requires_grad=True)
    lam = predict(Line(slope=0.2, intercept=0.3, r2=1.0), residual, (0.1, 0.9, 1.5))
    assert lam.tolist() == pytest.approx([0.1, 0.5, 1.5])
    lam.sum().backward()  # type: ignore[no-untyped-call]
    assert residual.grad is not None
    assert residual.grad.tolist() == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize("residual", [-1e9, -3.3e4, 7.7e5, 1e9])
def test_the_clamp_is_exact_however_far_the_line_leads(residual: float) -> None:
    lam = predict(Line(slope=1.0, intercept=0.0, r2=1.0), torch.tensor(residual), (0.25, 1.5))
    assert lam.item() == (0.25 if residual < 0 else 1.5)


def test_a_fixed_lambda_equals_setting_it(sdnet: Any, images: Tensor) -> None:
    changed = copy.deepcopy(sdnet)
    set_lambda(changed, 0.6)
    assert torch.equal(ModelAtLambda(sdnet, 0.6)(images), changed(images))


@pytest.mark.parametrize("lam", [-0.1, float("nan"), float("inf")])
def test_a_lambda_that_is_none_is_refused(sdnet: Any, lam: float) -> None:
    with pytest.raises(PolicyError, match="at least 0"):
        ModelAtLambda(sdnet, lam)


def test_a_lambda_per_data_set_is_refused(sdnet: Any, make_fit: FitMaker) -> None:
    with pytest.raises(PolicyError, match="use `dataset_lambda`"):
        AdaptiveModel(sdnet, make_fit(), Scope.DATASET)


def test_per_batch_lambda_is_the_line_at_the_mean_residual(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    fit = make_fit(**steep(sdnet, images))
    line = fit.lines["squared"]
    lam = line.intercept + line.slope * residuals(sdnet, images).sum().item() / 10  # 5 images, 2 layers
    assert 0.2 < lam < 1.3
    policy = AdaptiveModel(sdnet, fit, Scope.BATCH)
    assert one(policy.lambda_for(images)).item() == pytest.approx(lam, rel=1e-12)
    torch.testing.assert_close(policy(images), logits_at(sdnet, images, lam))


def test_per_image_lambda_is_the_line_at_the_residual_of_each_image(
    sdnet: Any, images: Tensor, make_fit: FitMaker
) -> None:
    fit = make_fit(**steep(sdnet, images, dataset_definition="norm"))
    own = residuals(sdnet, images).mean(1).tolist()
    expected = [fit.image_line.intercept + fit.image_line.slope * value for value in own]
    policy = AdaptiveModel(sdnet, fit, Scope.IMAGE)
    assert one(policy.lambda_for(images)).tolist() == pytest.approx(expected, rel=1e-10)
    assert len({round(lam, 9) for lam in expected}) == 5
    set_lambda(sdnet, 1.2)  # what is in force does not matter
    changed = copy.deepcopy(sdnet)
    for image, lam, logits in zip(images, expected, policy(images), strict=True):
        set_lambda(changed, lam)
        torch.testing.assert_close(changed(image[None])[0], logits, rtol=1e-9, atol=1e-10)


def test_per_image_lambda_ignores_the_batch(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    policy = AdaptiveModel(sdnet, make_fit(**steep(sdnet, images)), Scope.IMAGE)
    alone = torch.cat([policy(image[None]) for image in images])
    torch.testing.assert_close(policy(images), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", [Scope.BATCH, Scope.IMAGE])
@pytest.mark.parametrize("definition", ["squared", "norm", "relative"])
def test_the_gradient_of_the_images_flows_through_lambda(
    sdnet: Any,
    images: Tensor,
    make_fit: FitMaker,
    scope: Literal[Scope.BATCH, Scope.IMAGE],
    definition: Literal["squared", "norm", "relative"],
) -> None:
    typical = mean_residual(*layer_residuals(sdnet, images), definition).mean().item()
    line = Line(slope=0.1 / typical, intercept=0.05, r2=1.0)
    fit = make_fit(
        lines={definition: line},
        dataset_definition=definition,
        image_definition=definition,
        image_line=line,
        grid=(0.0, 100.0),
    )
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    policy = AdaptiveModel(sdnet, fit, scope)
    gradient, slope = directional(lambda values: (policy(values) * weights).sum(), images)
    assert gradient == pytest.approx(slope, rel=1e-6)
    frozen = one(policy.lambda_for(images)).detach()
    without, _ = directional(lambda values: (logits_at(sdnet, values, frozen) * weights).sum(), images)
    assert abs(without - slope) > 1e-3 * abs(slope)


def test_the_clamp_does_not_shut_an_attacker_out(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    line = Line(slope=1.0, intercept=50.0, r2=1.0)
    policy = AdaptiveModel(sdnet, make_fit(image_line=line), Scope.IMAGE)
    leaf = images.clone().requires_grad_()
    lam = one(policy.lambda_for(leaf))
    assert lam.tolist() == [1.5] * 5
    (gradient,) = torch.autograd.grad(lam.sum(), leaf)
    inside = one(AdaptiveModel(sdnet, make_fit(image_line=line, grid=(0.0, 1e6)), Scope.IMAGE).lambda_for(leaf))
    torch.testing.assert_close(gradient, torch.autograd.grad(inside.sum(), leaf)[0])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_lambda_of_a_data_set_does_not_depend_on_the_batches(
    sdnet: Any, images: Tensor, make_fit: FitMaker, size: int
) -> None:
    fit = make_fit(**steep(sdnet, images))
    line = fit.lines["squared"]
    expected = line.intercept + line.slope * residuals(sdnet, images).sum().item() / 10
    assert dataset_lambda(sdnet, fit, torch.split(images, size)) == pytest.approx(expected, rel=1e-10)


def test_no_images_have_no_lambda(sdnet: Any, make_fit: FitMaker) -> None:
    with pytest.raises(PolicyError, match="no images"):
        dataset_lambda(sdnet, make_fit(), [])
