"""The models that attackers ask: what `robustcsc.measurements.protocols` says, as modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustcsc.adaptive.adapters import AdaptedModel
from robustcsc.adaptive.policies import ModelAtLambda, per_image
from robustcsc.adaptive.residuals import logits_at
from robustcsc.attacks.guard import differentiating, probe
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import PolicyError
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain
from robustcsc.evaluation.sources import Inputs
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.adaptations import typed_adaptation
from robustcsc.measurements.perturbations import Attack, MinimalBudget, Universal
from robustcsc.measurements.policies import Adapted, Adaptive, Blind, FixedLambda, Policy, Scope, WorstOf, lambda_of
from robustcsc.measurements.protocols import Protocol


class LambdaGrid(nn.Module):
    """The mean log-probabilities of a model over several lambdas: its loss ``"nll"`` is the mean cross-entropy."""

    def __init__(self, model: nn.Module, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.model, self.lambdas = model, tuple(lambdas)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the mean log-probabilities of `images` ``(N, C, H, W)``, ``(N, K)``."""
        total = torch.stack([logits_at(self.model, images, lam).log_softmax(dim=1) for lam in self.lambdas])
        return total.mean(dim=0)


@dataclass(frozen=True)
class Victim:
    """The model that an attacker asks; two are equal if weights and policy are.

    Attributes:
        weights: SHA-256 of its weights.
        policy: How it chooses lambda.
        name: What it is, in words for progress.
        model: Images in [0, 1] to logits, or to mean log-probabilities if `averaged`.
    """

    weights: str
    policy: Policy
    name: str = field(compare=False)
    model: nn.Module = field(compare=False)

    @property
    def averaged(self) -> bool:
        """Whether the model returns mean log-probabilities."""
        return isinstance(lambda_of(self.policy), WorstOf)


def victim_of(loaded: LoadedModel, protocol: Protocol, policy: Policy, surrogate: LoadedModel | None) -> Victim:
    """Returns whom an attack under a protocol asks, if `loaded` is scored under a policy.

    Raises:
        PolicyError: A transfer attack has no other model to be crafted on.
    """
    model, weights = loaded.model, loaded.subject.weights
    match policy:
        case _ if protocol is Protocol.TRANSFER:
            if surrogate is None:
                raise PolicyError("The protocol transfer needs a run to craft on: name it with --from.")
            return _at_training_lambda(surrogate, surrogate.subject.weights)
        case Adapted(by=by, policy=chosen):
            it = victim_of(loaded, protocol, chosen, surrogate)
            scored, name = Adapted(by=by, policy=lambda_of(it.policy)), f"{it.name} with {typed_adaptation(by)}"
            return Victim(weights, scored, name, AdaptedModel(it.model, by, loaded.reference))
        case Adaptive(fit=fit) | Blind(fit=fit) if protocol in (Protocol.ADAPTIVE, Protocol.BLACK_BOX):
            asked = policy if isinstance(policy, Blind) else Adaptive(scope=Scope.IMAGE, fit=fit)
            name = "the blind policy" if isinstance(policy, Blind) else "the adaptive policy"
            return Victim(weights, asked, name, per_image(model, loaded.facts.fit_by_digest(fit), asked))
        case FixedLambda(value=lam) if protocol is Protocol.FIXED:
            return Victim(weights, policy, f"lambda {lam!r}", ModelAtLambda(model, lam))
        case WorstOf(values=values):
            return Victim(weights, policy, f"lambdas {', '.join(map(repr, values))}", LambdaGrid(model, values))
        case _:
            return _at_training_lambda(loaded, "the training lambda" if loaded.facts.has_lambda else "the model")


def _at_training_lambda(loaded: LoadedModel, name: str) -> Victim:
    lam0 = loaded.facts.lam0
    model = loaded.model if lam0 is None else ModelAtLambda(loaded.model, lam0)
    return Victim(loaded.subject.weights, loaded.facts.own_policy, name, model)


def by_gradients(made: Attack | MinimalBudget | Universal) -> bool:
    """Returns whether an attacker takes gradients."""
    match made:
        case Attack(steps=steps, threat=threat, saved=None):
            return threat.epsilon > 0 and any(step.kind.gradients for step in steps)
        case MinimalBudget(step=step):
            return step.kind.gradients
        case _:
            return isinstance(made, Universal)


def check_differentiable(loaded: LoadedModel, inputs: Inputs, plan: Iterable[Chain]) -> None:
    """Refuses a plan with an attack by gradients that never reach the images, before anything is measured.

    Raises:
        AttackError: There is one.
    """
    victims = {
        victim_of(loaded, made.protocol, cell.measurements[0].policy, inputs.surrogate)
        for chain in plan
        for cell in chain
        if isinstance(made := cell.perturbation, Attack | MinimalBudget | Universal) and by_gradients(made)
    }
    for victim in victims:
        with differentiating(), evaluation_mode(victim.model):
            for batch in evenly_spaced(inputs.images, 1).batches(1, device=loaded.device):
                probe(victim.model, batch.images)
