"""Checks for robustness that is only masked gradients, to be looked at beside the accuracy under attack.

Source: Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense of security", ICML 2018.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustcsc.attacks.gradient import pgd
from robustcsc.attacks.guard import differentiating, outcome, seeded
from robustcsc.attacks.threat import check_images
from robustcsc.errors import AttackError
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.records import GradientChecks
from robustcsc.measurements.threats import ThreatModel

#: Half a level of 8 bits: no picture differs by it from another.
_INSIDE = 1 / 512


def zero_gradient_share(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns the share in [0, 1] of pixels in which the gradient of the cross-entropy is exactly zero.

    A share near 1 means that gradient attacks have nothing to follow (saturated or shattered gradients), and
    that accuracy under them says little. The share is 1 if no gradient reaches the images at all.

    Raises:
        AttackError: There are no images, or images or labels make no sense.
    """
    return _zero_gradients(model, images, labels).double().mean().item()


def lost_at_bounds_share(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns the share of the pixels at exactly 0 or 1 that have a gradient only a little inside these bounds.

    There a model that clamps its input may have none: since PyTorch 2.14 the derivative of ``clamp(0, 1)`` is 0 at 0
    and 1. The share is 0 if there are no such pixels.

    Raises:
        AttackError: As for `zero_gradient_share`.
    """
    bound = (images == 0) | (images == 1)
    if not bound.any():
        return 0.0
    at_bounds = _zero_gradients(model, images, labels)
    inside = _zero_gradients(model, images.clamp(_INSIDE, 1 - _INSIDE), labels)
    return (at_bounds & ~inside)[bound].double().mean().item()


def _zero_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Returns in which pixels the gradient of the cross-entropy is exactly zero, (N, C, H, W) bool."""
    if len(images) == 0:
        raise AttackError("There are no images to take gradients at: give at least one.")
    check_images(images, labels)
    with differentiating(), evaluation_mode(model), seeded(0, images.device):
        inputs = images.detach().clone().requires_grad_()
        logits = model(inputs)
        check_images(images, labels, num_classes=logits.shape[1])
        if not logits.requires_grad:
            return torch.ones_like(images, dtype=torch.bool)
        loss = cross_entropy(logits, labels.to(logits.device, copy=True), reduction="sum")
        gradient = torch.autograd.grad(loss, inputs, allow_unused=True)[0]
        return torch.ones_like(images, dtype=torch.bool) if gradient is None else gradient == 0


def is_deterministic(model: nn.Module, images: Tensor) -> bool:
    """Returns whether `model` in evaluation mode gives the same logits, bit for bit, when asked twice."""
    with torch.no_grad(), evaluation_mode(model), seeded(0, images.device):
        return torch.equal(model(images), model(images))


#: Within this Linf budget an image can be grey all over, and within that of L2 about as far from itself.
LARGE_EPSILON, LARGE_STEPS = 0.5, 30
#: Steps that should raise the loss above that of one step.
STEPS = 10


def check_masking(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, loss: str = "ce"
) -> GradientChecks:
    """Returns what shows whether gradient attacks on `model` mean anything, from PGD on a few images.

    There must be an image; twenty say enough. Within the budget, above 0, more steps should raise the loss.

    Raises:
        AttackError: Images or labels make no sense, or no finite gradient reaches the images.
    """
    reach = LARGE_EPSILON if threat.norm == "linf" else LARGE_EPSILON * math.sqrt(images[0].numel())
    large = ThreatModel(threat.norm, reach)
    size = threat.epsilon / 4
    found = [
        pgd(model, images, labels, threat, steps=number, step_size=size, random_start=False, loss=loss)
        for number in (1, STEPS)
    ]
    anything = pgd(model, images, labels, large, steps=LARGE_STEPS, step_size=large.epsilon / 8, loss=loss)
    with evaluation_mode(model):
        (first_wrong, first), (_, last) = (outcome(model, changed, labels) for changed in found)
        wrong, _ = outcome(model, anything, labels)
    return GradientChecks(
        images=len(images),
        zero_gradients=round(zero_gradient_share(model, images, labels), 6),
        lost_at_bounds=round(lost_at_bounds_share(model, images, labels), 6),
        deterministic=is_deterministic(model, images),
        one_step=round(float(first.mean()), 6),
        all_steps=round(float(last.mean()), 6),
        broken_in_one_step=int(first_wrong.sum()),
        right_at_large_budget=int((~wrong).sum()),
    )
