"""What a model predicts for a stream of images, under several lambda policies in one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain

import torch
from torch import Tensor

from robustcsc.adaptive.policies import image_residuals, lambda_at, per_image
from robustcsc.adaptive.residuals import Lambda, logits_at
from robustcsc.data import Batch, ImageSet
from robustcsc.data.images import order_of_rows
from robustcsc.evaluation.attacks.saved import AdversarialFile
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import rows_of
from robustcsc.layers.logits import checked_logits, refuse_not_finite
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.policies import (
    Adaptive,
    Blind,
    FixedLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
    batches_of,
    lambda_of,
    with_lambda,
)
from robustcsc.models.guests import memory_format_of

#: Starts a new pass over perturbed images.
Stream = Callable[[], Iterator[Batch]]
#: Makes a stream of the number of images at a time, and of the rows in their order, `None` for all as they are.
Source = Callable[[int, Tensor | None], Stream]

_Choice = Callable[[Tensor], Lambda | None]


@dataclass
class Predictions:
    """What was predicted under one policy.

    Attributes:
        right: Whether each image was classified as labelled.
        rounded: The same after rounding the images to 8 bits; empty if nobody asked.
        classes: The predicted class of each image.
        lams: The lambda of each image, the mean over layers; empty without one.
        seconds: Time spent on the model.
        not_finite: Number of answers with a logit that is infinite or not a number.
    """

    right: list[bool] = field(default_factory=list)
    rounded: list[bool] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    lams: list[float] = field(default_factory=list)
    seconds: float = 0.0
    not_finite: int = 0

    @property
    def lam(self) -> float | None:
        """The mean of the lambdas, whose grouping changes no bit of it; ``None`` without one."""
        return math.fsum(self.lams) / len(self.lams) if self.lams else None

    def __add__(self, other: Predictions) -> Predictions:
        """Returns what was predicted for some images and then for others."""
        return Predictions(*(getattr(self, it.name) + getattr(other, it.name) for it in fields(self)))


def predict_as_read(
    loaded: LoadedModel,
    policies: Iterable[Policy],
    source: Source,
    images: ImageSet | AdversarialFile,
    *,
    size: int,
    num_classes: int,
    rounded: bool = False,
) -> dict[Policy, Predictions]:
    """Returns the predictions under each policy, from one pass for all that read the images in the same batches.

    Args:
        loaded: The model.
        policies: The policies.
        source: The images.
        images: What says the label and the position of every row.
        size: Images at a time for a policy that does not say it.
        num_classes: As for `predict`.
        rounded: As for `predict`.

    Raises:
        ModelError: As for `predict`.
    """
    found: dict[Policy, Predictions] = {}
    readings = {policy: batches_of(policy) for policy in policies}
    for reading in dict.fromkeys(readings.values()):
        alike = [policy for policy, its in readings.items() if its == reading]
        rows = reading and rows_of(images.labels, reading)
        stream = source(reading.size if reading else size, rows)
        positions = None if rows is None else images.positions
        found |= predict(loaded, alike, stream, num_classes, positions=positions, rounded=rounded)
    return found


def predict(
    loaded: LoadedModel,
    policies: Iterable[Policy],
    stream: Stream,
    num_classes: int,
    *,
    positions: Tensor | None = None,
    rounded: bool = False,
) -> dict[Policy, Predictions]:
    """Returns the predictions under each policy, from one pass over the images (two for a lambda per data set).

    Args:
        loaded: The model.
        policies: The policies; those that adapt to batches see those of the stream.
        stream: The images.
        num_classes: How many classes they have.
        positions: The position of every row, if images do not come in the order of the rows; predictions are in it.
        rounded: Whether to predict images rounded to 8 bits, too.

    Raises:
        ModelError: The model does not return one finite logit per class.
    """
    singles = {policy: tried(loaded.facts.grid, policy) for policy in policies}
    answers: dict[Policy, tuple[_Answers, ...]] = {}
    tallies: dict[Policy, _Tally] = {}
    came: list[Tensor] = []
    with evaluation_mode(loaded.model), torch.inference_mode():
        for policy in dict.fromkeys(chain.from_iterable(singles.values())):
            tallies[policy] = _Tally()
            choose = _lambda_choice(loaded, policy, stream, tallies[policy])
            answers[policy] = tuple(_Answers(loaded, policy, choose, num_classes) for _ in range(1 + rounded))
        for batch in stream():
            came.append(batch.indices)
            images = batch.images.contiguous(memory_format=memory_format_of(loaded.model))
            for policy, (asked, *asked_rounded) in answers.items():
                started = time.perf_counter()
                tally = tallies[policy]
                classes, finite = asked(images)
                tally.add("classes", classes).add("right", classes == batch.labels).add("finite", finite)
                for again in asked_rounded:
                    levels, finite = again(images.mul(255).round_().div_(255))
                    tally.add("rounded", levels == batch.labels).add("finite", finite)
                if asked.lam is not None:
                    tally.add("lam", _mean(asked.lam).expand(len(classes)))
                tally.seconds += time.perf_counter() - started
    order = None if positions is None else order_of_rows(torch.cat(came).cpu(), positions)
    found = {policy: tally.read(order) for policy, tally in tallies.items()}
    for each in found.values():
        refuse_not_finite(each.not_finite, len(each.right) + len(each.rounded), model=loaded.subject.model)
    return {policy: best_of(policy, [found[it] for it in its]) for policy, its in singles.items()}


class _Answers:
    """What a model says of the batches of one stream under a policy.

    Attributes:
        lam: The lambda of the last batch; ``None`` without one.
    """

    lam: Lambda | None

    def __init__(self, loaded: LoadedModel, policy: Policy, choose: _Choice, num_classes: int) -> None:
        self._loaded, self._choose, self._num_classes = loaded, choose, num_classes
        self._adapter = loaded.adapter(policy)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the predicted classes of a batch, and whether finite logits stand behind each."""
        output = self._adapter(self._logits, images)
        logits = checked_logits(output, len(images), self._num_classes, model=self._loaded.subject.model)
        return logits.argmax(1), logits.isfinite().all(dim=1)

    def _logits(self, images: Tensor) -> Tensor:
        self.lam = lam = self._choose(images)
        logits: Tensor = self._loaded.model(images) if lam is None else logits_at(self._loaded.model, images, lam)
        return logits


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

    def read(self, order: Tensor | None) -> Predictions:
        """Reads everything back, in an order of the images, that in which they came if ``None``."""
        started = time.perf_counter()
        parts = {name: torch.cat(its) for name, its in self._parts.items()}
        if order is not None:
            order = order.to(parts["classes"].device)
            parts |= {name: parts[name][order] for name in ("classes", "right", "rounded") if name in parts}
        whole = {name: it.tolist() for name, it in parts.items()}
        return Predictions(
            right=whole.get("right", []),
            rounded=whole.get("rounded", []),
            classes=whole.get("classes", []),
            lams=whole.get("lam", []),
            seconds=self.seconds + time.perf_counter() - started,
            not_finite=whole.get("finite", []).count(False),
        )


