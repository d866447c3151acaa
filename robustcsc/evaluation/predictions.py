"""What a model predicts for a stream of images, under several lambda policies in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustcsc.adaptive.policies import AdaptiveModel, dataset_lambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.data import Batch
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.logits import checked_logits, count_not_finite, refuse_not_finite
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Policy, Scope, TrainingLambda, WorstOf
from robustcsc.models.guests import memory_format_of

#: Starts a new pass over perturbed images.
Stream = Callable[[], Iterator[Batch]]

_Choice = Callable[[Tensor], Tensor | float | None]


@dataclass
class Predictions:
    """What was predicted under one policy.

    Attributes:
        right: Whether each image was classified as labelled.
        rounded: The same after rounding the images to 8 bits; empty if nobody asked.
        classes: The predicted class of each image.
        lam: Mean lambda; ``None`` without one.
        seconds: Time spent on the model.
        not_finite: Number of answers with a logit that is infinite or not a number.
    """

    right: list[bool] = field(default_factory=list)
    rounded: list[bool] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    lam: float | None = None
    seconds: float = 0.0
    not_finite: int = 0


def predict(
    loaded: LoadedModel, policies: Iterable[Policy], stream: Stream, num_classes: int, *, rounded: bool = False
) -> dict[Policy, Predictions]:
    """Returns the predictions under each policy, from one pass over the images (two for a lambda per data set).

    With `rounded`, images rounded to 8 bits are predicted, too.

    Raises:
        ModelError: The model does not return one finite logit per class.
    """
    policies = list(policies)
    choices: dict[Policy, _Choice] = {}
    found: dict[Policy, Predictions] = {}
    sums: dict[Policy, float] = {}
    with evaluation_mode(loaded.model), torch.inference_mode():
        for policy in dict.fromkeys(single for each in policies for single in _tried(loaded, each)):
            found[policy], sums[policy] = Predictions(), 0.0
            choices[policy] = _lambda_choice(loaded, policy, stream, found[policy])
        for batch in stream():
            images = batch.images.contiguous(memory_format=memory_format_of(loaded.model))
            for policy, choose in choices.items():
                started = time.perf_counter()
                lam = choose(images)
                tally = found[policy]
                classes = _classes(loaded, images, lam, num_classes, tally)
                tally.classes += classes.tolist()
                tally.right += (classes == batch.labels).tolist()
                if rounded:
                    levels = images.mul(255).round_().div_(255)
                    answers = _classes(loaded, levels, choose(levels), num_classes, tally)
                    tally.rounded += (answers == batch.labels).tolist()
                if lam is not None:
                    sums[policy] += float(torch.as_tensor(lam).mean()) * len(batch.labels)
                    tally.lam = sums[policy] / len(tally.right)
                tally.seconds += time.perf_counter() - started
    for tally in found.values():
        refuse_not_finite(tally.not_finite, len(tally.right) + len(tally.rounded), model=loaded.subject.model)
    return {policy: _joined(policy, [found[it] for it in _tried(loaded, policy)]) for policy in policies}


def _tried(loaded: LoadedModel, policy: Policy) -> list[Policy]:
    """Returns the policies that have to be tried for one."""
    match policy:
        case Oracle():
            return [FixedLambda(lam) for lam in loaded.facts.grid]
        case WorstOf(values=values):
            return [FixedLambda(lam) for lam in values]
        case _:
            return [policy]


def _joined(policy: Policy, tried: Sequence[Predictions]) -> Predictions:
    """Returns what a policy predicts from what was tried for it."""
    best = replace(max(tried, key=lambda each: sum(each.right)), seconds=sum(each.seconds for each in tried))
    if not isinstance(policy, WorstOf):
        return best
    right, rounded = (
        [all(outcomes) for outcomes in zip(*lists, strict=True)]
        for lists in ([each.right for each in tried], [each.rounded for each in tried])
    )
    return replace(best, right=right, rounded=rounded, lam=None)


def _lambda_choice(loaded: LoadedModel, policy: Policy, stream: Stream, tally: Predictions) -> _Choice:
    """Returns the function that gives the lambda of a batch of images; a pass for it counts in the tally's seconds."""
    lam: float | None = None
    match policy:
        case TrainingLambda():
            lam = loaded.facts.lam0
        case FixedLambda(value=value):
            lam = value
        case Adaptive(scope=Scope.DATASET, fit=digest):
            lam = dataset_lambda(loaded.model, loaded.facts.fit_by_digest(digest), _timed_between(stream(), tally))
        case Adaptive(scope=scope, fit=digest):
            return AdaptiveModel(loaded.model, loaded.facts.fit_by_digest(digest), scope).lambda_for
    return lambda images: lam


def _timed_between(batches: Iterator[Batch], tally: Predictions) -> Iterator[Tensor]:
    """Yields the images of batches; the time that their consumer takes, not that of reading them, goes to the tally."""
    for batch in batches:
        started = time.perf_counter()
        yield batch.images
        tally.seconds += time.perf_counter() - started


def _classes(
    loaded: LoadedModel, images: Tensor, lam: Tensor | float | None, num_classes: int, tally: Predictions
) -> Tensor:
    """Returns the predicted classes, and counts those that no finite logits stand behind."""
    output = loaded.model(images) if lam is None else logits_at(loaded.model, images, lam)
    logits = checked_logits(output, len(images), num_classes, model=loaded.subject.model)
    tally.not_finite += count_not_finite(logits)
    return logits.argmax(1)
