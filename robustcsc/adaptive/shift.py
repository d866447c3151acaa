"""Batch normalisation that undoes the shift of a test batch against clean images, as far as it is no chance.

The inputs of each layer are brought back to mean and variance of clean held-out training images, channel by channel::

    x' = m + (x - m - a (m_B - m)) / (v_B / v)^(a/2)

with m, v of clean images, m_B, v_B of the batch, and a in [0, 1], of the layer: the share of the squared distance
between both that chance does not explain,

    a = max(0, 1 - 3 E / 2 S),  S = mean_c [(m_B - m)^2 / v + (v_B - v)^2 / 2 v^2],

where E is S as it would be if the batch differed by chance alone: with the squared standard errors of m_B and v_B, from
the images of the batch, in place of the squared differences. S is twice the Kullback-Leibler divergence of two normal
distributions to second order; the estimate is that of James and Stein, "Estimation with quadratic loss", Proceedings of
the Fourth Berkeley Symposium 1 (1961), its positive part, with E in place of a known variance, and half as much again:
E is estimated, too, and what is done to clean images in vain counts more than what is left undone.

Differences from Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation",
NeurIPS 2020: statistics of clean images, not those that are stored, are what a batch is compared with; how much of the
batch's statistics counts follows from the batch, in place of a prior N; a batch in which few classes are seen is
answered by the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcsc.adaptive.batch_norm import batch_norms
from robustcsc.errors import PolicyError
from robustcsc.layers.tracing import traced
from robustcsc.measurements.references import Channels, Reference

#: Share of pairs answered alike, of those that are not so in clean images, from which on a batch has too few classes.
MORE_ALIKE = 0.01
#: How many times as far as by chance a batch has to differ before anything is done.
_CAUTION = 1.5
#: Standard errors of that share in a batch that are taken for chance.
_ERRORS = 3.0


class Undone:
    """Undoes the shift of the batches that a model is given.

    Args:
        model: The model.
        reference: What it makes of clean images.

    Raises:
        PolicyError: They do not belong together.
    """

    def __init__(self, model: nn.Module, reference: Reference) -> None:
        norms = batch_norms(model)
        if [it.num_features for it in norms] != [len(it.mean) for it in reference.layers]:
            raise PolicyError(f"The statistics {reference.digest} of clean images belong to another model.")
        self._agreement = reference.agreement
        with torch.inference_mode(False):  # attacks differentiate
            self._clean = {
                layer: torch.tensor((its.mean, its.variance), dtype=torch.float64).to(layer.running_mean)
                for layer, its in zip(norms, reference.layers, strict=True)
            }

    def __call__(self, classify: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Returns the logits of a batch; those of the model as it is if few classes are seen in it.

        An attacker follows the gradient of the answer that is given.
        """
        if len(images) < 2:
            return classify(images)
        with traced(self._clean, before=self._aligned):
            logits = classify(images)
        alike, pairs = agreement(logits), len(logits) * (len(logits) - 1) / 2
        most = self._agreement + MORE_ALIKE * (1 - self._agreement) + _ERRORS * (self._agreement / pairs) ** 0.5
        return logits if alike <= most else classify(images)

    def _aligned(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        assert isinstance(layer, _BatchNorm)
        mean, variance = self._clean[layer]
        seen = inputs[0].to(mean.dtype)
        means, squares = _moments(seen)
        batch_mean = means.mean(0)
        powers = squares - 2 * means * batch_mean + batch_mean.square()  # of each image, about the mean of the batch
        batch_variance = powers.mean(0)
        scale = variance + layer.eps

        def distance(of_mean: Tensor, of_variance: Tensor) -> Tensor:
            each: Tensor = of_mean / scale + of_variance / (2 * scale.square())
            return each.mean()

        found = distance((batch_mean - mean).square(), (batch_variance - variance).square())
        chance = distance(means.var(0), powers.var(0)) / len(seen)
        share = (1 - _CAUTION * chance / found.clamp_min(torch.finfo(found.dtype).tiny)).clamp_min(0)
        factor = (scale / (batch_variance + layer.eps)) ** (share / 2)
        offset = mean - (mean + share * (batch_mean - mean)) * factor
        shape = (-1, *[1] * (seen.ndim - 2))
        return (torch.addcmul(offset.view(shape), seen, factor.view(shape)),)


def agreement(logits: Tensor) -> float:
    """Returns the share of pairs of images that are answered alike, in [0, 1].

    Args:
        logits: Of at least two images, ``(N, K)``.
    """
    counts = logits.argmax(1).bincount().double()
    return float((counts * (counts - 1)).sum() / (len(logits) * (len(logits) - 1)))


@torch.inference_mode()
def clean_statistics(model: nn.Module, batches: Iterable[Tensor]) -> tuple[tuple[Channels, ...], float]:
    """Returns what the layers of batch normalisation are given, and the share of pairs of images answered alike.

    Args:
        model: The model, in evaluation mode.
        batches: Clean images, ``(N, C, H, W)`` in [0, 1], at least two in all.
    """
    norms = batch_norms(model)
    parts: dict[nn.Module, list[Tensor]] = {layer: [] for layer in norms}

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        parts[layer].append(torch.stack(_moments(inputs[0].double()), 1))

    with traced(norms, before=note):
        logits = torch.cat([model(images) for images in batches])
    layers = []
    for layer in norms:
        if parts[layer]:
            mean, square = torch.cat(parts[layer]).mean(0)
            variance = (square - mean.square()).clamp_min(0)
        else:  # the model never asks it
            mean, variance = layer.running_mean, layer.running_var
        layers.append(Channels(mean=tuple(mean.tolist()), variance=tuple(variance.tolist())))
    return tuple(layers), agreement(logits)


def _moments(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and mean square of each channel of each image, both ``(N, C)``."""
    if seen.ndim == 2:
        return seen, seen.square()
    axes = [*range(2, seen.ndim)]
    return seen.mean(axes), seen.square().mean(axes)
