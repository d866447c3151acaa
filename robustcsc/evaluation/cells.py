"""One cell of a table: some images, measured under several lambda policies at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import torch
from torch import Tensor

from robustcsc.adaptive.policies import AdaptiveLambda, Scope, dataset_lambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.data import Batch
from robustcsc.errors import RobustCSCError
from robustcsc.evaluation.subject import FITTED, Subject, device_words, fixed_lambda, versions_words, worst_lambdas
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Condition, Record, packed
from robustcsc.store import ResultStore

#: Starts a new pass over the (perturbed) images of a cell.
Stream = Callable[[], Iterator[Batch]]


def measure_cell(
    subject: Subject,
    cell: Condition,
    policies: Sequence[str],
    stream: Stream,
    store: ResultStore,
    *,
    num_classes: int,
    batch_size: int,
    remeasure: bool = False,
    complete: Callable[[Record], Record] = lambda record: record,
) -> list[Record]:
    """Returns one record per policy, measuring those that the store does not have yet, and stores them.

    Args:
        subject: The model.
        cell: What is measured; its policy and fit are filled in here.
        policies: As `Subject.policies` returns them.
        stream: The images of the cell; called once per pass over them.
        store: Where records are kept.
        num_classes: Number of classes of the images.
        batch_size: Images at a time in `stream`.
        remeasure: Whether to measure again what the store has.
        complete: Adds to a measured record what only the caller knows, before it is stored.

    Raises:
        RobustCSCError: If the model does not return one logit per class.
    """
    conditions = [with_policy(subject, cell, policy, batch_size) for policy in policies]
    stored = {} if remeasure else {condition.key: store.get(condition) for condition in conditions}
    missing = [condition for condition in conditions if stored.get(condition.key) is None]
    if missing:
        for measured in _measure(subject, missing, stream, num_classes):
            store.add(complete(measured), replace=remeasure)
    return [record for condition in conditions if (record := store.get(condition)) is not None]


@dataclass
class _Tally:
    right: list[bool] = field(default_factory=list)
    rounded: list[bool] = field(default_factory=list)  # of adversarial images, after rounding to 8 bits
    lam: float = 0.0
    seconds: float = 0.0


def _measure(subject: Subject, conditions: Sequence[Condition], stream: Stream, num_classes: int) -> list[Record]:
    """Counts correct images under every condition in one pass (two for lambda per data set)."""
    attacked = conditions[0].kind == "attack"
    with evaluation_mode(subject.model), torch.inference_mode():
        choices: dict[str, Callable[[Tensor], Tensor | float | None]] = {}
        tallies: dict[str, _Tally] = {}
        for condition in conditions:
            started = time.perf_counter()
            for name in _tried(subject, condition.policy):
                if name not in choices:
                    choices[name] = lambda_choice(subject, name, condition, stream)
                    tallies[name] = _Tally(seconds=time.perf_counter() - started)
        for batch in stream():
            images = batch.images.contiguous(memory_format=torch.channels_last)
            for name, choose in choices.items():
                started = time.perf_counter()
                lam = choose(images)
                logits = subject.model(images) if lam is None else logits_at(subject.model, images, lam)
                check_logits(subject, logits, len(images), num_classes)
                tally = tallies[name]
                tally.right += (logits.argmax(1) == batch.labels).tolist()
                if attacked:
                    tally.rounded += (_rounded_logits(subject, images, choose).argmax(1) == batch.labels).tolist()
                if lam is not None:
                    tally.lam += float(torch.as_tensor(lam).mean()) * len(batch.labels)
                tally.seconds += time.perf_counter() - started
    return [_record(subject, condition, tallies) for condition in conditions]


def lambda_choice(
    subject: Subject, policy: str, condition: Condition, stream: Stream
) -> Callable[[Tensor], Tensor | float | None]:
    """Returns the function that gives the lambda of a batch of images."""
    lam = fixed_lambda(policy)
    if policy == "none":
        return lambda images: None
    if policy == "train":
        lam = subject.lam0
    elif policy in ("adaptive-batch", "adaptive-image"):
        scope: Scope = "batch" if policy == "adaptive-batch" else "image"
        return AdaptiveLambda(subject.model, _fit(subject, condition), scope).lambda_for
    elif policy == "adaptive":
        lam = dataset_lambda(subject.model, _fit(subject, condition), (batch.images for batch in stream()))
    return lambda images: lam


def _rounded_logits(subject: Subject, images: Tensor, choose: Callable[[Tensor], Tensor | float | None]) -> Tensor:
    """Returns the logits of images after rounding to 8 bits, under the same policy."""
    rounded = images.mul(255).round_().div_(255)
    lam = choose(rounded)
    logits: Tensor = subject.model(rounded) if lam is None else logits_at(subject.model, rounded, lam)
    return logits


def _tried(subject: Subject, policy: str) -> list[str]:
    """Returns the policies that have to be tried for one."""
    lambdas = subject.grid if policy == "oracle" else worst_lambdas(policy)
    return [f"fixed={lam:g}" for lam in lambdas] if lambdas else [policy]


def _record(subject: Subject, condition: Condition, tallies: dict[str, _Tally]) -> Record:
    tried = [tallies[name] for name in _tried(subject, condition.policy)]
    tally = replace(max(tried, key=lambda each: sum(each.right)), seconds=sum(each.seconds for each in tried))
    several = worst_lambdas(condition.policy)
    if several:
        tally.right = [all(outcomes) for outcomes in zip(*(each.right for each in tried), strict=True)]
        tally.rounded = [all(outcomes) for outcomes in zip(*(each.rounded for each in tried), strict=True)]
    details = {"rounded_correct": sum(tally.rounded)} if condition.kind == "attack" else {}
    total = len(tally.right)
    return Record(
        condition=condition,
        correct=sum(tally.right),
        total=total,
        lam=None if condition.policy == "none" or several else round(tally.lam / max(1, total), 6),
        device=device_words(subject.device),
        versions=versions_words(),
        seconds=round(tally.seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        details=json.dumps(details) if details else "",
        outcomes=packed(tally.right),
    )


def _fit(subject: Subject, condition: Condition) -> LambdaFit:
    return subject.fit_for(condition.name if condition.kind == "corruption" else None)


def check_logits(subject: Subject, logits: object, count: int, num_classes: int) -> None:
    """Refuses a model that was made for other classes: its accuracy would be a wrong number without a word."""
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (count, num_classes):
        raise RobustCSCError(
            f"{subject.model_name} returned {shape} for {count} images of {num_classes} classes: "
            "a model must return one logit per class."
        )


def with_policy(subject: Subject, cell: Condition, policy: str, batch_size: int) -> Condition:
    """Returns the condition of `cell` under a policy, with its fit, and the batch size where lambda depends on it."""
    if policy not in FITTED:
        return replace(cell, policy=policy)
    size = batch_size if policy == "adaptive-batch" else cell.batch_size
    return replace(cell, policy=policy, fit=_fit(subject, cell).digest, batch_size=size)
