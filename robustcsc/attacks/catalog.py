"""Runs the attacks of `robustcsc.measurements.attacks`, and counts their forward and backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from robustcsc.attacks.guard import strongest
from robustcsc.layers.tracing import traced
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.threats import ThreatModel


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
    from robustcsc.attacks.searches import SEARCHES  # only here: torchattacks is slow to import

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
