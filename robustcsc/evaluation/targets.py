"""What the protocols of attacks meet in a model: the policies that score their images."""

from __future__ import annotations

from collections.abc import Sequence

from robustcsc.errors import PolicyError
from robustcsc.evaluation.plan import ModelFacts, Target
from robustcsc.measurements.adaptations import Tent
from robustcsc.measurements.policies import Adaptive, FixedLambda, LambdaPolicy, Oracle, Scope, WorstOf, adapted
from robustcsc.measurements.protocols import Protocol


def targets(model: ModelFacts, protocol: Protocol, lambdas: Sequence[float] | None = None) -> list[Target]:
    """Returns what a protocol attacks with each adaptation: for ``fixed`` each lambda, for others each fit by itself.

    Where there is a fit of lines and one for the policy blind, both are attacked by themselves.

    The `lambdas` are those of ``fixed`` and ``grid``; by default those of `ModelFacts.grid`.

    Raises:
        PolicyError: As `check_protocol`.
    """
    check_protocol(model, protocol)
    scoring = Protocol.STATIC if protocol is Protocol.TUNED else protocol
    return [
        Target(scoring, tuple(adapted(each, by) for each in policies))
        for by in model.test_time
        for policies in _scoring(model, protocol, lambdas)
    ]


def _scoring(model: ModelFacts, protocol: Protocol, lambdas: Sequence[float] | None) -> list[tuple[LambdaPolicy, ...]]:
    """Returns how lambda is chosen where the images of a protocol are scored, for each of its targets."""
    own = model.own_policy
    through = model.per_image or (own,)
    tried = tuple(model.grid if lambdas is None else lambdas)
    match protocol:
        case Protocol.STATIC:
            return [model.whole_set]
        case Protocol.TUNED:
            return [(Oracle(),)]
        case Protocol.FIXED:
            return [(FixedLambda(lam),) for lam in tried]
        case Protocol.GRID:
            return [(WorstOf(tried),)]
        case Protocol.TRANSFER:
            return [tuple(dict.fromkeys((own, *through)))]
        case Protocol.PLAIN:
            return [(own,)]
        case _:
            return [(policy,) for policy in through]


def check_protocol(model: ModelFacts, protocol: Protocol) -> None:
    """Raises a `PolicyError` if the protocol needs a lambda or a fit that the model does not have."""
    if protocol.needs_lambda and not model.has_lambda:
        raise PolicyError(
            f"{model.subject.model} has no CSC layer and so no lambda for an attack to meet: leave {protocol} out of "
            "--protocols."
        )
    if protocol.needs_fit and not model.per_image:
        model.fit_for(Adaptive(scope=Scope.IMAGE))
    online = any(isinstance(made, Tent) and not made.episodic for made in model.test_time)
    if online and protocol is not Protocol.TRANSFER:
        raise PolicyError(
            "After each batch tent leaves another model, which no attack on one batch can meet: write --test-time "
            "tent:episodic=true, choose --protocols transfer, or score saved images with --score."
        )
