"""How lambda is chosen at inference: each policy is a module with the contract of the model it holds.

Every policy maps images in [0, 1] to logits and is differentiable end to end, so that sweeps and attacks run on it as
on any model.

Source: SDNet (Dai et al., NeurIPS 2022), Algorithm 1, steps 13-14.

Differences from the paper: the paper applies one lambda per test set (`FixedLambda` of `dataset_lambda`); per batch
and per image are ours. Lambda is clamped to the grid it was fitted on; gradients pass the clamp unchanged
(straight-through), so that an attacker is not shut out by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from robustcsc.adaptive.lines import LambdaFit
from robustcsc.adaptive.residuals import layer_residuals, logits_at, mean_residual
from robustcsc.errors import PolicyError

Scope = Literal["batch", "image"]


class FixedLambda(nn.Module):
    """The model with one lambda in all CSC layers.

    Args:
        model: Images to logits, with CSC layers.
        lam: The lambda, at least 0.

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


class AdaptiveLambda(nn.Module):
    """The model with lambda predicted from the residual of the images it is given.

    Args:
        model: Images to logits, with CSC layers.
        fit: The fitted line.
        scope: ``"batch"``: one lambda from the batch's mean residual. ``"image"``: one per image, from its own residual
            mixed with the batch mean as ``fit.image_shrinkage`` says.
    """

    def __init__(self, model: nn.Module, fit: LambdaFit, scope: Scope) -> None:
        super().__init__()
        if scope not in get_args(Scope):
            raise PolicyError(f"Unknown scope {scope!r}: choose 'batch' or 'image'.")
        self.model, self.fit, self.scope = model, fit, scope

    def lambda_for(self, images: Tensor) -> Tensor:
        """Returns the lambda of `images` ``(N, C, H, W)``: 0-d for scope ``batch``, ``(N,)`` for ``image``."""
        squared, energy = layer_residuals(self.model, images)
        if self.scope == "batch":
            residual = mean_residual(squared, energy, self.fit.dataset_definition).mean()
            return self.fit.lines[self.fit.dataset_definition].predict(residual, self.fit.grid)
        residual = mean_residual(squared, energy, self.fit.image_definition)
        residual = torch.lerp(residual, residual.mean(), self.fit.image_shrinkage)
        return self.fit.image_line.predict(residual, self.fit.grid)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` ``(N, C, H, W)``."""
        return logits_at(self.model, images, self.lambda_for(images))


@torch.no_grad()
def dataset_lambda(model: nn.Module, fit: LambdaFit, batches: Iterable[Tensor]) -> float:
    """Returns the lambda for a whole data set, from the mean residual over all its images (Algorithm 1, step 14).

    Args:
        model: Images to logits, with CSC layers.
        fit: The fitted line.
        batches: The images, ``(n, C, H, W)`` each.

    Raises:
        PolicyError: If there are no images.
    """
    total, count = 0.0, 0
    for images in batches:
        squared, energy = layer_residuals(model, images)
        total += mean_residual(squared, energy, fit.dataset_definition).double().sum().item()
        count += len(images)
    if not count:
        raise PolicyError("There are no images to take a residual from: give at least one.")
    line = fit.lines[fit.dataset_definition]
    return line.predict(torch.tensor(total / count, dtype=torch.float64), fit.grid).item()
