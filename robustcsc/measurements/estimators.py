"""Estimators of the best lambda of a single image whose noise nobody names, as plain numbers."""

from __future__ import annotations

from robustcsc.measurements.facts import Fact


class Harm(Fact, frozen=True, forbid_unknown_fields=True):
    """What an estimated lambda does to images that have no noise, or something else.

    Attributes:
        name: ``"clean"``, or the corruption.
        severity: Its severity; 0 for clean images.
        training: Number of images that are right at the training lambda.
        blind: The same at the estimated lambdas.
        total: Number of images.
    """

    name: str
    severity: int
    training: int
    blind: int
    total: int


class Posterior(Fact, frozen=True, forbid_unknown_fields=True, tag="posterior"):
    """The lambda of the largest expected accuracy, under a posterior over the noise levels of a fit.

    The posterior is a softmax of linear forms in the features of an image, as logistic regression gives it. The
    training lambda is kept where the best one is not expected to gain enough.

    Attributes:
        features: Names of the features, keys of `robustcsc.adaptive.features.FEATURES`.
        weights: Weights of the features, for each noise level of the fit.
        intercepts: Intercept for each noise level.
        accuracies: Accuracy in [0, 1] of each noise level at each lambda of the grid, smoothed over the grid.
        trained: Accuracy of each noise level at the training lambda, smoothed.
        temperature: Lambdas whose expected accuracy is worse than the best by about this much count, too: the estimate
            is the mean of the grid under the softmax of the expected accuracy over this.
        least_gain: Expected gain in accuracy below which the training lambda is kept.
        accuracy: Share of held-out images of mixed noise levels that are right at the estimated lambdas.
        harm: What it costs on clean images and other corruptions.
    """

    features: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]
    accuracies: tuple[tuple[float, ...], ...]
    trained: tuple[float, ...]
    temperature: float
    least_gain: float
    accuracy: float
    harm: tuple[Harm, ...] = ()
