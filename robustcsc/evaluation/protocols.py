"""How an attack meets lambda: which model it differentiates through, and under which policies the result is scored.

Source of ``static``: SDNet (Dai et al., NeurIPS 2022), section 4.3 and table 4.

Differences from the paper: it crafts adversarial images at the training lambda and tunes lambda afterwards, which is a
transfer test. That protocol is called ``static`` here and stands beside those whose attacker knows the lambda:

| protocol | the attacker differentiates through | scored |
|---|---|---|
| plain | the model at its training lambda (or without any) | there |
| static | the model at its training lambda | at the lambda that the fit gives for the adversarial images |
| tuned | the same | at the best lambda of the grid by the test labels: static in records, with the policy oracle |
| fixed | the model at one lambda, for each of several | there |
| adaptive | image, residual and the lambda predicted for every image | under that policy |
| grid | the mean loss over several lambdas | an image has to be right at all of them |
| transfer | another model | at the training lambda, and under the adaptive policy |
| black-box | nothing: only logits of the adaptive policy are asked for | under that policy |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveLambda, FixedLambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation.subject import Subject

#: Protocols by name, and whether each needs a lambda and a lambda fit.
PROTOCOLS: dict[str, tuple[bool, bool]] = {
    "plain": (False, False),
    "static": (True, True),
    "tuned": (True, False),
    "fixed": (True, False),
    "adaptive": (True, True),
    "grid": (True, False),
    "transfer": (False, False),
    "black-box": (False, False),
}
#: Those that a single attack is measured under by default, as far as they make sense.
BASIC = ("plain", "static", "adaptive")


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
        """Returns the mean log-probabilities of `images` ``(N, C, H, W)``, (N, K)."""
        total = torch.stack([logits_at(self.model, images, lam).log_softmax(dim=1) for lam in self.lambdas])
        return total.mean(dim=0)


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked and how the result is scored.

    Attributes:
        protocol: As records name it.
        victim: The model that the attacker asks.
        name: The victim in words; equal names are equal victims.
        policies: Lambda policies that score the result.
        averaged: Whether the victim returns mean log-probabilities.
        alone: Whether every attack starts with all images, because lambda is chosen for the whole set, or because the
            images are crafted on another model. Else an attack gets the images that earlier ones left.
        white_box: Whether the victim is the model that is scored and its gradients are used.
    """

    protocol: str
    victim: nn.Module
    name: str
    policies: tuple[str, ...]
    averaged: bool = False
    alone: bool = False
    white_box: bool = True


def default_protocols(subject: Subject) -> tuple[str, ...]:
    """Returns the protocols of `BASIC` that make sense: only ``plain`` without CSC layers or without a lambda fit."""
    return BASIC if subject.has_lambda and subject.fits else ("plain",)


def check_protocol(subject: Subject, protocol: str, source: Subject | None = None) -> None:
    """Refuses a protocol that does not exist or does not suit the model.

    Args:
        subject: The model that is scored.
        protocol: A key of `PROTOCOLS`.
        source: The model that transfer attacks are crafted on.

    Raises:
        UnknownNameError: The protocol is unknown.
        PolicyError: It needs a lambda, a fit or another model, which is not there.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("attack protocol", protocol, PROTOCOLS)
    needs_lambda, needs_fit = PROTOCOLS[protocol]
    if needs_lambda and not subject.has_lambda:
        raise PolicyError(
            f"{subject.model_name} has no CSC layer, so there is no lambda for an attack to meet: leave the protocol "
            f"{protocol} out."
        )
    if needs_fit:
        subject.fit_for(None)
    if protocol == "transfer" and source is None:
        raise PolicyError("The protocol transfer needs a run to craft on: name it with --from.")
    if protocol == "transfer" and source is not None and source.weights == subject.weights:
        raise PolicyError("A transfer attack is crafted on another model, but --from names the same weights.")


def targets(
    subject: Subject, protocol: str, *, lambdas: Sequence[float] | None = None, source: Subject | None = None
) -> list[Target]:
    """Returns what a protocol attacks: one target, and for ``fixed`` one for each lambda.

    Args:
        subject: The model that is scored.
        protocol: A key of `PROTOCOLS`.
        lambdas: The lambdas of ``fixed`` and ``grid``; by default `Subject.grid`.
        source: The model that transfer attacks are crafted on.

    Raises:
        UnknownNameError: The protocol is unknown.
        PolicyError: It needs a lambda, a fit or another model, which is not there.
    """
    check_protocol(subject, protocol, source)
    model, lambdas = subject.model, subject.grid if lambdas is None else lambdas
    own = _at_training_lambda(subject)
    own_name = "the training lambda" if subject.has_lambda else "the model"
    own_policy = "train" if subject.has_lambda else "none"
    through, through_name, through_policy = own, own_name, own_policy
    if subject.has_lambda and subject.fits:
        through = AdaptiveLambda(model, subject.fit_for(None), "image")
        through_name, through_policy = "the adaptive policy", "adaptive-image"
    if protocol in ("static", "tuned"):
        policy = "adaptive" if protocol == "static" else "oracle"
        return [Target("static", own, own_name, (policy,), alone=True, white_box=False)]
    if protocol == "fixed":
        names = [f"fixed={lam:g}" for lam in lambdas]
        return [
            Target(protocol, FixedLambda(model, lam), f"lambda {lam:g}", (name,))
            for lam, name in zip(lambdas, names, strict=True)
        ]
    if protocol == "grid":
        policy = f"worst={','.join(f'{lam:g}' for lam in lambdas)}"
        return [Target(protocol, LambdaGrid(model, lambdas), f"{len(lambdas)} lambdas", (policy,), averaged=True)]
    if protocol == "transfer" and source is not None:
        name = f"{source.model_name}@{source.weights[:8]}"
        policies = tuple(dict.fromkeys((own_policy, through_policy)))
        victim = _at_training_lambda(source)
        return [Target(f"transfer from {name}", victim, name, policies, alone=True, white_box=False)]
    if protocol == "plain":
        return [Target(protocol, own, own_name, (own_policy,))]
    return [Target(protocol, through, through_name, (through_policy,), white_box=protocol == "adaptive")]


def _at_training_lambda(subject: Subject) -> nn.Module:
    return subject.model if subject.lam0 is None else FixedLambda(subject.model, subject.lam0)
