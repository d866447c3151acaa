"""What the protocols of attacks meet in a model: the policies that score their images."""

from __future__ import annotations

from collections.abc import Sequence

from robustcsc.errors import PolicyError
from robustcsc.evaluation.plan import ModelFacts, Target
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Scope, WorstOf
from robustcsc.measurements.protocols import Protocol


def targets(model: ModelFacts, protocol: Protocol, lambdas: Sequence[float] | None = None) -> list[Target]:
    """Returns what a protocol attacks: one target, for ``fixed`` one for each lambda, for others one for each fit.

    Where there is a fit of lines and one for the policy blind, both are attacked by themselves.

    The `lambdas` are those of ``fixed`` and ``grid``; by default those of `ModelFacts.grid`.

    Raises:
        PolicyError: As `check_protocol`.
    """
    check_protocol(model, protocol)
    own = model.own_policy
    through = model.per_image or (own,)
    tried = tuple(model.grid if lambdas is None else lambdas)
    match protocol:
        case Protocol.STATIC:
            return [Target(protocol, model.whole_set)]
        case Protocol.TUNED:
            return [Target(Protocol.STATIC, (Oracle(),))]
        case Protocol.FIXED:
            return [Target(protocol, (FixedLambda(lam),)) for lam in tried]
        case Protocol.GRID:
            return [Target(protocol, (WorstOf(tried),))]
        case Protocol.TRANSFER:
            return [Target(protocol, tuple(dict.fromkeys((own, *through))))]
        case Protocol.PLAIN:
            return [Target(protocol, (own,))]
        case _:
            return [Target(protocol, (policy,)) for policy in through]


def check_protocol(model: ModelFacts, protocol: Protocol) -> None:
    """Raises a `PolicyError` if the protocol needs a lambda or a fit that the model does not have."""
    if protocol.needs_lambda and not model.has_lambda:
        raise PolicyError(
            f"{model.subject.model} has no CSC layer and so no lambda for an attack to meet: leave {protocol} out of "
            "--protocols."
        )
    if protocol.needs_fit and not model.per_image:
        model.fit_for(Adaptive(scope=Scope.IMAGE))
