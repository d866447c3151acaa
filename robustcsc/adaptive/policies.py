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


class ModelAtLambda(nn.Module):
    """The model with one lambda in all CSC layers.

    Raises:
        PolicyError: If `lam` is negative or not finite.
    """

    def __init__(self, model: nn.Module, lam: float) -> None:
        super().__init__()
        if not 0 <= lam < float("inf"):
            raise PolicyError(f"Lambda must be a number of at least 0, not {lam}.")
        self.model = model
        self.lam = float(lam)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` ``(N, C, H, W)``."""
        return logits_at(self.model, images, self.lam)


class AdaptiveModel(nn.Module):
    """The model with lambda predicted from the residual of the images it is given.

    `Scope.BATCH` is one lambda from the mean residual of the batch, `Scope.IMAGE` one per image, from its own residual.

    Raises:
        PolicyError: The scope is `Scope.DATASET`.
    """

    def __init__(self, model: nn.Module, fit: LambdaFit, scope: Scope) -> None:
        super().__init__()
        if scope == Scope.DATASET:
            raise PolicyError("A lambda per data set needs all its images: use `dataset_lambda`.")
        self.model, self.fit, self.scope = model, fit, scope

    def lambda_for(self, images: Tensor) -> Tensor:
        """Returns the lambda of `images` ``(N, C, H, W)``: 0-d per batch, ``(N,)`` per image."""
        fit, (squared, energy) = self.fit, layer_residuals(self.model, images)
        if self.scope == Scope.IMAGE:
            return predict(fit.image_line, mean_residual(squared, energy, fit.image_definition), fit.grid)
        residual = mean_residual(squared, energy, fit.dataset_definition).mean()
        return predict(fit.lines[fit.dataset_definition], residual, fit.grid)

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


@torch.no_grad()
def dataset_lambda(model: nn.Module, fit: LambdaFit, batches: Iterable[Tensor]) -> float:
    """Returns the lambda of a whole data set, from the mean residual over all its images (Algorithm 1, step 14).

    Raises:
        PolicyError: If there are no images.
    """
    count, sums = 0, []
    for images in batches:
        squared, energy = layer_residuals(model, images)
        sums.append(mean_residual(squared, energy, fit.dataset_definition).double().sum())
        count += len(images)
    if not count:
        raise PolicyError("There are no images to compute a residual from: give at least one.")
    line = fit.lines[fit.dataset_definition]
    total = math.fsum(torch.stack(sums).tolist())  # read once: each read would wait for the device
    return predict(line, torch.tensor(total / count, dtype=torch.float64), fit.grid).item()
