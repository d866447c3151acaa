"""Constraints on parameters, restored after every optimiser step (projected SGD)."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Constrained(Protocol):
    """A module whose parameters live in a constraint set."""

    def project_parameters(self) -> None:
        """Projects the parameters onto the set, in place, and updates what is derived from them."""


def project_parameters(model: nn.Module) -> None:
    """Projects the parameters of every constrained module of `model`, in place (SDNet section 3.2)."""
    for module in model.modules():
        if isinstance(module, Constrained):
            module.project_parameters()
