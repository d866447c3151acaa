"""Fits of a planted model: at each noise level the best lambda is known, and so is the residual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from robustcsc.adaptive.fit import fit_lambda
from robustcsc.adaptive.lines import least_squares
from robustcsc.adaptive.policies import predict
from robustcsc.corruptions import Spec, load_spec, noise_levels
from robustcsc.data import MemoryImages
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.tracing import traced
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.passes import Fits, Passes
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.policies import multiples_of

FitMaker = Callable[..., LambdaFit]
STDS = (0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20)
BEST = (0.1, 0.1, 0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
SIZE = 64
FEW = (0.1, 0.4, 0.8)  #: a grid for what does not depend on the lambdas that are tried


class Planted(nn.Module):
    """Sees the noise level in a grey image and is right for lambdas in ``(best - 0.05, best + width)`` only.

    Its one atom is -1 and codes are non-negative: all codes of an image are 0, and its residual is its squared norm.
    """

    def __init__(self, width: float = 0.05) -> None:
        super().__init__()
        self.csc = CSCConv2d(1, 1, 1)
        with torch.no_grad():
            self.csc.dictionary.weight.fill_(-1)
        self.width = width
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.csc(images)
        std = (images - 0.5).square().mean((1, 2, 3)).sqrt()
        best = torch.tensor(BEST)[(std[:, None] - torch.tensor(STDS)).abs().argmin(1)]
        distance = self.csc.lam - best
        right = (distance > -0.05) & (distance < self.width)
        return torch.stack([1 - right.float(), right.float()], 1)


def grey(count: int, split: str = "train") -> MemoryImages:
    """Images of value 128/255, all of class 1."""
    return MemoryImages(
        name="grey",
        split=split,
        classes=("wrong", "right"),
        pixels=torch.full((count, 1, SIZE, SIZE), 128, dtype=torch.uint8),
        labels=torch.ones(count, dtype=torch.int64),
        positions=torch.arange(count),
    )


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load_spec("cifar10_c")


def fitted(model: nn.Module, images: MemoryImages, spec: Spec, noises: Sequence[str], **changes: object) -> LambdaFit:
    settings: dict[str, object] = {"trained_on_images": False, **changes}
    fits = fit_lambda(model, images, model_name="planted", weights="ab", noises=noises, spec=spec, **settings)  # type: ignore[arg-type]
    assert list(fits) == list(noises)
    return fits[noises[-1]]


@pytest.fixture(scope="module")
def gaussian(spec: Spec) -> LambdaFit:
    return fitted(Planted(), grey(44), spec, ["gaussian"])


@pytest.fixture(scope="module")
def small(spec: Spec) -> LambdaFit:
    return fitted(Planted(), grey(4), spec, ["gaussian"], grid=FEW)


def test_the_planted_best_lambda_is_found_at_every_level(gaussian: LambdaFit) -> None:
    assert [level.parameters["std"] for level in gaussian.levels] == list(STDS)
    assert [level.best_lam for level in gaussian.levels] == list(BEST)
    for level in gaussian.levels:
        assert level.total == 22  # one half of the images
        assert [lam for lam, count in zip(gaussian.grid, level.correct, strict=True) if count] == [level.best_lam]


def test_residuals_are_those_of_the_noise(gaussian: LambdaFit) -> None:
    for level, std in zip(gaussian.levels, STDS, strict=True):
        # E x^2 = (mean^2 + variance) of 128/255 + noise, truncated to 8 bits (half a level of the mean) and clipped to
        # [0, 1] (up to 2.3 % of the variance)
        energy = SIZE**2 * ((127.5 / 255) ** 2 + std**2)
        assert level.residuals["squared"] == pytest.approx(energy, rel=4e-3)
        assert level.residuals["norm"] == pytest.approx(energy**0.5, rel=2e-3)
        assert level.residuals["relative"] == pytest.approx(1, abs=1e-6)


def test_noisy_images_can_stay_floats_and_the_fit_says_so(gaussian: LambdaFit, spec: Spec) -> None:
    fit = fitted(Planted(), grey(4), spec, ["gaussian"], as_published=False, grid=FEW)
    assert (gaussian.pixels, fit.pixels) == (Pixels.BYTES, Pixels.FLOAT)
    energy = SIZE**2 * ((128 / 255) ** 2 + STDS[0] ** 2)
    assert fit.levels[0].residuals["squared"] == pytest.approx(energy, rel=2e-3)
    assert replace(fit, pixels=Pixels.BYTES).digest != fit.digest


def test_lines_are_the_least_squares_through_the_levels(gaussian: LambdaFit) -> None:
    for definition in ("squared", "norm"):
        residuals = [level.residuals[definition] for level in gaussian.levels]
        slope, intercept = np.polyfit(residuals, BEST, 1)
        line = gaussian.lines[definition]
        assert (line.slope, line.intercept) == pytest.approx((slope, intercept), rel=1e-8)
        assert line.r2 == pytest.approx(np.corrcoef(residuals, BEST)[0, 1] ** 2, abs=1e-9)
        assert line.r2 > 0.9


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_line_is_that_of_scikit_learn(scale: float) -> None:
    draws = np.random.default_rng(0)
    for count in (2, 5, 300):
        residuals = scale * (10 + draws.standard_normal(count))
        lambdas = 0.1 + 0.3 * residuals / scale + draws.standard_normal(count)
        theirs = LinearRegression().fit(residuals[:, None], lambdas)
        line = least_squares(residuals.tolist(), lambdas.tolist())
        expected = (theirs.coef_[0], theirs.intercept_, theirs.score(residuals[:, None], lambdas))
        assert (line.slope, line.intercept, line.r2) == pytest.approx(expected, rel=1e-11)


def test_a_line_through_what_does_not_vary_is_level() -> None:
    assert least_squares([0.1, 0.1, 0.1], [1.0, 2.0, 6.0]) == Line(slope=0.0, intercept=3.0, r2=0.0)
    assert least_squares([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]).r2 == 0.0


def test_on_ties_the_smaller_lambda_is_best(spec: Spec) -> None:
    fit = fitted(Planted(width=0.25), grey(12), spec, ["gaussian"])
    for level, best in zip(fit.levels, BEST, strict=True):
        assert [lam for lam, count in zip(fit.grid, level.correct, strict=True) if count == level.total] == [
            pytest.approx(best + 0.1 * more) for more in range(3)
        ]
        assert level.best_lam == best


def test_the_per_image_choice_is_the_best_on_held_out_images(gaussian: LambdaFit) -> None:
    candidates = gaussian.image_candidates
    assert list(candidates) == [
        f"{definition}/{points}" for definition in ("squared", "norm", "relative") for points in ("levels", "images")
    ]
    best = max(candidates.values())
    assert best in [candidates[f"{gaussian.image_definition}/{points}"] for points in ("levels", "images")]
    # One lambda for all images is right for one or two of eleven noise levels at most; the residual tells them apart.
    assert gaussian.image_definition in ("squared", "norm")
    assert best > 2 * max(candidates["relative/levels"], candidates["relative/images"])


def test_a_candidate_that_knows_nothing_predicts_the_mean_of_the_best_lambdas(gaussian: LambdaFit) -> None:
    # The relative residual is 1 for every image here, so its line is the mean best lambda, 0.41, for everyone: right
    # where 0.4 is best, which is one of ten levels and two of the 22 other images (each level and "no noise" in turn).
    assert predict(gaussian.lines["relative"], torch.tensor(1.0), gaussian.grid).item() == pytest.approx(0.41)
    flat = {name: value for name, value in gaussian.image_candidates.items() if name.startswith("relative/")}
    assert list(flat.values()) == [pytest.approx(2 / 22)] * 2


def test_pooled_uses_the_levels_of_all_families_without_measuring_any_twice(spec: Spec) -> None:
    seen: list[str] = []
    shares: list[float] = []

    def note(label: str, done: float, total: float) -> None:
        shares.append(done / total)
        if done == int(done):
            seen.append(label)

    families = ["gaussian", "shot", "speckle", "impulse"]
    images = grey(4)
    model = Planted()
    pooled = fitted(model, images, spec, [*families, "pooled"], progress=note, grid=FEW)
    per_level = [label for label in seen if label != "per-image lambda"]
    assert len(per_level) == len(set(per_level)) == sum(len(noise_levels(family, spec)) for family in families)
    alone = Planted()
    fitted(alone, images, spec, families, grid=FEW)
    assert model.calls - alone.calls < 35  # not even one pass over every level
    assert {level.noise for level in pooled.levels} == {f"{family}_noise" for family in families}
    assert len(pooled.levels) == len(per_level)
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_the_fit_depends_on_the_seed_and_on_nothing_else_that_changes(spec: Spec, small: LambdaFit) -> None:
    again, other = (fitted(Planted(), grey(4), spec, ["gaussian"], seed=seed, grid=FEW).digest for seed in (0, 1))
    assert small.digest == again != other


def test_a_known_fit_of_the_same_settings_is_not_measured_again(spec: Spec, small: LambdaFit) -> None:
    known = {"gaussian": small}
    model = Planted()
    assert fitted(model, grey(4), spec, ["gaussian"], known=known, grid=FEW) is known["gaussian"]
    assert model.calls == 0
    shot = fitted(model, grey(4), spec, ["gaussian", "shot"], known=known, grid=FEW)  # the one that is lacking
    assert {level.noise for level in shot.levels} == {"shot_noise"}
    alone = Planted()
    assert fitted(alone, grey(4), spec, ["shot"], grid=FEW).digest == shot.digest and model.calls == alone.calls


@pytest.mark.parametrize(
    ("images", "changes"),
    [
        (grey(4), {"seed": 1}),
        (grey(4), {"grid": (0.1, 0.2)}),
        (grey(4), {"trained_on_images": True}),
        (grey(4), {"spec": load_spec("imagenet_c")}),
        (grey(4), {"weights": "cd"}),
        (grey(4), {"as_published": False}),
        (grey(6), {}),
    ],
)
def test_a_known_fit_of_other_settings_is_measured_again(
    spec: Spec, small: LambdaFit, images: MemoryImages, changes: dict[str, Any]
) -> None:
    known = {"gaussian": small}
    model = Planted()
    settings: dict[str, Any] = {"weights": "ab", "spec": spec, "trained_on_images": False, "grid": FEW, **changes}
    fits = fit_lambda(model, images, model_name="planted", noises=["gaussian"], known=known, **settings)
    assert model.calls > 0 and fits["gaussian"].digest != known["gaussian"].digest


def test_the_model_is_left_as_it_was(spec: Spec) -> None:
    model = Planted().train()
    model.csc.eval()
    model.csc.lam = torch.tensor(0.4)
    fitted(model, grey(4), spec, ["gaussian"], grid=FEW)
    assert (model.training, model.csc.training) == (True, False)
    assert model.csc.lam.item() == pytest.approx(0.4)
    model.csc.dictionary.weight.square().sum().backward()  # type: ignore[no-untyped-call]  # parameters still take gradients


def test_what_cannot_be_fitted_is_refused(spec: Spec) -> None:
    with pytest.raises(PolicyError, match="test images would know the answers"):
        fitted(Planted(), grey(4, "test"), spec, ["gaussian"])
    with pytest.raises(PolicyError, match="at least two images"):
        fitted(Planted(), grey(1), spec, ["gaussian"])
    for grid in ([0.5, 0.5], [-0.1, 0.5], [0.1, float("inf")]):
        with pytest.raises(PolicyError, match="two different lambdas"):
            fitted(Planted(), grey(4), spec, ["gaussian"], grid=grid)
    with pytest.raises(PolicyError, match="planted has no CSC layer"):
        fitted(nn.Flatten(), grey(4), spec, ["gaussian"])
    with pytest.raises(UnknownNameError, match="fog"):
        fitted(Planted(), grey(4), spec, ["fog"])


def test_the_fit_says_where_it_comes_from(gaussian: LambdaFit, spec: Spec) -> None:
    assert (gaussian.model, gaussian.weights, gaussian.dataset, gaussian.noise) == ("planted", "ab", "grey", "gaussian")
    assert gaussian.heldout == grey(44).fingerprint
    assert (gaussian.lam0, gaussian.seed, gaussian.trained_on_heldout) == (0.1, 0, False)
    assert gaussian.grid == tuple(round(0.1 * k, 1) for k in range(1, 16))
    fit = fitted(Planted(), grey(4), spec, ["gaussian"], trained_on_images=True, grid=[0.9, 0.1, 0.5, 0.5])
    assert fit.trained_on_heldout
    assert fit.grid == (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("lam0", "first", "last"), [(0.1, 0.1, 1.5), (4.0, 4.0, 60.0), (0.0, 0.0, 1.4), (None, 0.1, 1.5)]
)
def test_the_lambdas_tried_are_multiples_of_that_of_the_training(lam0: float | None, first: float, last: float) -> None:
    grid = multiples_of(lam0)
    assert (len(grid), grid[0], grid[-1]) == (15, first, last)
    if lam0 == 0.1:
        assert grid == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)


@pytest.mark.parametrize("noises", [["shot", "pooled"], pytest.param(["blind"], marks=pytest.mark.slow)])
def test_a_dry_run_says_what_a_fit_asks_of_the_model(spec: Spec, noises: list[str]) -> None:
    model, few = Planted(), grey(9)
    entered = left = 0

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal entered
        entered += len(inputs[0])

    def after(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        nonlocal left
        left += len(inputs[0])

    def fitting(**more: object) -> Fits:
        settings: dict[str, object] = {"model_name": "planted", "weights": "ab", "trained_on_images": False, **more}
        return fit_lambda(model, few, noises=noises, spec=spec, grid=(0.1, 0.2, 0.4), **settings)  # type: ignore[arg-type]

    told = fitting(measure=False).plan
    assert told is not None
    with traced([model], before=before, after=after):
        known = fitting()
    asked = told.passes
    assert asked.exact == (noises == ["shot", "pooled"])
    assert told.missing == len(noises)
    if asked.exact:
        assert (asked.forward, asked.residual) == (left, entered - left)
    assert asked.forward >= left and asked.residual >= entered - left
    again = fitting(measure=False, known=known).plan
    assert again is not None
    assert (again.missing, again.stored, again.passes) == (0, len(noises), Passes())
