"""How lambda is chosen when a model is measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.measurements.adaptations import Adaptation, Reading, reading_of, typed_adaptation
from robustcsc.measurements.facts import Fact, as_float, replace, tag_of


class Scope(StrEnum):
    """Which images share one adaptive lambda.

    Examples:
        >>> parse_policy("adaptive-batch").scope == Scope.BATCH
        True
    """

    DATASET = "dataset"
    BATCH = "batch"
    IMAGE = "image"


class NoLambda(Fact, frozen=True, tag="none"):
    """The model has no layer of sparse coding."""


class TrainingLambda(Fact, frozen=True, tag="train"):
    """The lambda that the model was trained with.

    Examples:
        >>> parse_policy("train") == TrainingLambda()
        True
    """


class FixedLambda(Fact, frozen=True, tag="fixed", kw_only=False):
    """One lambda for all images, or one of each layer.

    Attributes:
        value: The lambda, at least 0, of all layers; or a tuple of those of each layer, in the order of the network.

    Raises:
        PolicyError: A value is negative or not finite.

    Examples:
        >>> parse_policy("fixed=0.3"), parse_policy("fixed=0.3,0.1")
        (FixedLambda(value=0.3), FixedLambda(value=(0.3, 0.1)))
    """

    value: float | tuple[float, ...]

    def __post_init__(self) -> None:
        for value in self.values:
            if not 0 <= value < math.inf:
                raise PolicyError(f"{value} is no lambda: write a number of at least 0, such as --lambda fixed=0.5.")
        as_float(self, "value")

    @property
    def values(self) -> tuple[float, ...]:
        """The lambdas: one, or one of each layer."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def check_layers(self, count: int, model: str) -> None:
        """Raises a `PolicyError` if these are not the lambdas of a model with that many layers."""
        if isinstance(self.value, tuple) and len(self.value) != count:
            raise PolicyError(
                f"{typed_policy(self)} has {len(self.value)} lambdas, but {model} has {count} layer"
                f"{'s' * (count != 1)} with a lambda: write one number for all layers, or one for each."
            )


class Adaptive(Fact, frozen=True, tag="adaptive"):
    """The lambda that a fitted line predicts from the residual (SDNet, Algorithm 1).

    Attributes:
        scope: One lambda for the whole data set (the paper's way), per batch or per image.
        fit: Digest of the lambda fit; ``""`` in a request, for the fit that belongs to what is measured.

    Examples:
        >>> parse_policy("adaptive-image") == Adaptive(scope=Scope.IMAGE)
        True
    """

    scope: Scope
    fit: str = ""


class Blind(Fact, frozen=True, tag="blind"):
    """The lambda of each image that an estimator tells from it alone; nobody says which noise it has, if any.

    Attributes:
        fit: As of `Adaptive`.

    Examples:
        >>> parse_policy("blind") == Blind()
        True
    """

    fit: str = ""


class Oracle(Fact, frozen=True, tag="oracle"):
    """The best lambda of the default grid by the test labels: an upper bound, not a method.

    Examples:
        >>> parse_policy("oracle") == Oracle()
        True
    """


class WorstOf(Fact, frozen=True, tag="worst", kw_only=False):
    """An image counts only if it is classified as labelled at every one of several lambdas.

    Attributes:
        values: The lambdas, at least one.
    """

    values: tuple[float, ...]


#: Policies that a lambda fit belongs to.
Fitted = Adaptive | Blind
LambdaPolicy = NoLambda | TrainingLambda | FixedLambda | Fitted | Oracle | WorstOf


class Adapted(Fact, frozen=True, tag="adapted"):
    """Something else is done at test time, too.

    Attributes:
        by: What.
        policy: How lambda is chosen for the model and images that are left by it.
    """

    by: Adaptation
    policy: LambdaPolicy


Policy = LambdaPolicy | Adapted


def lambda_of(policy: Policy) -> LambdaPolicy:
    """Returns how a policy chooses lambda, whatever else is done at test time."""
    return policy.policy if isinstance(policy, Adapted) else policy


def on_curve(policy: Policy) -> bool:
    """Returns whether a policy is a point of a lambda curve: one lambda that is fixed, of all layers."""
    chosen = lambda_of(policy)
    return isinstance(chosen, FixedLambda) and isinstance(chosen.value, float)


def with_lambda(policy: Policy, chosen: LambdaPolicy) -> Policy:
    """Returns a policy with another way of choosing lambda, and what else is done at test time unchanged."""
    return replace(policy, policy=chosen) if isinstance(policy, Adapted) else chosen


