"""A lambda per layer: what is planted is found, at a cost that is linear in the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive import search as search_module
from robustcsc.adaptive.fit import fit_lambda
from robustcsc.adaptive.layer_search import Lambdas, best_of_each
from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda, dataset_lambda
from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.errors import PolicyError
from robustcsc.layers.csc import CSCConv2d
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.policies import Scope

FitMaker = Callable[..., LambdaFit]
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


class Images:
    """Of 200 images, the more are right, the nearer the lambdas are to the best ones; counts the choices."""

    def __init__(self, best: Lambdas, slope: float = 0.5) -> None:
        self.best, self.slope, self.asked = torch.tensor(best), slope, 0

    def __call__(self, choices: Sequence[Lambdas]) -> Tensor:
        self.asked += len(choices)
        share = 0.9 - self.slope * (torch.tensor(choices) - self.best).abs().sum(1)
        return torch.linspace(0, 1, 200) < share[:, None]


def search(images: Images, start: Lambdas) -> tuple[Lambdas, Tensor]:
    found = best_of_each(images, GRID, start, images([start])[0])
    images.asked -= 1
    return found


@pytest.mark.parametrize("best", [(0.2, 0.5), (0.5, 0.1, 0.3), (0.6, 0.1, 0.1, 0.3, 0.2, 0.3)])
def test_planted_lambdas_are_found_at_a_cost_that_is_linear_in_the_layers(best: Lambdas) -> None:
    images = Images(best, slope=0.3)
    found, right = search(images, (0.3,) * len(best))
    assert found == best
    assert right.sum() == images([best]).sum()
    assert images.asked == 1 + 2 * len(best) * (len(GRID) - 1)  # the second of two passes moves nothing


def test_a_layer_moves_only_if_that_is_clearly_better() -> None:
    # A step of 0.1 is worth 2 of 200 images, and two standard errors are 2 * sqrt(2) of them; two steps are worth 4.
    images = Images((0.2, 0.3), slope=0.1)
    assert search(images, (0.3, 0.3))[0] == (0.3, 0.3)
    assert images.asked == 2 * (len(GRID) - 1)  # and there is no second pass
    assert search(Images((0.5, 0.1), slope=0.15), (0.1, 0.5))[0] == (0.5, 0.1)


class TwoLayers(nn.Module):
    """Sees the noise level in a grey image; the nearer the lambdas are to the best ones, the more images are right.

    Codes are 0, as in the planted model of one layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = CSCConv2d(1, 1, 1), CSCConv2d(1, 1, 1)
        for layer in (self.first, self.second):
            nn.init.constant_(layer.dictionary.weight, -1)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.first(images)
        self.second(images)
        std = (images - 0.5).square().mean((1, 2, 3)).sqrt()
        best = torch.tensor(BEST)[(std[:, None] - torch.tensor(STDS)).abs().argmin(1)]
        distance = (self.first.lam - best[:, 0]).abs() + (self.second.lam - best[:, 1]).abs()
        right = torch.linspace(0, 1, len(images)) < 0.95 - 2 * distance
        return torch.stack([1 - right.float(), right.float()], 1)


STDS = (0.02, 0.08, 0.2)
BEST = ((0.1, 0.5), (0.2, 0.3), (0.5, 0.1))


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> MemoryImages:
    """Images of value 128/255, all of class 1, and noise at three levels."""
    monkeypatch.setattr(search_module, "noise_levels", lambda family, spec: [{"std": std} for std in STDS])
    return MemoryImages(
        name="grey",
        split="train",
        classes=("wrong", "right"),
        pixels=torch.full((80, 1, 12, 12), 128, dtype=torch.uint8),
        labels=torch.ones(80, dtype=torch.int64),
        positions=torch.arange(80),
    )


def fitted(model: nn.Module, images: MemoryImages, **changes: Any) -> LambdaFit:
    fits = fit_lambda(
        model,
        images,
        model_name="planted",
        weights="ab",
        noises=["gaussian"],
        spec=load_spec("cifar10_c"),
        trained_on_images=False,
        grid=(0.1, 0.2, 0.3, 0.4, 0.5),
        **changes,
    )
    return fits["gaussian"]


def test_a_fit_per_layer_has_a_line_through_the_best_lambdas_of_each(grey: MemoryImages) -> None:
    fit = fitted(TwoLayers(), grey, per_layer=True)
    assert tuple(level.layer_lams for level in fit.levels) == BEST
    assert all(level.layer_correct == 38 > max(level.correct) for level in fit.levels)
    residual = [level.residuals["squared"] for level in fit.levels]
    for line, best in zip(fit.layer_lines, zip(*BEST, strict=True), strict=True):
        slope, intercept = np.polyfit(residual, best, 1)
        assert (line.slope, line.intercept) == pytest.approx((slope, intercept), rel=1e-7)
    assert max(fit.image_candidates, key=fit.image_candidates.__getitem__).endswith("/layers")
    assert len(fit.layer_image_lines) == 2


