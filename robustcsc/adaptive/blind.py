"""The best lambda of a single image whose noise nobody names: an estimate from its features, and a guard.

As in blind denoising, neither the family of the noise nor its level is known, nor whether there is any. A posterior
over the noise levels of a fit, from the features of one image, weighs the accuracies that the levels have at each
lambda; the estimate maximises the accuracy that is then expected. Accuracy hardly changes with lambda near its best
value and falls off beyond, so errors of lambda do not cost alike: this is why lambda itself is not regressed.

The guard keeps the training lambda where no other one is expected to gain much: on clean images, and on those that
differ from all noise levels in a way that the posterior spreads over the weak ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustcsc.adaptive.features import FEATURES
from robustcsc.measurements.estimators import Harm, Posterior
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import NoiseLevel

#: Lambdas that cost this much accuracy, in [0, 1], still count in the estimate.
TEMPERATURE = 0.002
#: Expected gains that the guard may ask for, in [0, 1].
LEAST_GAINS = (0.001, 0.002, 0.005, 0.01, 0.02)
#: Share of images, in [0, 1], that a guard may lose in the difference of lost and won ones, if that may be chance.
TOLERANCE = 0.001
#: Probability of at least so many losses among the images whose outcome changes, below which they are no chance.
_SIGNIFICANT = 0.05
#: One that nothing reaches, so that the training lambda is kept for all images.
ALL_KEPT = 1.0
#: Steps of the logistic regression at most.
_STEPS = 100
#: Degree of the polynomials over lambda that smooth accuracies.
_DEGREE = 4


class BlindLambda(nn.Module):
    """What a `Posterior` says of the features of images."""

    columns: Tensor
    weights: Tensor
    intercepts: Tensor
    gains: Tensor
    grid: Tensor

    def __init__(self, estimator: Posterior, lam0: float, grid: Sequence[float]) -> None:
        super().__init__()
        self.estimator, self.lam0 = estimator, lam0
        columns = [list(FEATURES).index(name) for name in estimator.features]
        accuracies, trained = (
            torch.tensor(it, dtype=torch.float64) for it in (estimator.accuracies, estimator.trained)
        )
        self.register_buffer("columns", torch.tensor(columns))
        self.register_buffer("weights", torch.tensor(estimator.weights, dtype=torch.float64))
        self.register_buffer("intercepts", torch.tensor(estimator.intercepts, dtype=torch.float64))
        self.register_buffer("gains", accuracies - trained[:, None])
        self.register_buffer("grid", torch.tensor(grid, dtype=torch.float64))

    def expected_gains(self, found: Tensor) -> Tensor:
        """Returns what each lambda of the grid is expected to gain in accuracy, ``(N, len(grid))``.

        Args:
            found: Features, ``(N, len(FEATURES))``.
        """
        forms = found.double()[:, self.columns] @ self.weights.T + self.intercepts
        return forms.softmax(1) @ self.gains

    def expected(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the best lambda of every image, and what the best is expected to gain in accuracy, both ``(N,)``."""
        gains = self.expected_gains(found)
        return (gains / self.estimator.temperature).softmax(1) @ self.grid, gains.amax(1)

    def forward(self, found: Tensor) -> Tensor:
        """Returns the lambda of every image, ``(N,)``; gradients pass the guard as if there were none."""
        lam, gain = self.expected(found)
        kept = torch.where(gain < self.estimator.least_gain, self.lam0, lam.detach())
        return kept + (lam - lam.detach())


