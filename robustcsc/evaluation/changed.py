"""Counting the predictions that a change of the images changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from torch import Tensor

from robustcsc.adaptive.residuals import logits_at
from robustcsc.data import Batch, ImageSet
from robustcsc.evaluation.cells import check_logits, lambda_choice, with_policy
from robustcsc.evaluation.subject import Subject, device_words, versions_words
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.statistics import fooling_counts
from robustcsc.progress import Progress
from robustcsc.records import FOOLING, FOOLING_OF_CORRECT, Condition, Record
from robustcsc.store import ResultStore

METRICS = (FOOLING, FOOLING_OF_CORRECT)


class Made(NamedTuple):
    """What is done to the images, and how that came about.

    Attributes:
        change: Clean images to changed ones, in [0, 1].
        details: For the records.
        seconds: Time spent on making the change.
    """

    change: Callable[[Batch], Tensor]
    details: str = ""
    seconds: float = 0.0


class Scorer:
    """Counts the changed predictions of one model for one set of images, under any lambda policy."""

    def __init__(
        self,
        subject: Subject,
        images: ImageSet,
        store: ResultStore,
        batch_size: int,
        remeasure: bool,
        progress: Progress,
    ) -> None:
        self._subject, self._images, self._store = subject, images, store
        self._batch_size, self._remeasure, self._progress = batch_size, remeasure, progress
        self._clean: dict[str, list[int]] = {}
        self._labels: list[int] = []

    def measure(self, cell: Condition, policy: str, make: Callable[[], Made]) -> list[Record]:
        """Returns one record per metric that counts any image, measured and stored unless the store has them.

        Args:
            cell: What is measured, without policy and metric.
            policy: The lambda policy, for the changed and for the clean images.
            make: Returns what is done to the images; called only if something has to be measured.
        """
        cell = with_policy(self._subject, cell, policy, self._batch_size)
        conditions = [replace(cell, metric=metric) for metric in METRICS]
        if self._remeasure or self._store.get(conditions[0]) is None:
            # The first metric always counts images and is stored last: where it is, the other is too.
            for record in reversed(self._count(conditions, make())):
                self._store.add(record, replace=self._remeasure)
        found = (self._store.get(condition) for condition in conditions)
        return [record for record in found if record is not None]

    def _count(self, conditions: Sequence[Condition], made: Made) -> list[Record]:
        """Measures conditions that differ in their metric; the time of all stands in the first record."""
        started = time.perf_counter()
        cell = conditions[0]
        if cell.policy not in self._clean:
            self._clean[cell.policy], _ = self._predict(cell, lambda batch: batch.images, "clean")
        changed, lam = self._predict(cell, made.change, f"{cell.kind} {cell.epsilon:g}")
        seconds = made.seconds + time.perf_counter() - started
        records: list[Record] = []
        for condition in conditions:
            labels = self._labels if condition.metric == FOOLING_OF_CORRECT else None
            fooled, counted = fooling_counts(self._clean[cell.policy], changed, labels)
            if counted:
                records.append(
                    Record(
                        condition=condition,
                        correct=fooled,
                        total=counted,
                        lam=lam,
                        device=device_words(self._subject.device),
                        versions=versions_words(),
                        seconds=0.0 if records else round(seconds, 3),
                        created=datetime.now(UTC).isoformat(timespec="seconds"),
                        details=made.details,
                    )
                )
        return records

    def _predict(
        self, cell: Condition, change: Callable[[Batch], Tensor], label: str
    ) -> tuple[list[int], float | None]:
        """Returns the predicted classes under the policy of `cell`, and the mean lambda."""
        subject, predicted, labels, lambdas = self._subject, list[int](), list[int](), 0.0

        def stream() -> Iterator[Batch]:
            for batch in self._images.batches(self._batch_size, device=subject.device):
                yield batch._replace(images=change(batch))

        with evaluation_mode(subject.model), torch.inference_mode():
            choose = lambda_choice(subject, cell.policy, cell, stream)
            for batch in stream():
                images = batch.images.contiguous(memory_format=torch.channels_last)
                lam = choose(images)
                logits = subject.model(images) if lam is None else logits_at(subject.model, images, lam)
                check_logits(subject, logits, len(images), len(self._images.classes))
                predicted += logits.argmax(1).tolist()
                labels += batch.labels.tolist()
                lambdas += 0.0 if lam is None else float(torch.as_tensor(lam).mean()) * len(images)
                self._progress(label, len(predicted), len(self._images))
        self._labels = labels
        return predicted, None if cell.policy == "none" else round(lambdas / max(1, len(labels)), 6)
