"""One cell becomes records: the only place where the answers that reports show are counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from torch import Tensor

from robustcsc.data import Batch, ImageSet
from robustcsc.evaluation.attacks.crafting import Crafted, check_gradients
from robustcsc.evaluation.attacks.minimal import RESISTED, smallest_budgets
from robustcsc.evaluation.attacks.victims import Victim, victim_of
from robustcsc.evaluation.fooling.universal import crafted_or_kept
from robustcsc.evaluation.models import LoadedModel, device_words, versions
from robustcsc.evaluation.plan import Cell
from robustcsc.evaluation.predictions import Predictions, Stream, predict
from robustcsc.evaluation.sources import Inputs, added, control, corrupted_batches, noisy
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    RandomControl,
    RandomNoise,
    Universal,
)
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import (
    AttackDetails,
    CraftingDetails,
    GradientChecks,
    Measurement,
    Metric,
    Outcomes,
    Provenance,
    Record,
)
from robustcsc.progress import Progress, silent


@dataclass(eq=False, kw_only=True)
class Evaluator:
    """Measures cells of one model; what cells can share (crafted images, clean predictions) is kept between them.

    Attributes:
        model: The model.
        inputs: The images and all else that is read.
        batch_size: Images at a time.
        recraft: Whether universal perturbations that are kept are crafted anew.
        progress: Told after each batch.
    """

    model: LoadedModel
    inputs: Inputs
    batch_size: int = 250
    recraft: bool = False
    progress: Progress = silent
    _victim: str = field(default="", init=False)
    _crafted: dict[AttackStep, Crafted] = field(default_factory=dict, init=False)
    _checks: dict[str, GradientChecks] = field(default_factory=dict, init=False)
    _clean: dict[Policy, Predictions] = field(default_factory=dict, init=False)

    def measure(self, cell: Cell, standing: Outcomes | None = None) -> list[Record]:
        """Returns a record of every measurement of a cell that counts any image.

        Args:
            cell: What to measure.
            standing: The images that earlier attacks of the chain left; all if ``None``.

        Raises:
            RobustCSCError: The model, the images or the files do not suit what is measured.
        """
        match cell.perturbation:
            case Clean():
                return self._accuracies(cell, partial(self._batches, self.inputs.images, "clean"))
            case Corruption() as made:
                return self._accuracies(cell, partial(self._corrupted, made))
            case Attack(saved=None) as made:
                return self._attacked(cell, made, standing)
            case Attack():
                assert self.inputs.saved is not None
                size = cell.measurements[0].batch_size or self.batch_size
                stream = partial(self.inputs.saved.stream, size, self.model.device)
                return self._accuracies(cell, stream, rounded=True)
            case MinimalBudget() as made:
                return [self._minimal(cell, made)]
            case Universal() as made:
                return self._universal(cell, made)
            case RandomControl() as made:
                change = partial(added, control(made, self.inputs.images.image_shape), made.threat)
                return self._fooled(cell, partial(self._changed, change, f"random control, seed {made.seed}"))
            case RandomNoise() as made:
                return self._fooled(cell, partial(self._changed, partial(noisy, made), f"random noise {made.rho:g}"))

    def crafted(self, measurement: Measurement, standing: Outcomes | None = None) -> Crafted:
        """Returns the adversarial images of an attack; those on all images are kept for equal attacks and victims."""
        attack = measurement.perturbation
        assert isinstance(attack, Attack)
        victim = self._victim_of(attack.protocol, measurement.policy)
        made = Crafted(
            images=self.inputs.images,
            victim=victim,
            step=attack.steps[-1],
            threat=attack.threat,
            seed=attack.seed,
            batch_size=measurement.batch_size or self.batch_size,
            standing=None if standing is None else standing.to_list(),
        )
        if standing is not None:
            return made
        shared = f"{victim.name} {attack.threat} {attack.seed} {made.batch_size}"
        if self._victim != shared:
            self._victim, self._crafted = shared, {}
        return self._crafted.setdefault(made.step, made)

    def _victim_of(self, protocol: Protocol, policy: Policy) -> Victim:
        return victim_of(self.model, protocol, policy, self.inputs.surrogate)

    def _accuracies(self, cell: Cell, stream: Stream, *, rounded: bool = False) -> list[Record]:
        """Returns how many images are classified as labelled under each policy of the cell."""
        policies = [each.policy for each in cell.measurements]
        found = predict(self.model, policies, stream, len(self.inputs.images.classes), rounded=rounded)
        records = []
        for each in cell.measurements:
            seen = found[each.policy]
            details = AttackDetails(rounded_correct=sum(seen.rounded)) if rounded else None
            record = self._record(each, seen.right, seen, seen.seconds)
            records.append(replace(record, outcomes=Outcomes.of(seen.right), details=details))
        return records

    def _attacked(self, cell: Cell, attack: Attack, standing: Outcomes | None) -> list[Record]:
        made = self.crafted(cell.measurements[0], standing)
        stream = partial(made.stream, self.model.device, self.progress)
        records = []
        for record in self._accuracies(cell, stream, rounded=standing is None):
            outcomes, details = record.outcomes, record.details
            assert outcomes is not None
            if standing is not None:
                pairs = zip(standing.to_list(), outcomes.to_list(), strict=True)
                outcomes = Outcomes.of([before and now for before, now in pairs])
            details = AttackDetails(
                cost=made.cost,
                rounded_correct=details.rounded_correct if isinstance(details, AttackDetails) else None,
                checks=self._gradient_checks(attack, made.victim),
            )
            seconds = round(record.provenance.seconds + made.seconds, 3)
            records.append(
                replace(
                    record,
                    correct=outcomes.bits.bit_count(),
                    outcomes=outcomes,
                    details=details,
                    provenance=replace(record.provenance, seconds=seconds),
                )
            )
        return records

    def _gradient_checks(self, attack: Attack, victim: Victim) -> GradientChecks | None:
        known = attack.protocol.white_box or attack.protocol is Protocol.STATIC
        if not known or not attack.threat.epsilon:
            return None
        key = f"{victim.name} {attack.threat}"
        if key not in self._checks:
            self._checks[key] = check_gradients(victim, self.inputs.images, attack.threat, self.model.device)
        return self._checks[key]

    def _minimal(self, cell: Cell, search: MinimalBudget) -> Record:
        started, (measurement,) = time.perf_counter(), cell.measurements
        details = smallest_budgets(
            search,
            self._victim_of(search.protocol, measurement.policy),
            self.inputs.images,
            batch_size=measurement.batch_size or self.batch_size,
            device=self.model.device,
            progress=self.progress,
        )
        resisted = [level == RESISTED for level in details.minimal]
        record = self._record(measurement, resisted, None, time.perf_counter() - started)
        return replace(record, outcomes=Outcomes.of(resisted), details=details)

    def _universal(self, cell: Cell, made: Universal) -> list[Record]:
        assert self.inputs.crafting_images is not None and self.inputs.perturbations is not None
        policy = cell.measurements[0].policy
        found, file = crafted_or_kept(
            made,
            policy,
            self.model,
            self._victim_of(made.protocol, policy),
            self.inputs.crafting_images,
            self.inputs.perturbations,
            again=self.recraft,
            progress=self.progress,
        )
        details = CraftingDetails(converged=found.converged, fooled=found.fooled, passes=found.passes, file=file)
        change = partial(added, found.values, made.threat)
        records = self._fooled(cell, partial(self._changed, change, f"uap {made.threat.epsilon:g}"), found.seconds)
        return [replace(record, details=details) for record in records]

    def _fooled(self, cell: Cell, stream: Stream, seconds: float = 0.0) -> list[Record]:
        """Returns how many predictions differ from those of the clean images; the first record has the time of all."""
        started, policy = time.perf_counter(), cell.measurements[0].policy
        classes = len(self.inputs.images.classes)
        if policy not in self._clean:
            clean = partial(self._batches, self.inputs.images, "clean")
            self._clean[policy] = predict(self.model, [policy], clean, classes)[policy]
        before, after = self._clean[policy], predict(self.model, [policy], stream, classes)[policy]
        seconds += time.perf_counter() - started
        records: list[Record] = []
        for each in cell.measurements:
            pairs = zip(before.classes, after.classes, before.right, strict=True)
            changed = [old != new for old, new, right in pairs if right or each.metric is Metric.FOOLING]
            if changed:
                records.append(self._record(each, changed, after, 0.0 if records else seconds))
        return records

    def _record(
        self, measurement: Measurement, met: Sequence[bool], seen: Predictions | None, seconds: float
    ) -> Record:
        lam = None if seen is None or seen.lam is None else round(seen.lam, 6)
        return Record(
            measurement=measurement,
            correct=sum(met),
            total=len(met),
            lam=lam,
            provenance=Provenance(
                device=device_words(self.model.device),
                versions=versions(),
                seconds=round(seconds, 3),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
            location=self.inputs.location,
        )

    def _batches(self, images: ImageSet, label: str) -> Iterator[Batch]:
        return self._told(images.batches(self.batch_size, device=self.model.device), label)

    def _corrupted(self, made: Corruption) -> Iterator[Batch]:
        batches = corrupted_batches(self.inputs, made, self.batch_size, self.model.device)
        return self._told(batches, f"{made.name} {made.severity}")

    def _changed(self, change: partial[Tensor], label: str) -> Iterator[Batch]:
        for batch in self._batches(self.inputs.images, label):
            yield batch._replace(images=change(batch))

    def _told(self, batches: Iterator[Batch], label: str) -> Iterator[Batch]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch.labels)
            self.progress(label, done, len(self.inputs.images))
