"""What is seen of a guest on a few clean images before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcsc.data import ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.logits import finite_logits
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.normalize import Normalize
from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import Precision
from robustcsc.measurements.statistics import Difference
from robustcsc.models.catalog import normalization_for

#: Number of images that are looked at.
IMAGES = 64
#: Relative and absolute difference of logits, the latter in their standard deviations, that rounding explains.
TOLERANCE: Mapping[Precision, float] = {"fp32": 1e-3, "bf16": 5e-2}
#: p-value of the paired difference below which normalised images are answered better.
SURE = 1e-6


@dataclass(frozen=True)
class Seen:
    """What was seen of a model on a few images.

    Attributes:
        right: Images that it classifies as labelled.
        images: Number of images.
        doubts: What speaks against every figure of it.
    """

    right: int
    images: int
    doubts: tuple[Doubt, ...]


def looked_at(loaded: LoadedModel, images: ImageSet) -> Seen:
    """Returns what was seen of a model, with all its logits, on a few evenly spaced images of `images`.

    The first image is also answered alone, or with the second one if the model fails on one image.

    Raises:
        ModelError: The model does not return finite logits (N, K).
    """
    chosen = evenly_spaced(images, min(IMAGES, len(images)))
    (batch,) = chosen.batches(IMAGES, device=loaded.device)
    classes = list(images.logits) or slice(None)

    def answers(images: Tensor) -> Tensor:
        return finite_logits(loaded.model(images), len(images), model=loaded.subject.model)

    tolerance = TOLERANCE[loaded.precision]

    def equal(logits: Tensor, others: Tensor) -> bool:
        return torch.allclose(logits, others, rtol=tolerance, atol=tolerance * float(others.std(correction=0)))

    with evaluation_mode(loaded.model), _buffers_kept(loaded.model), torch.no_grad():
        first, second = answers(batch.images), answers(batch.images)
        alone, normalised = _alone(answers, batch.images), answers(_normalised(batch.images))
        few = answers(batch.images[:2]) if alone is None else alone
        found = {
            Doubt.PROBABILITIES: _are_probabilities(first, tolerance),
            Doubt.RANDOM: not equal(first, second),
            Doubt.DEPENDS_ON_BATCH: equal(first, second) and not equal(few, first[: len(few)]),
            Doubt.NOT_ALONE: alone is None,
            Doubt.NOT_NORMALISED: _are_better(normalised[:, classes], first[:, classes], batch.labels),
        }
    right = int((first[:, classes].argmax(1) == batch.labels).sum())
    return Seen(right, len(first), tuple(doubt for doubt, raised in found.items() if raised))


def _alone(answers: Callable[[Tensor], Tensor], images: Tensor) -> Tensor | None:
    """Returns the logits (1, K) of the first image alone, ``None`` if the model fails on it."""
    try:
        return answers(images[:1])
    except Exception:  # a user's code may raise anything
        return None


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restores running statistics, which some models change whenever they answer: they are part of the weights."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])


def _are_probabilities(logits: Tensor, tolerance: float) -> bool:
    return bool((logits >= 0).all()) and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=tolerance)


def _normalised(images: Tensor) -> Tensor:
    _, channels, height, width = images.shape
    normalised: Tensor = Normalize(*normalization_for((channels, height, width))).to(images.device)(images)
    return normalised


def _are_better(logits: Tensor, others: Tensor, labels: Tensor) -> bool:
    """Returns whether significantly more images are answered right by `logits` than by `others`."""
    right, before = logits.argmax(1) == labels, others.argmax(1) == labels
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    found = Difference.of_images(len(labels), gained - lost, gained + lost, gained + lost)
    return found.points > 0 and found.p_value is not None and found.p_value < SURE
