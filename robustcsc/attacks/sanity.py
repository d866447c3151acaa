"""Checks for robustness that is only masked gradients, to be looked at beside the accuracy under attack.

Sources: Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense of security", ICML 2018; Yang, Pang & Liu,
"A closer look at the adversarial robustness of deep equilibrium models", NeurIPS 2022.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustcsc.attacks.gradient import pgd
from robustcsc.attacks.guard import differentiating, outcome, seeded
from robustcsc.attacks.threat import check_images
from robustcsc.errors import AttackError
from robustcsc.layers.gradients import implicit_layers, unrolled_gradients
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.facts import replace
from robustcsc.measurements.passes import Passes
from robustcsc.measurements.records import ComparedGradients, GradientChecks
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
    return (_gradient(model, images, labels)[1] == 0).double().mean().item()


def lost_at_bounds_share(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns the share of the pixels at exactly 0 or 1 that have a gradient only a little inside these bounds.

    There a model that clamps its input may have none: since PyTorch 2.14 the derivative of ``clamp(0, 1)`` is 0 at 0
    and 1. The share is 0 if there are no such pixels.

    Raises:
        AttackError: As for `zero_gradient_share`.
    """
    return _lost_at_bounds(model, images, labels, _gradient(model, images, labels)[1] == 0)


def _lost_at_bounds(model: nn.Module, images: Tensor, labels: Tensor, zero: Tensor) -> float:
    """Returns `lost_at_bounds_share`, if the gradient is `zero` in these pixels, (N, C, H, W) bool."""
    bound = (images == 0) | (images == 1)
    if not (zero & bound).any():
        return 0.0
    _, inside = _gradient(model, images.clamp(_INSIDE, 1 - _INSIDE), labels)
    return (zero & (inside != 0))[bound].double().mean().item()


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the logits and the gradient of the cross-entropy, (N, C, H, W); zero if there is none."""
    if len(images) == 0:
        raise AttackError("There are no images to take gradients at: give at least one.")
    check_images(images, labels)
    with differentiating(), evaluation_mode(model), seeded(0, images.device):
        inputs = images.detach().clone().requires_grad_()
        logits = model(inputs)
        check_images(images, labels, num_classes=logits.shape[1])
        if not logits.requires_grad:
            return logits, torch.zeros_like(images)
        loss = cross_entropy(logits, labels.to(logits.device, copy=True), reduction="sum")
        gradient = torch.autograd.grad(loss, inputs, allow_unused=True)[0]
        return logits.detach(), torch.zeros_like(images) if gradient is None else gradient


#: Within this Linf budget an image can be grey all over, and within that of L2 about as far from itself.
LARGE_EPSILON = 0.5
#: Steps at the large budget: a few for all images, and many for those that these leave right.
LARGE_STEPS = (2, 30)
#: Steps that should raise the loss above that of one step.
STEPS = 10


def check_masking(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, loss: str = "ce"
) -> GradientChecks:
    """Returns what shows whether gradient attacks on `model` mean anything, from PGD on a few images.

    There must be an image; ten say enough. Within the budget, above 0, more steps should raise the loss. What one step
    did, and the clean logits, are those that the attack of more steps saw on its way. A model with layers that are
    differentiated at their solution is looked at through their steps if that makes PGD stronger.

    Raises:
        AttackError: Images or labels make no sense, or no finite gradient reaches the images.
    """
    compared = _compared(model, images, labels, threat, loss) if implicit_layers(model) else None
    with unrolled_gradients(model) if compared and compared.unrolled_is_stronger else nullcontext():
        return replace(_checks(model, images, labels, threat, loss), compared=compared)


def check_passes(images: int, *, implicit: bool) -> Passes:
    """Returns what `check_masking` asks of a model at most; `implicit` if it can be differentiated in two ways."""
    look, gradient = Passes(forward=1), Passes(forward=1, gradient=1)
    steps = STEPS + sum(LARGE_STEPS) + 2  # those two are the gradients at the images, and inside their bounds
    attacks = (gradient * steps + look * 3) * images + gradient * 3
    compared = (gradient * (STEPS + 1) + look) * images + gradient
    return (attacks + compared * (2 if implicit else 0)).at_most


def _compared(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, loss: str) -> ComparedGradients:
    """Returns how the implicit gradient of a model compares with that through its steps."""
    implicit = _loss_and_gradient(model, images, labels, threat, loss)
    with unrolled_gradients(model):
        unrolled = _loss_and_gradient(model, images, labels, threat, loss)
    lengths = [gradient.norm(dim=1) for _, gradient in (implicit, unrolled)]
    cosines = (implicit[1] * unrolled[1]).sum(1) / (lengths[0] * lengths[1]).clamp_min(torch.finfo(torch.double).tiny)
    confident = lengths[0] + lengths[1] == 0  # no loss is left to compare
    cosine = float(cosines.masked_fill(confident, 1).mean())
    return ComparedGradients(cosine=round(cosine, 6), implicit=round(implicit[0], 6), unrolled=round(unrolled[0], 6))


def _loss_and_gradient(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, loss: str
) -> tuple[float, Tensor]:
    """Returns the mean cross-entropy after PGD, and the gradient at the images as one vector each."""
    changed = _pgd(model, images, labels, threat, loss)
    with evaluation_mode(model):
        _, last = outcome(model, changed, labels)
    return float(last.mean()), _gradient(model, images, labels)[1].double().flatten(1)


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, loss: str) -> Tensor:
    size = threat.epsilon / 4
    return pgd(model, images, labels, threat, steps=STEPS, step_size=size, random_start=False, loss=loss)


def _checks(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, loss: str) -> GradientChecks:
    seen = _Seen(model)
    changed = _pgd(seen, images, labels, threat, loss)
    clean, stepped = seen.logits[1:3]  # the first are those of one image, which show that there is a gradient
    with evaluation_mode(model):
        _, last = outcome(model, changed, labels)
    logits, gradient = _gradient(model, images, labels)
    zero = gradient == 0
    return GradientChecks(
        images=len(images),
        zero_gradients=round(zero.double().mean().item(), 6),
        lost_at_bounds=round(_lost_at_bounds(model, images, labels, zero), 6),
        deterministic=torch.equal(logits, clean),
        one_step=round(float(cross_entropy(stepped.double(), labels)), 6),
        all_steps=round(float(last.mean()), 6),
        broken_in_one_step=int((stepped.argmax(1) != labels).sum()),
        right_at_large_budget=_right_at_large_budget(model, images, labels, threat, loss),
    )


def _right_at_large_budget(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, loss: str) -> int:
    """Returns how many images PGD leaves classified as labelled at a budget that allows any image."""
    reach = LARGE_EPSILON if threat.norm == "linf" else LARGE_EPSILON * math.sqrt(images[0].numel())
    large = ThreatModel(threat.norm, reach)
    for steps in LARGE_STEPS:
        changed = pgd(model, images, labels, large, steps=steps, step_size=reach / min(steps, 8), loss=loss)
        with evaluation_mode(model):
            wrong, _ = outcome(model, changed, labels)
        images, labels = images[~wrong], labels[~wrong]
        if len(images) == 0:
            break
    return len(images)


class _Seen(nn.Module):
    """A model that keeps the logits it gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.logits: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits."""
        logits: Tensor = self.model(images)
        self.logits.append(logits.detach())
        return logits
