"""Estimates of lambda from features: by hand, and fitted to levels whose best lambda is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.blind import ALL_KEPT, BlindLambda, Seen, fit_posterior, guarded
from robustcsc.adaptive.features import FEATURES, features
from robustcsc.adaptive.policies import AdaptiveModel, BlindModel, per_image
from robustcsc.errors import PolicyError
from robustcsc.measurements.estimators import Posterior
from robustcsc.measurements.facts import from_plain, replace, to_plain
from robustcsc.measurements.fits import LambdaFit, NoiseLevel
from robustcsc.measurements.policies import Adaptive, Blind, Scope

FitMaker = Callable[..., LambdaFit]
GRID = (0.1, 0.5, 1.5)
#: Two kinds of images, told by their mean: dark ones gain by a large lambda, bright ones by none.
TOLD = Posterior(
    features=("mean",),
    weights=((-40.0,), (40.0,)),
    intercepts=(20.0, -20.0),
    accuracies=((0.4, 0.6, 0.5), (0.9, 0.8, 0.3)),
    trained=(0.4, 0.9),
    temperature=0.01,
    least_gain=0.05,
    accuracy=0.0,
)


def with_mean(*means: float) -> Tensor:
    found = torch.zeros(len(means), len(FEATURES), dtype=torch.float64)
    found[:, list(FEATURES).index("mean")] = torch.tensor(means, dtype=torch.float64)
    return found


def test_the_estimate_has_the_largest_expected_accuracy() -> None:
    means = np.array([0.4, 0.47, 0.52, 0.6])
    lam, gain = BlindLambda(TOLD, 0.1, GRID).expected(with_mean(*means))
    dark = 1 / (1 + np.exp(80 * (means - 0.5)))  # the softmax of two forms
    gains = np.stack([0 * dark, 0.2 * dark - 0.1 * (1 - dark), 0.1 * dark - 0.6 * (1 - dark)])
    assert gain.tolist() == pytest.approx(gains.max(0))
    weights = np.exp(gains / 0.01)
    assert lam.tolist() == pytest.approx(np.array(GRID) @ (weights / weights.sum(0)))
    assert lam.tolist() == pytest.approx([0.5, 0.5, 0.1, 0.1], abs=0.02)


def test_the_guard_keeps_the_training_lambda_and_lets_gradients_through() -> None:
    estimate = BlindLambda(TOLD, 0.1, GRID)
    found = with_mean(0.4, 0.49, 0.51).requires_grad_()
    lam, gain = estimate.expected(found)
    assert (gain >= 0.05).tolist() == [True, True, False]
    chosen = estimate(found)
    assert chosen.tolist() == [lam[0].item(), lam[1].item(), 0.1]
    straight, through = (torch.autograd.grad(it.sum(), found, retain_graph=True)[0] for it in (chosen, lam))
    assert torch.equal(straight, through)
    assert through[2].abs().sum() > 0


def test_a_fitted_posterior_finds_the_lambda_of_each_level() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [
        NoiseLevel(noise=noise, parameters={}, residuals={}, correct=correct, total=100, best_lam=0.1)
        for noise, correct in (("clean", (90, 80, 30)), ("shot_noise", (40, 60, 50)), ("shot_noise", (10, 20, 30)))
    ]
    seen = [with_mean(*(mean + 0.02 * torch.randn(30, generator=generator)).tolist()) for mean in (0.2, 0.5, 0.8)]
    estimator = fit_posterior(list(zip(levels, seen, strict=True)), GRID, 0.1)
    assert estimator.features == ("mean",)  # all others never change
    assert np.array(estimator.accuracies) == pytest.approx(np.array([level.correct for level in levels]) / 100)
    assert estimator.trained == pytest.approx([0.9, 0.4, 0.1])
    lam, gain = BlindLambda(estimator, 0.1, GRID).expected(with_mean(0.2, 0.5, 0.8))
    assert lam.tolist() == pytest.approx([0.1, 0.5, 1.5], abs=0.05)
    assert gain.tolist() == pytest.approx([0, 0.2, 0.2], abs=0.06)  # never quite sure
    assert from_plain(to_plain(estimator), Posterior) == estimator


def changed(name: str, severity: int, count: int, *changes: tuple[float, int, int]) -> Seen:
    """Images that are right before and after, but for some that are lost or won at an expected gain."""
    gains, training, blind = torch.full((count,), 0.0005), torch.ones(count).bool(), torch.ones(count).bool()
    at = 0
    for gain, lost, won in changes:
        gains[at : at + lost + won] = gain
        blind[at : at + lost] = False
        training[at + lost : at + lost + won] = False
        at += lost + won
    return Seen(name, severity, gains, training, blind)


@pytest.mark.parametrize(
    ("clean", "others", "least"),
    [
        ([], [(0.0015, 1, 0)], 0.001),  # one image more or less is chance
        ([(0.0015, 1, 1)], [(0.0015, 9, 9)], 0.001),
        ([(0.0015, 4, 0)], [(0.0015, 9, 9)], 0.001),  # 1 of 16 times; 0.1 points are 4 of 4,000
        ([(0.0015, 5, 0)], [], 0.002),  # more than 0.1 points
        ([], [(0.0015, 5, 0)], 0.002),  # 1 of 32 times
        ([], [(0.0015, 6, 2), (0.003, 9, 5)], 0.001),
        ([(0.0015, 9, 3), (0.003, 9, 3)], [(0.007, 10, 2)], 0.01),
        ([(0.5, 9, 3)], [], ALL_KEPT),
    ],
)
def test_the_guard_is_the_smallest_that_loses_no_more_than_chance_and_a_tenth_of_a_point(
    clean: list[tuple[float, int, int]], others: list[tuple[float, int, int]], least: float
) -> None:
    seen = [changed("clean", 0, 4000, *clean), changed("fog", 3, 4000, *others), changed("snow", 3, 6000)]
    found = guarded(TOLD, seen)
    assert found.least_gain == least
    kept = [sum(won - lost for gain, lost, won in its if gain >= least) for its in (clean, others, [])]
    assert [(it.name, it.blind - it.training, it.total) for it in found.harm] == [
        ("clean", kept[0], 4000),
        ("fog", kept[1], 4000),
        ("snow", 0, 6000),
    ]


@pytest.fixture
def blind(make_fit: FitMaker, images: Tensor) -> LambdaFit:
    """Tells images by a form that moves within what the images have."""
    middle = float(features(images)[:, list(FEATURES).index("level")].median())
    told = replace(TOLD, features=("level",), weights=((-2.0,), (2.0,)), intercepts=(2 * middle, -2 * middle))
    return make_fit(noise="blind", grid=GRID, estimator=replace(told, least_gain=0.0))


def test_a_lambda_is_that_of_the_image_alone_and_gradients_go_through_it(
    sdnet: Any, images: Tensor, blind: LambdaFit
) -> None:
    model = BlindModel(sdnet, blind)
    with torch.no_grad():
        lam, logits = model.lambda_for(images), model(images)
        assert lam.max() - lam.min() > 0.01
        for index, image in enumerate(images):
            assert model.lambda_for(image[None]).item() == pytest.approx(lam[index].item(), rel=1e-12)
            assert model(image[None])[0].tolist() == pytest.approx(logits[index].tolist(), rel=1e-9)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf).square().sum(), leaf)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    with torch.no_grad():
        ahead, behind = (model(images + sign * 1e-6 * direction).square().sum() for sign in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx(((ahead - behind) / 2e-6).item(), rel=1e-4)


def test_a_fit_without_an_estimator_is_refused(sdnet: Any, make_fit: FitMaker, blind: LambdaFit) -> None:
    assert isinstance(per_image(sdnet, blind, Blind()), BlindModel)
    assert isinstance(per_image(sdnet, blind, Adaptive(scope=Scope.IMAGE)), AdaptiveModel)
    newer = replace(blind, estimator=replace(TOLD, features=("colour",)))
    for fit in (make_fit(), newer):
        with pytest.raises(PolicyError, match="has no estimator: run `robustcsc fit-lambda --noise blind`"):
            BlindModel(sdnet, fit)