def tried(grid: Sequence[float], policy: Policy) -> list[Policy]:
    """Returns the policies that have to be tried for one, an oracle over a grid for example."""
    match lambda_of(policy):
        case Oracle():
            return [with_lambda(policy, FixedLambda(lam)) for lam in grid]
        case WorstOf(values=values):
            return [with_lambda(policy, FixedLambda(lam)) for lam in values]
        case _:
            return [policy]


def best_of(policy: Policy, found: Sequence[Predictions]) -> Predictions:
    """Returns what a policy predicts, from what was predicted under those that were `tried` for it."""
    best = replace(max(found, key=lambda each: sum(each.right)), seconds=sum(each.seconds for each in found))
    if not isinstance(lambda_of(policy), WorstOf):
        return best
    right, rounded = (
        [all(outcomes) for outcomes in zip(*lists, strict=True)]
        for lists in ([each.right for each in found], [each.rounded for each in found])
    )
    return replace(best, right=right, rounded=rounded, lams=[])


def _lambda_choice(loaded: LoadedModel, policy: Policy, stream: Stream, tally: _Tally) -> _Choice:
    """Returns the function that gives the lambda of a batch of images; a pass for it counts in the tally's seconds."""
    lam: Lambda | None = None
    match lambda_of(policy):
        case TrainingLambda():
            lam = loaded.facts.lam0
        case FixedLambda(value=value):
            lam = value
        case Adaptive(scope=Scope.DATASET, fit=digest):
            images = _timed_between(stream(), tally)
            lam = lambda_at(loaded.facts.fit_by_digest(digest), _residuals(loaded, policy, images))
        case (Adaptive() | Blind()) as chosen:
            return per_image(loaded.model, loaded.facts.fit_by_digest(chosen.fit), chosen).lambda_for
    return lambda images: lam


def residuals_of(loaded: LoadedModel, policy: Policy, stream: Stream) -> tuple[tuple[float, ...], float]:
    """Returns the residuals that a policy chooses lambda by, one for each image, and the seconds that they took."""
    tally = _Tally()
    with evaluation_mode(loaded.model), torch.inference_mode():
        found = _residuals(loaded, policy, _timed_between(stream(), tally))
    return tuple(found), tally.seconds


def _residuals(loaded: LoadedModel, policy: Policy, images: Iterator[Tensor]) -> list[float]:
    chosen, adapter = lambda_of(policy), loaded.adapter(policy)
    assert isinstance(chosen, Adaptive)
    with adapter.looking():
        fit = loaded.facts.fit_by_digest(chosen.fit)
        return image_residuals(loaded.model, fit, map(adapter.shown, images))


def _timed_between(batches: Iterator[Batch], tally: _Tally) -> Iterator[Tensor]:
    """Yields the images of batches; the time that their consumer takes, not that of reading them, goes to the tally."""
    for batch in batches:
        started = time.perf_counter()
        yield batch.images
        tally.seconds += time.perf_counter() - started


def _mean(lam: Lambda) -> Tensor:
    """Returns the mean over the layers, 0-d or ``(N,)``, of what may be one lambda of all of them."""
    if isinstance(lam, tuple):
        return torch.stack([_mean(each) for each in lam]).mean(0)
    return torch.as_tensor(lam, dtype=torch.float64).detach()
