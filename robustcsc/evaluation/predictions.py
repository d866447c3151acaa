"""What a model predicts for a stream of images, under several lambda policies in one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustcsc.adaptive.policies import dataset_lambda, per_image
from robustcsc.adaptive.residuals import logits_at
from robustcsc.data import Batch
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.logits import checked_logits, refuse_not_finite
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.policies import Adaptive, Blind, FixedLambda, Oracle, Policy, Scope, TrainingLambda, WorstOf
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
    tallies: dict[Policy, _Tally] = {}
    with evaluation_mode(loaded.model), torch.inference_mode():
        for policy in dict.fromkeys(single for each in policies for single in _tried(loaded, each)):
            tallies[policy] = _Tally()
            choices[policy] = _lambda_choice(loaded, policy, stream, tallies[policy])
        for batch in stream():
            images = batch.images.contiguous(memory_format=memory_format_of(loaded.model))
            for policy, choose in choices.items():
                started = time.perf_counter()
                tally, lam = tallies[policy], choose(images)
                classes, finite = _classes(loaded, images, lam, num_classes)
                tally.add("classes", classes).add("right", classes == batch.labels).add("finite", finite)
                if rounded:
                    levels = images.mul(255).round_().div_(255)
                    answers, finite = _classes(loaded, levels, choose(levels), num_classes)
                    tally.add("rounded", answers == batch.labels).add("finite", finite)
                if lam is not None:
                    tally.add("lam", torch.as_tensor(lam, dtype=torch.float64).expand(len(classes)))
                tally.seconds += time.perf_counter() - started
    found = {policy: tally.read() for policy, tally in tallies.items()}
    for each in found.values():
        refuse_not_finite(each.not_finite, len(each.right) + len(each.rounded), model=loaded.subject.model)
    return {policy: _joined(policy, [found[it] for it in _tried(loaded, policy)]) for policy in policies}


class _Tally:
    """What the batches gave under one policy, on the device: reading it back would wait for each batch.

    Attributes:
        seconds: Time spent on the model.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, name: str, values: Tensor) -> _Tally:
        """Keeps the values of one batch."""
        self._parts.setdefault(name, []).append(values)
        return self

    def read(self) -> Predictions:
        """Reads everything back."""
        started = time.perf_counter()
        whole = {name: torch.cat(parts).tolist() for name, parts in self._parts.items()}
        lams = whole.get("lam", [])
        return Predictions(
            right=whole.get("right", []),
            rounded=whole.get("rounded", []),
            classes=whole.get("classes", []),
            lam=math.fsum(lams) / len(lams) if lams else None,
            seconds=self.seconds + time.perf_counter() - started,
            not_finite=whole.get("finite", []).count(False),
        )


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


def _lambda_choice(loaded: LoadedModel, policy: Policy, stream: Stream, tally: _Tally) -> _Choice:
    """Returns the function that gives the lambda of a batch of images; a pass for it counts in the tally's seconds."""
    lam: float | None = None
    match policy:
        case TrainingLambda():
            lam = loaded.facts.lam0
        case FixedLambda(value=value):
            lam = value
        case Adaptive(scope=Scope.DATASET, fit=digest):
            lam = dataset_lambda(loaded.model, loaded.facts.fit_by_digest(digest), _timed_between(stream(), tally))
        case Adaptive() | Blind():
            return per_image(loaded.model, loaded.facts.fit_by_digest(policy.fit), policy).lambda_for
    return lambda images: lam


def _timed_between(batches: Iterator[Batch], tally: _Tally) -> Iterator[Tensor]:
    """Yields the images of batches; the time that their consumer takes, not that of reading them, goes to the tally."""
    for batch in batches:
        started = time.perf_counter()
        yield batch.images
        tally.seconds += time.perf_counter() - started


def _classes(
    loaded: LoadedModel, images: Tensor, lam: Tensor | float | None, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Returns the predicted classes, and whether finite logits stand behind each."""
    output = loaded.model(images) if lam is None else logits_at(loaded.model, images, lam)
    logits = checked_logits(output, len(images), num_classes, model=loaded.subject.model)
    return logits.argmax(1), logits.isfinite().all(dim=1)