def adapted(policy: LambdaPolicy, by: Adaptation | None) -> Policy:
    """Returns a policy under which something else is done at test time, unless that is `None`."""
    return policy if by is None else Adapted(by=by, policy=policy)


def batches_of(policy: Policy) -> Reading | None:
    """Returns how images are put into batches for a policy that adapts to each of them; else `None`."""
    return reading_of(policy.by) if isinstance(policy, Adapted) else None


def by_data_set(policy: Policy) -> bool:
    """Returns whether a policy chooses one lambda for a whole set of images, by all of them."""
    chosen = lambda_of(policy)
    return isinstance(chosen, Adaptive) and chosen.scope is Scope.DATASET


#: Policies by the word that people type.
_NAMED: dict[str, LambdaPolicy] = {
    "train": TrainingLambda(),
    "oracle": Oracle(),
    "adaptive": Adaptive(scope=Scope.DATASET),
    "adaptive-batch": Adaptive(scope=Scope.BATCH),
    "adaptive-image": Adaptive(scope=Scope.IMAGE),
    "blind": Blind(),
}
#: All words that people type; ``grid`` stands for every lambda of the default grid.
POLICY_WORDS = (*_NAMED, "fixed=", "grid")
#: Lambdas that are tried by default, as multiples of the training lambda: SDNet section 4.2 gives the range [0.1, 1.5]
#: for 0.1.
MULTIPLES = tuple(range(1, 16))


def multiples_of(lam0: float | None, multiples: Iterable[float] = MULTIPLES) -> tuple[float, ...]:
    """Returns multiples of the training lambda, or of 0.1 where there is none.

    Where it is 0, as in layers that learn what is added to it, it stays among them: steps of 0.1 from 0 on.

    Examples:
        >>> multiples_of(0.2, (1, 2)), multiples_of(0, (1, 2))
        ((0.2, 0.4), (0.0, 0.1))
    """
    first = 1 if lam0 == 0 else 0
    return tuple(float(f"{(lam0 or 0.1) * (multiple - first):.6g}") for multiple in multiples)


def parse_policy(text: str) -> LambdaPolicy:
    """Returns the policy that a user typed, such as ``"train"``, ``"adaptive-image"`` or ``"fixed=0.5"``.

    Raises:
        UnknownNameError: There is no such policy.
        PolicyError: The value of a fixed lambda is no number of at least 0.
    """
    if text.startswith("fixed="):
        try:
            values = tuple(map(float, text.removeprefix("fixed=").split(",")))
            return FixedLambda(values if len(values) > 1 else values[0])
        except ValueError as error:
            raise PolicyError(
                f"{text!r} is no lambda: write a number of at least 0, such as --lambda fixed=0.5."
            ) from error
    if text not in _NAMED:
        raise UnknownNameError("lambda policy", text, [*_NAMED, "fixed=VALUE", "grid"])
    return _NAMED[text]


def typed_policy(policy: Policy) -> str:
    """Returns the lambda policy as a user types it; ``""`` for one that cannot be asked for by name.

    Examples:
        >>> typed_policy(FixedLambda(0.5)), typed_policy(Adaptive(scope=Scope.IMAGE, fit="1a2b"))
        ('fixed=0.5', 'adaptive-image')
    """
    policy = lambda_of(policy)
    if isinstance(policy, FixedLambda):
        return f"fixed={','.join(map(repr, policy.values))}"
    asked = replace(policy, fit="") if isinstance(policy, Fitted) else policy
    return next((word for word, known in _NAMED.items() if known == asked), "")


def typed_test_time(policy: Policy) -> str:
    """Returns what else is done at test time as a user types it; ``""`` for nothing.

    Examples:
        >>> from robustcsc.measurements.adaptations import BatchStatistics
        >>> typed_test_time(Adapted(by=BatchStatistics(batch=16), policy=NoLambda()))
        'bn:batch=16'
    """
    return typed_adaptation(policy.by) if isinstance(policy, Adapted) else ""


def told_policy(policy: Policy) -> dict[str, str]:
    """Returns a policy for JSON: the lambda policy as it is typed, and what else is done at test time, if anything.

    Examples:
        >>> told_policy(TrainingLambda()), told_policy(NoLambda())
        ({'policy': 'train'}, {'policy': 'none'})
    """
    more = {"test_time": typed_test_time(policy)} if isinstance(policy, Adapted) else {}
    return {"policy": typed_policy(policy) or tag_of(lambda_of(policy)), **more}