def test_its_passes_are_linear_in_the_layers(grey: MemoryImages) -> None:
    common, layers = TwoLayers(), TwoLayers()
    fit = fitted(common, grey)
    assert fitted(layers, grey, per_layer=True).levels[0].correct == fit.levels[0].correct
    # Of 5 lambdas, 4 for each of 2 layers, twice at 3 levels; and six more lines for the images.
    assert layers.calls == common.calls + 3 * 2 * 2 * 4 + 6
    assert (fit.layer_lines, fit.layer_image_lines, {level.layer_lams for level in fit.levels}) == ((), (), {()})


def test_only_a_fit_of_the_same_kind_is_taken_for_it(grey: MemoryImages) -> None:
    model = TwoLayers()
    common, layers = (fitted(model, grey, per_layer=own) for own in (False, True))
    assert fitted(model, grey, per_layer=True, known={"gaussian": layers}) is layers
    assert fitted(model, grey, known={"gaussian": common}) is common
    assert fitted(model, grey, known={"gaussian": layers}).digest == common.digest != layers.digest


def test_one_layer_has_its_own_lambda_anyway(grey: MemoryImages) -> None:
    model = nn.Sequential(CSCConv2d(1, 2, 3), nn.Flatten(), nn.Linear(200, 2))
    assert fitted(model, grey, per_layer=True).digest == fitted(model, grey).digest


def test_equal_lambdas_of_the_layers_give_the_bits_of_one(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    per_image = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.4], dtype=torch.float64)
    for one, each in (
        (0.8, (0.8, 0.8)),
        (per_image, (per_image, per_image)),
        (per_image, torch.stack([per_image, per_image], 1)),
    ):
        assert torch.equal(logits_at(sdnet, images, one), logits_at(sdnet, images, each))
    assert torch.equal(ModelAtLambda(sdnet, 0.8)(images), ModelAtLambda(sdnet, (0.8, 0.8))(images))
    line = Line(slope=0.002, intercept=0.1, r2=1.0)
    common = make_fit(lines={"squared": line}, image_line=line)
    fit = make_fit(layer_lines=(line, line), layer_image_lines=(line, line))
    for scope in (Scope.BATCH, Scope.IMAGE):
        assert torch.equal(AdaptiveModel(sdnet, common, scope)(images), AdaptiveModel(sdnet, fit, scope)(images))
    assert dataset_lambda(sdnet, fit, [images]) == (dataset_lambda(sdnet, common, [images]),) * 2


def test_each_layer_has_the_lambda_of_its_place(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    lines = (Line(slope=0.001, intercept=0.1, r2=1.0), Line(slope=-0.001, intercept=1.0, r2=1.0))
    residual = residuals(sdnet, images).mean(1)
    policy = AdaptiveModel(sdnet, make_fit(layer_image_lines=lines, grid=(0.0, 9.0)), Scope.IMAGE)
    given = policy(images)
    for image, r, logits in zip(images, residual.tolist(), given, strict=True):
        sdnet.first.lam, sdnet.second.lam = 0.1 + 0.001 * r, 1.0 - 0.001 * r
        torch.testing.assert_close(sdnet(image[None])[0], logits, rtol=1e-10, atol=1e-12)


def test_attacks_see_the_lambda_of_every_layer_move(sdnet: Any, images: Tensor, make_fit: FitMaker) -> None:
    lines = (Line(slope=0.0005, intercept=0.05, r2=1.0), Line(slope=0.0002, intercept=0.1, r2=1.0))
    policy = AdaptiveModel(sdnet, make_fit(layer_image_lines=lines, grid=(0.0, 99.0)), Scope.IMAGE)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((policy(leaf) * weights).sum(), leaf)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    ahead, behind = ((policy(images + step * direction) * weights).sum().item() for step in (1e-6, -1e-6))
    assert (gradient * direction).sum().item() == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


def test_another_number_of_lambdas_than_layers_is_refused(sdnet: Any, images: Tensor) -> None:
    with pytest.raises(PolicyError, match="has 2 CSC layers, so it takes that many lambdas, not 3"):
        logits_at(sdnet, images, (0.1, 0.2, 0.3))
    with pytest.raises(PolicyError, match="at least 0"):
        ModelAtLambda(sdnet, (0.1, -1.0))
