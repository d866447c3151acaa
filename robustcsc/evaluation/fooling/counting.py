"""How many predictions a perturbation changes, against those for the clean images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from robustcsc.attacks.random_noise import CONTROLS
from robustcsc.data import Batch
from robustcsc.errors import AttackError
from robustcsc.evaluation.attacks.victims import victim_of
from robustcsc.evaluation.counting import record_of
from robustcsc.evaluation.fooling.universal import crafted_or_kept
from robustcsc.evaluation.models import LoadedModel, provenance
from robustcsc.evaluation.plan import Cell
from robustcsc.evaluation.predictions import Predictions, predict
from robustcsc.evaluation.sources import Inputs, added, noisy, required, told
from robustcsc.measurements.perturbations import RandomControl, RandomNoise, Universal
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.records import CraftingDetails, Metric, Record
from robustcsc.progress import Progress


@dataclass(eq=False, kw_only=True)
class Fooling:
    """Counts changed predictions of one model.

    Attributes:
        model: The model.
        inputs: The images and all else that is read.
        remeasure: Whether universal perturbations that are kept are crafted anew.
    """

    model: LoadedModel
    inputs: Inputs
    remeasure: bool
    _clean: dict[Policy, Predictions] = field(default_factory=dict, init=False)

    def records(self, cell: Cell, size: int, progress: Progress) -> list[Record]:
        """Returns the records of a cell, whose images are classified `size` at a time.

        The first record has the time of all. A metric that counts no image has none.

        Raises:
            AttackError: What is measured changes no predictions.
        """
        details: CraftingDetails | None = None
        seconds = 0.0
        match cell.perturbation:
            case Universal(threat=threat) as universal:
                found, file = crafted_or_kept(
                    universal,
                    victim_of(self.model, universal.protocol, cell.measurements[0].policy, self.inputs.surrogate),
                    required(self.inputs.crafting_images, "crafting_images"),
                    required(self.inputs.perturbations, "perturbations"),
                    precision=self.model.precision,
                    device=self.model.device,
                    remeasure=self.remeasure,
                    progress=progress,
                )
                details = CraftingDetails(
                    converged=found.converged, fooled=found.fooled, passes=found.passes, file=file
                )
                change, label, seconds = partial(added, found.values, threat), f"uap {threat.epsilon:g}", found.seconds
            case RandomControl(name=name, threat=threat, seed=seed):
                values = CONTROLS[name](self.inputs.images.image_shape, threat, seed)
                change, label = partial(added, values, threat), f"random control, seed {seed}"
            case RandomNoise() as noise:
                change, label = partial(noisy, noise), f"random noise {noise.rho:g}"
            case other:
                raise AttackError(f"{type(other).__name__} has no fooling rate: measure its accuracy.")
        started, policy = time.perf_counter(), cell.measurements[0].policy
        if policy not in self._clean:
            self._clean[policy] = self._predicted(policy, size, progress, "clean", lambda batch: batch.images)
        before, after = self._clean[policy], self._predicted(policy, size, progress, label, change)
        seconds += time.perf_counter() - started
        records: list[Record] = []
        for each in cell.measurements:
            pairs = zip(before.classes, after.classes, before.right, strict=True)
            changed = [old != new for old, new, right in pairs if right or each.metric is Metric.FOOLING]
            if changed:
                fooled = replace(after, right=changed)
                how = provenance(self.model, 0.0 if records else seconds, policy)
                records.append(record_of(each, fooled, how, self.inputs.location, details))
        return records

    def _predicted(
        self, policy: Policy, size: int, progress: Progress, label: str, change: Callable[[Batch], Tensor]
    ) -> Predictions:
        images = self.inputs.images

        def changed() -> Iterator[Batch]:
            batches = images.batches(size, device=self.model.device)
            for batch in told(batches, label, len(images), progress):
                yield batch._replace(images=change(batch))

        return predict(self.model, [policy], changed, len(images.classes))[policy]
