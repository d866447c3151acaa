"""The adaptive lambda of task-driven models: the residual of the elastic net in place of that of CSC layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.fit import fit_lambda
from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda
from robustcsc.adaptive.residuals import layer_residuals, logits_at
from robustcsc.corruptions import load_spec
from robustcsc.data import load
from robustcsc.errors import RobustCSCError
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.policies import Scope
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.tddl import TaskDriven


@pytest.fixture
def tddl() -> nn.Module:
    """TDDL-CNN for 8x8 images with 30 random atoms, lambda 4, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build(default_spec("tddl-cnn", 3, (1, 8, 8), options={"atoms": 30})).double().eval()


def test_the_residual_is_that_of_the_elastic_net_at_the_training_lambda(tddl: nn.Module, images: Tensor) -> None:
    network = tddl.get_submodule("network")
    assert isinstance(network, TaskDriven)
    features = network.features((images - 0.5) / 0.5)
    expected = (features - network.encode((images - 0.5) / 0.5) @ network.code.dictionary.T).norm(dim=1) ** 2
    network.code.lam = 1.0  # type: ignore[assignment]  # what is in force does not matter
    squared, energy = layer_residuals(tddl, images)
    torch.testing.assert_close(squared[:, 0], expected)
    torch.testing.assert_close(energy[:, 0], features.norm(dim=1) ** 2)


def test_a_larger_lambda_makes_sparser_codes_and_none_is_left_behind(tddl: nn.Module, images: Tensor) -> None:
    before = {name: value.clone() for name, value in tddl.state_dict().items()}
    with torch.no_grad():
        lowest, highest = ModelAtLambda(tddl, 0.5)(images), ModelAtLambda(tddl, 1e4)(images)
    assert lowest.any()
    assert not highest.any()  # no atom is worth it
    torch.testing.assert_close(tddl.state_dict(), before, rtol=0, atol=0)


def test_the_gradient_of_an_image_flows_through_its_lambda(
    tddl: nn.Module, images: Tensor, make_fit: Callable[..., LambdaFit]
) -> None:
    squared, energy = layer_residuals(tddl, images)
    slope = 0.5 * (energy / squared).mean().item()
    fit = make_fit(
        image_definition="relative", image_line=Line(slope=slope, intercept=1.0, r2=1.0), grid=(0.01, 1000.0)
    )
    policy = AdaptiveModel(tddl, fit, Scope.IMAGE)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def along(at: float, model: Callable[[Tensor], Tensor]) -> Tensor:
        return (model(images + at * direction) * weights).sum()

    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((policy(leaf) * weights).sum(), leaf)
    step = 1e-6
    slope_of = (along(step, policy) - along(-step, policy)).item() / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope_of, rel=1e-4)
    lam = policy.lambda_for(images)
    assert isinstance(lam, Tensor)
    lam = lam.detach()
    frozen = (along(step, lambda x: logits_at(tddl, x, lam)) - along(-step, lambda x: logits_at(tddl, x, lam))).item()
    assert abs(frozen / (2 * step) - slope_of) > 1e-3 * abs(slope_of)


def test_a_lambda_of_zero_is_one_sentence(tddl: nn.Module, images: Tensor) -> None:
    with pytest.raises(RobustCSCError, match="needs a lambda above 0, not 0"):
        ModelAtLambda(tddl, 0.0)(images)


def test_lambda_is_fitted_as_for_csc_layers(tddl: nn.Module) -> None:
    held = load("digits", split="train").subset(torch.arange(0, 1200, 20))
    fit = fit_lambda(
        tddl.float(),
        held,
        model_name="tddl-cnn",
        weights="5d",
        noises=["gaussian"],
        spec=load_spec("cifar10_c"),
        trained_on_images=False,
        grid=[2.0, 4.0, 8.0],
    )["gaussian"]
    assert (fit.lam0, fit.grid) == (4.0, (2.0, 4.0, 8.0))
    for level in fit.levels:
        assert (level.total, len(level.correct)) == (30, 3)
        assert max(level.correct) == level.correct[fit.grid.index(level.best_lam)]
