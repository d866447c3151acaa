"""What runs the attacks of `robustcsc.measurements.attacks`, and what that costs in forward and backward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from robustcsc.attacks import adaptive_pgd, black_box, gradient, minimum_norm
from robustcsc.attacks.guard import Search, strongest
from robustcsc.layers.tracing import traced
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.threats import ThreatModel

#: By name, ``(threat, *, settings)`` to how the attack searches; `craft` checks the norm.
SEARCHES: dict[str, Callable[..., Search]] = {
    "fgsm": gradient.fgsm,
    "pgd": gradient.pgd_search,
    "apgd": adaptive_pgd.apgd,
    "apgd-t": adaptive_pgd.apgd_targeted,
    "square": black_box.square,
    "fab": minimum_norm.fab,
    "cw": minimum_norm.carlini_wagner,
    "deepfool": minimum_norm.deepfool_within,
    "autoattack-port": adaptive_pgd.autoattack_port,
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
    """Returns images within `threat` that an attack found, as `guard.strongest` chooses them.

    The loss of a model that returns mean log-probabilities (`averaged`) is ``"nll"`` instead of ``"ce"``.

    Raises:
        AttackError: The attack does not support the norm, images, labels or settings are invalid, the model has too few
            classes for it, or no finite gradient reaches the images.
    """
    step.check_norm(threat.norm)
    defaults = {setting: value for setting, value in step.kind.settings.items() if value is not None}
    settings = {**defaults, **dict(step.settings)}
    if averaged and settings.get("loss") == "ce":
        settings["loss"] = "nll"
    search = SEARCHES[step.name](threat, **settings)
    return strongest(model, images, labels, threat, search, restarts=step.restarts, seed=seed)


@dataclass
class Calls:
    """Calls of a model, counted in images.

    Attributes:
        forward: Images in forward passes.
        gradient: Images in backward passes from the logits; an image counts once per backward pass.
    """

    forward: int = 0
    gradient: int = 0


@contextmanager
def counted(model: nn.Module, calls: Calls | None = None) -> Iterator[Calls]:
    """Counts the forward and backward passes through `model` within the block, on top of `calls`."""
    calls = calls or Calls()

    def backwards(gradient: Tensor) -> None:
        calls.gradient += len(gradient)

    def forwards(module: nn.Module, inputs: tuple[Tensor, ...], logits: object) -> None:
        calls.forward += len(inputs[0])
        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(backwards)  # type: ignore[no-untyped-call]

    with traced([model], after=forwards):
        yield calls
