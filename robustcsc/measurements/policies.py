"""How lambda is chosen when a model is measured."""

from __future__ import annotations

import math
from enum import StrEnum

from robustcsc.errors import PolicyError
from robustcsc.measurements.facts import Fact, as_float


class Scope(StrEnum):
    """Which images share one adaptive lambda."""

    DATASET = "dataset"
    BATCH = "batch"
    IMAGE = "image"


class NoLambda(Fact, frozen=True, tag="none"):
    """The model has no layer of sparse coding."""


class TrainingLambda(Fact, frozen=True, tag="train"):
    """The lambda that the model was trained with."""


class FixedLambda(Fact, frozen=True, tag="fixed", kw_only=False):
    """One lambda for all images.

    Attributes:
        value: The lambda, at least 0.

    Raises:
        PolicyError: The value is negative or not finite.
    """

    value: float

    def __post_init__(self) -> None:
        if not 0 <= self.value < math.inf:
            raise PolicyError(f"{self.value} is no lambda: write a number of at least 0, such as fixed=0.5.")
        as_float(self, "value")


class Adaptive(Fact, frozen=True, tag="adaptive"):
    """The lambda that a fitted line predicts from the residual (SDNet, Algorithm 1).

    Attributes:
        scope: One lambda for the whole data set (the paper's way), per batch or per image.
        fit: Digest of the lambda fit; ``""`` in a request, for the fit that belongs to what is measured.
    """

    scope: Scope
    fit: str = ""


class Oracle(Fact, frozen=True, tag="oracle"):
    """The best lambda of the default grid by the test labels: an upper bound, not a method."""


class WorstOf(Fact, frozen=True, tag="worst", kw_only=False):
    """An image counts only if it is classified as labelled at every one of several lambdas.

    Attributes:
        values: The lambdas, at least one.
    """

    values: tuple[float, ...]


Policy = NoLambda | TrainingLambda | FixedLambda | Adaptive | Oracle | WorstOf
