"""The models that attackers ask: what `robustcsc.measurements.protocols` says, as modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.errors import PolicyError
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements import policies
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.protocols import Protocol


class LambdaGrid(nn.Module):
    """The mean over several lambdas of the log-probabilities of a model: its loss ``"nll"`` is the mean cross-entropy.

    Args:
        model: Images to logits, with CSC layers.
        lambdas: The lambdas, at least one.
    """

    def __init__(self, model: nn.Module, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.model, self.lambdas = model, tuple(lambdas)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the mean log-probabilities of `images` ``(N, C, H, W)``, ``(N, K)``."""
        total = torch.stack([logits_at(self.model, images, lam).log_softmax(dim=1) for lam in self.lambdas])
        return total.mean(dim=0)


@dataclass(frozen=True, eq=False)
class Victim:
    """The model that an attacker asks.

    Attributes:
        name: What it is, in words for progress; equal names are equal victims.
        model: Images in [0, 1] to logits.
        averaged: Whether it returns mean log-probabilities.
        scored: Whether its gradients are those of the model that is scored.
    """

    name: str
    model: nn.Module
    averaged: bool = False
    scored: bool = True


def victim_of(loaded: LoadedModel, protocol: Protocol, policy: Policy, surrogate: LoadedModel | None) -> Victim:
    """Returns whom an attack under a protocol asks.

    Args:
        loaded: The model that is scored.
        protocol: How the attack meets lambda.
        policy: The policy that scores the result.
        surrogate: The model that transfer attacks are crafted on.

    Raises:
        PolicyError: A transfer attack has no other model to be crafted on.
    """
    if protocol is Protocol.TRANSFER:
        if surrogate is None:
            raise PolicyError("The protocol transfer needs a run to craft on: name it with --from.")
        return Victim(surrogate.subject.weights, _at_training_lambda(surrogate), scored=False)
    if protocol in (Protocol.ADAPTIVE, Protocol.BLACK_BOX) and isinstance(policy, policies.Adaptive):
        through = AdaptiveModel(loaded.model, loaded.facts.fit_by_digest(policy.fit), policies.Scope.IMAGE)
        return Victim("the adaptive policy", through, scored=protocol is Protocol.ADAPTIVE)
    match policy:
        case policies.FixedLambda(value=lam) if protocol is Protocol.FIXED:
            return Victim(f"lambda {lam!r}", ModelAtLambda(loaded.model, lam))
        case policies.WorstOf(values=values):
            return Victim(f"lambdas {', '.join(map(repr, values))}", LambdaGrid(loaded.model, values), averaged=True)
    name = "the training lambda" if loaded.facts.has_lambda else "the model"
    return Victim(name, _at_training_lambda(loaded), scored=protocol is not Protocol.BLACK_BOX)


def _at_training_lambda(loaded: LoadedModel) -> nn.Module:
    lam0 = loaded.facts.lam0
    return loaded.model if lam0 is None else ModelAtLambda(loaded.model, lam0)
