"""Lambda policies: how lambda is chosen at inference.

Each policy is a module that holds a model and has the contract of one: it maps images in [0, 1] to logits and is
differentiable end to end, so that sweeps and attacks run on it as on any model.

Source: SDNet (Dai et al., NeurIPS 2022), Algorithm 1, steps 13-14.

Differences from the paper: the paper applies one lambda per test set (`ModelAtLambda` with `dataset_lambda`); one per
batch and one per image are additions of this package, and so is `BlindModel`. Lambda is clamped to the grid it was
fitted on; gradients pass the clamp unchanged (straight-through), so that it does not shut an attacker out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from robustcsc.adaptive.blind import BlindLambda
from robustcsc.adaptive.features import FEATURES, features
from robustcsc.adaptive.residuals import layer_residuals, logits_at, mean_residual
from robustcsc.errors import PolicyError
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.policies import Blind, Fitted, Scope


def predict(line: Line, residual: Tensor, grid: Sequence[float]) -> Tensor:
    """Returns the lambda of a line at residuals of any shape, clamped to the range of the grid it was fitted on."""
    lam = line.intercept + line.slope * residual
    return lam.clamp(min(grid), max(grid)).detach() + (lam - lam.detach())


def predict_all(lines: Sequence[Line], residual: Tensor, grid: Sequence[float]) -> Tensor | tuple[Tensor, ...]:
    """Returns what `predict` returns for the one line of all layers, or a tuple of that for a line of each layer."""
    predicted = tuple(predict(line, residual, grid) for line in lines)
    return predicted if len(predicted) > 1 else predicted[0]


class ModelAtLambda(nn.Module):
    """The model with one lambda in all CSC layers, or a tuple of one per layer.

    Raises:
        PolicyError: If a lambda is negative or not finite.
    """

    def __init__(self, model: nn.Module, lam: float | tuple[float, ...]) -> None:
        super().__init__()
        for each in lam if isinstance(lam, tuple) else (lam,):
            if not 0 <= each < float("inf"):
                raise PolicyError(f"Lambda must be a number of at least 0, not {each}.")
        self.model = model
        self.lam = lam

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` ``(N, C, H, W)``."""
        return logits_at(self.model, images, self.lam)


class AdaptiveModel(nn.Module):
    """The model with lambda predicted from the residual of the images it is given.

    `Scope.BATCH` is one lambda from the mean residual of the batch, `Scope.IMAGE` one per image, from its own residual;
    a fit with a line per layer predicts one per layer.

    Raises:
        PolicyError: The scope is `Scope.DATASET`.
    """

    def __init__(self, model: nn.Module, fit: LambdaFit, scope: Scope) -> None:
        super().__init__()
        if scope == Scope.DATASET:
            raise PolicyError("A lambda per data set needs all its images: use `dataset_lambda`.")
        self.model, self.fit, self.scope = model, fit, scope

    def lambda_for(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Returns the lambda of `images` ``(N, C, H, W)``: 0-d per batch, ``(N,)`` per image; of layers a tuple."""
        fit, (squared, energy) = self.fit, layer_residuals(self.model, images)
        if self.scope == Scope.IMAGE:
            residual = mean_residual(squared, energy, fit.image_definition)
            return predict_all(fit.layer_image_lines or [fit.image_line], residual, fit.grid)
        residual = mean_residual(squared, energy, fit.dataset_definition).mean()
        return predict_all(fit.layer_lines or [fit.lines[fit.dataset_definition]], residual, fit.grid)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` ``(N, C, H, W)``."""
        return logits_at(self.model, images, self.lambda_for(images))


class BlindModel(nn.Module):
    """The model with one lambda per image, estimated from the features of this image alone.

    Raises:
        PolicyError: The fit has no estimator, or one of features that this version does not know.
    """

    def __init__(self, model: nn.Module, fit: LambdaFit) -> None:
        super().__init__()
        if fit.estimator is None or not set(fit.estimator.features) <= set(FEATURES):
            raise PolicyError(
                f"The lambda fit {fit.digest} has no estimator: run `robustcsc fit-lambda --noise blind`."
            )
        self.model, self.fit = model, fit
        device = next((it.device for it in model.parameters()), None)
        self.estimate = BlindLambda(fit.estimator, fit.lam0, fit.grid).to(device)

    def lambda_for(self, images: Tensor) -> Tensor:
        """Returns the lambda of `images` ``(N, C, H, W)``, ``(N,)``."""
        lam: Tensor = self.estimate(features(images))
        return lam

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` ``(N, C, H, W)``."""
        return logits_at(self.model, images, self.lambda_for(images))


def per_image(model: nn.Module, fit: LambdaFit, policy: Fitted) -> AdaptiveModel | BlindModel:
    """Returns the model under a policy with one lambda per image, or per batch."""
    return BlindModel(model, fit) if isinstance(policy, Blind) else AdaptiveModel(model, fit, policy.scope)


def dataset_lambda(model: nn.Module, fit: LambdaFit, batches: Iterable[Tensor]) -> float | tuple[float, ...]:
    """Returns the lambda of a whole data set, from the mean residual over all its images (Algorithm 1, step 14).

    With a line per layer it is a tuple of that of each layer.

    Raises:
        PolicyError: If there are no images.
    """
    return lambda_at(fit, image_residuals(model, fit, batches))


@torch.no_grad()
def image_residuals(model: nn.Module, fit: LambdaFit, batches: Iterable[Tensor]) -> list[float]:
    """Returns the residual of each image, in the definition that the lambda of a data set is predicted from."""
    found = [mean_residual(*layer_residuals(model, images), fit.dataset_definition).double() for images in batches]
    return torch.cat(found).tolist() if found else []  # read once: each read would wait for the device


def lambda_at(fit: LambdaFit, residuals: Sequence[float]) -> float | tuple[float, ...]:
    """Returns the lambda of a data set with these `image_residuals`, whose order and grouping change no bit of it.

    Raises:
        PolicyError: If there are none.
    """
    if not residuals:
        raise PolicyError("There are no images to compute a residual from: give at least one.")
    lines = fit.layer_lines or [fit.lines[fit.dataset_definition]]
    residual = torch.tensor(math.fsum(residuals) / len(residuals), dtype=torch.float64)
    lambdas = tuple(predict(line, residual, fit.grid).item() for line in lines)
    return lambdas if len(lambdas) > 1 else lambdas[0]
