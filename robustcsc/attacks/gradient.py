"""Projected gradient descent through torchattacks, with guards around what torchattacks leaves to chance.

What is guarded, and why (torchattacks 3.5.1):

- Calling an attack switches the whole model between training and evaluation mode, and not back after an error.
  Here every submodule gets back the mode it had.
- ``PGDL2`` reshapes gradients with ``view``, which fails for models in the ``channels_last`` memory format.
- ``PGDL2`` adds 1e-10 to the gradient's norm before dividing by it, so that confidently classified images hardly
  move, and the fewer the larger the batch. Here gradients are scaled per image first.
- ``PGDL2`` divides 0 by 0 for a budget of 0.
- Both draw from torch's global random state, and print when a model has no parameters.
- Rounding can leave the ball; here the result is projected exactly.

Differences from the paper: the SDNet paper (Dai et al., NeurIPS 2022, section 4.3) names only the budgets of its PGD
attacks (`threat.DEFAULT_EPSILON`). Steps and step sizes here are the customary ones for these budgets.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustcsc.attacks.isolation import differentiating, seeded
from robustcsc.attacks.threat import Norm, ThreatModel, check_images
from robustcsc.errors import AttackError
from robustcsc.layers.modes import evaluation_mode

#: In pixel units of [0, 1].
DEFAULT_STEP_SIZE: dict[Norm, float] = {"linf": 2 / 255, "l2": 0.1}
DEFAULT_STEPS = 20


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = DEFAULT_STEPS,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` that raise the cross-entropy of `model`: untargeted PGD.

    Each step moves along the sign (linf) or the direction (l2) of the gradient and projects back:
    ``x <- project(x + step_size * g)``.

    Every restart attacks the images that no earlier restart broke. An image keeps its first misclassified version;
    one that is never misclassified keeps the version of highest loss, the clean one included. All images
    are attacked, also those that are misclassified without an attack, so that the result can be used for a
    transfer test on another model.

    The model runs in evaluation mode; its modes, weights and gradients and the global random state are afterwards
    what they were. The random start of an image depends on `seed` and on its place in the batch. If the logits of an
    image depend on the other images of the batch, misclassification is judged in the batch that was attacked: score
    the returned images again.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget; budget 0 returns the images unchanged.
        steps: Gradient steps of each restart, at least 1.
        step_size: In pixel units of [0, 1], positive; by default 2/255 for linf and 0.1 for l2.
        restarts: Number of attacks from different random starts, at least 1.
        random_start: Starts at a random point of the ball instead of the clean image.
        seed: Seed of the random starts, at least 0.

    Returns:
        (N, C, H, W) of the images' dtype and device, inside the ball and [0, 1] exactly.

    Raises:
        AttackError: Images, labels or settings make no sense, the model returns no logits (N, K), or no finite
            gradient reaches the images.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """
    check_images(images, labels)
    step_size = DEFAULT_STEP_SIZE[threat.norm] if step_size is None else step_size
    _check_settings(steps, step_size, restarts, random_start, seed)
    with differentiating(), evaluation_mode(model), seeded(seed, images.device):
        clean = images.detach().clone(memory_format=torch.contiguous_format)
        targets = labels.to(images.device, copy=True)
        if threat.epsilon == 0 or len(clean) == 0:
            return clean
        _check_differentiable(model, clean[:1])
        attack = _attack(model, clean.device, threat, steps, step_size, random_start)
        worst = clean.clone()
        wrong, loss = _outcome(model, clean, targets)
        remaining = torch.arange(len(clean), device=clean.device)
        for _ in range(restarts):
            found = attack(clean[remaining], targets[remaining])
            found = threat.project(found, clean[remaining])
            found_wrong, found_loss = _outcome(model, found, targets[remaining])
            was_wrong, was_loss = wrong[remaining], loss[remaining]
            better = (found_wrong & ~was_wrong) | ((found_wrong == was_wrong) & (found_loss >= was_loss))
            improved = remaining[better]
            worst[improved], wrong[improved], loss[improved] = found[better], found_wrong[better], found_loss[better]
            remaining = remaining[~found_wrong]
            if len(remaining) == 0:
                break
        return worst


class _ScaledGradient(torch.autograd.Function):
    """The identity, with a gradient that is contiguous and has a largest entry of 1 in every image."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        if not torch.isfinite(largest).all():  # torchattacks would take NaN for "no change"
            raise AttackError("The gradient of the model is not finite: check its weights and its inputs.")
        return torch.where(largest == 0, gradient, gradient / largest).contiguous()


class _Attacked(nn.Module):
    """The model as torchattacks sees it."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        # torchattacks moves the images to the device of the first parameter, and prints if there is none.
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(_ScaledGradient.apply(images))
        return logits


def _attack(
    model: nn.Module, device: torch.device, threat: ThreatModel, steps: int, step_size: float, random_start: bool
) -> torchattacks.attack.Attack:
    algorithm = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[threat.norm]
    attacked = _Attacked(model, device).eval()  # torchattacks would put it back into training mode otherwise
    return algorithm(attacked, eps=threat.epsilon, alpha=step_size, steps=steps, random_start=random_start)


@torch.no_grad()
def _outcome(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns which images are misclassified, (N,) bool, and their cross-entropy, (N,)."""
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        raise AttackError("The model must return logits of shape (N, K): one row per image, one column per class.")
    check_images(images, labels, num_classes=logits.shape[1])
    return logits.argmax(dim=1) != labels, cross_entropy(logits.double(), labels, reduction="none")


def _check_differentiable(model: nn.Module, image: Tensor) -> None:
    probe = image.clone().requires_grad_()
    output = model(probe)
    reached = isinstance(output, Tensor) and output.requires_grad
    if not reached or torch.autograd.grad(output.sum(), probe, allow_unused=True)[0] is None:
        raise AttackError(
            "No gradient reaches the images through the model, so a gradient attack would find nothing: "
            "make the model differentiable or use an attack without gradients."
        )


def _check_settings(steps: int, step_size: float, restarts: int, random_start: bool, seed: int) -> None:
    if steps < 1:
        raise AttackError(f"steps must be at least 1, not {steps}.")
    if not (math.isfinite(step_size) and step_size > 0):
        raise AttackError(f"step_size must be a positive number, not {step_size}.")
    if restarts < 1:
        raise AttackError(f"restarts must be at least 1, not {restarts}.")
    if restarts > 1 and not random_start:
        raise AttackError("Restarts without a random start would all be the same: use one, or random starts.")
    if not 0 <= seed < 2**63:
        raise AttackError(f"seed must be at least 0 and below 2**63, not {seed}.")
