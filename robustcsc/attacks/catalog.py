"""What runs the attacks of `robustcsc.measurements.attacks`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from robustcsc.attacks import adaptive_pgd, black_box, gradient, minimum_norm
from robustcsc.attacks.autoattack_port import autoattack_port
from robustcsc.measurements.attacks import AttackStep, Value
from robustcsc.measurements.threats import ThreatModel

#: By name, ``(model, images, labels, threat, *, settings, seed)`` to images inside the ball and the box; those that are
#: random also take ``restarts``.
RUN: dict[str, Callable[..., Tensor]] = {
    "fgsm": gradient.fgsm,
    "pgd": gradient.pgd,
    "apgd": adaptive_pgd.apgd,
    "apgd-t": adaptive_pgd.apgd_targeted,
    "square": black_box.square,
    "fab": minimum_norm.fab,
    "cw": minimum_norm.carlini_wagner,
    "deepfool": minimum_norm.deepfool_within,
    "autoattack-port": autoattack_port,
}


def craft(
    step: AttackStep,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    seed: int,
    averaged: bool = False,
) -> Tensor:
    """Returns images within `threat`, as the function of the attack makes them.

    Args:
        step: The attack and its settings.
        model: Images (N, C, H, W) in [0, 1] to logits (N, K).
        images: (N, C, H, W) in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget.
        seed: Seed of everything random.
        averaged: Whether the model returns mean log-probabilities, whose loss is ``"nll"``.

    Raises:
        AttackError: The attack does not support the norm, or its function refuses images, labels or settings.
    """
    step.check_norm(threat.norm)
    settings: dict[str, Value] = dict(step.settings)
    if step.kind.random:
        settings["restarts"] = step.restarts
    if averaged and settings.get("loss") == "ce":
        settings["loss"] = "nll"
    return RUN[step.name](model, images, labels, threat, **settings, seed=seed)