def fit_posterior(measured: Sequence[tuple[NoiseLevel, Tensor]], grid: Sequence[float], lam0: float) -> Posterior:
    """Returns the posterior over noise levels, without a guard.

    All noise families, and clean images, count alike.

    Args:
        measured: At least two noise levels with their accuracies, and the features of images, ``(N, len(FEATURES))``.
        grid: The lambdas of the accuracies, at least two.
        lam0: The training lambda.
    """
    from sklearn.exceptions import ConvergenceWarning  # only here: slow to import
    from sklearn.linear_model import LogisticRegression

    levels, features = zip(*measured, strict=True)
    noises = [level.noise for level in levels]
    values = torch.cat(features).double().cpu().numpy()
    labels = np.repeat(np.arange(len(levels)), [len(it) for it in features])
    shares = np.array([1 / noises.count(noise) for noise in noises])[labels]
    mean = np.average(values, axis=0, weights=shares)
    deviation = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=shares))
    kept = deviation > 1e-6 * (1 + abs(mean))  # images of one channel have features that never change
    mean, deviation = mean[kept], deviation[kept]
    model = LogisticRegression(max_iter=_STEPS)
    with warnings.catch_warnings():  # further steps change hardly any lambda
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((values[:, kept] - mean) / deviation, labels, sample_weight=shares / shares.mean())
    coefficients, intercepts = model.coef_, model.intercept_
    if len(levels) == 2:  # one form stands for both
        coefficients, intercepts = np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-1, 1]) * intercepts / 2
    weights = coefficients / deviation
    accuracies, trained = _smoothed(levels, grid, lam0)
    return Posterior(
        features=tuple(name for name, changes in zip(FEATURES, kept, strict=True) if changes),
        weights=tuple(map(tuple, weights.tolist())),
        intercepts=tuple((intercepts - weights @ mean).tolist()),
        accuracies=tuple(map(tuple, accuracies.tolist())),
        trained=tuple(trained.tolist()),
        temperature=TEMPERATURE,
        least_gain=0.0,
        accuracy=0.0,
    )


def _smoothed(
    levels: Sequence[NoiseLevel], grid: Sequence[float], lam0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the accuracy of each level at each lambda of the grid, and at the training lambda.

    They are polynomials in the logarithm of lambda plus the training lambda, or plus 0.1 where it is 0: below it,
    accuracy changes little.
    """
    lambdas = np.asarray(grid, dtype=np.float64)
    found = np.array([np.array(level.correct) / level.total for level in levels])
    degree = min(_DEGREE, len(lambdas) - 1)
    at = np.log(lambdas + (lam0 or 0.1))
    at = (at - at[0]) / np.ptp(at)
    smooth = np.polynomial.polynomial.polyval(at, np.polynomial.polynomial.polyfit(at, found.T, degree))
    return smooth, np.array([np.interp(lam0, lambdas, each) for each in smooth])


class Seen(NamedTuple):
    """What was measured on images that are clean, or have another corruption than noise.

    Attributes:
        name: ``"clean"``, or the corruption.
        severity: Its severity; 0 for clean images.
        gains: What the estimated lambda was expected to gain, ``(N,)``.
        training: Whether each image is right at the training lambda.
        blind: The same at the estimated lambda.
    """

    name: str
    severity: int
    gains: Tensor
    training: Tensor
    blind: Tensor

    def right(self, least: float) -> Tensor:
        """Returns whether each image is right if the estimate has to gain at least this."""
        return torch.where(self.gains < least, self.training, self.blind)

    def harm(self, least: float) -> Harm:
        """Returns what the estimate does if it has to gain at least this."""
        training, blind = (int(it.sum()) for it in (self.training, self.right(least)))
        return Harm(name=self.name, severity=self.severity, training=training, blind=blind, total=len(self.gains))


def guarded(estimator: Posterior, seen: Sequence[Seen]) -> Posterior:
    """Returns the estimator with the smallest guard that costs nothing on clean images, nor on all others together.

    That is, at most `TOLERANCE` of the images, and no more of them than chance would lose where as many are lost as are
    won (one-sided sign test). If none of `LEAST_GAINS` is enough, it is `ALL_KEPT`.
    """
    from scipy.stats import binomtest  # only here: slow to import

    def costly(those: Sequence[Seen], least: float) -> bool:
        changes = torch.cat([it.right(least).int() - it.training.int() for it in those])
        lost, won = int((changes < 0).sum()), int((changes > 0).sum())
        if lost <= won:
            return False
        chance = binomtest(lost, lost + won, alternative="greater").pvalue
        return lost - won > TOLERANCE * len(changes) or chance < _SIGNIFICANT

    kinds = [those for clean in (True, False) if (those := [it for it in seen if (not it.severity) == clean])]
    least = next((it for it in LEAST_GAINS if not any(costly(those, it) for those in kinds)), ALL_KEPT)
    return replace(estimator, least_gain=least, harm=tuple(it.harm(least) for it in seen))
