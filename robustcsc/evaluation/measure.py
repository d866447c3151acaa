"""One cell becomes records: the only place where the answers that reports show are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from robustcsc.attacks.random_noise import CONTROLS
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import AttackError
from robustcsc.evaluation.attacks.crafting import RESISTED, Crafted, best_gradient, check_gradients, smallest_budgets
from robustcsc.evaluation.attacks.victims import Victim, victim_of
from robustcsc.evaluation.fooling.universal import crafted_or_kept
from robustcsc.evaluation.models import LoadedModel, provenance
from robustcsc.evaluation.plan import BatchSize, Cell, counted_size
from robustcsc.evaluation.predictions import Predictions, Source, Stream, predict, predict_as_read
from robustcsc.evaluation.room import Room, room_for
from robustcsc.evaluation.sources import Inputs, added, corrupted_batches, kept, noisy, required, rows_of
from robustcsc.layers.precision import reproducible
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    RandomControl,
    RandomNoise,
    Universal,
)
from robustcsc.measurements.policies import Adaptive, Policy, Scope, batches_of, lambda_of
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import (
    AttackDetails,
    BudgetDetails,
    CraftingDetails,
    GradientChecks,
    Measurement,
    Metric,
    Outcomes,
    Record,
)
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress, silent


@dataclass(eq=False, kw_only=True)
class Evaluator:
    """Measures cells of one model; what cells can share (crafted images, clean predictions) is kept between them.

    Attributes:
        model: The model.
        inputs: The images and all else that is read.
        batch_size: Images at a time; without an attack or a policy that looks at batches at most those of `room_for`.
        remeasure: Whether universal perturbations that are kept are crafted anew.
        progress: Told after each batch; the engine tells it of the whole plan.
        right: Which clean images are classified as labelled, by policy, as far as it is known; the engine tells it what
            the store has.
    """

    model: LoadedModel
    inputs: Inputs
    batch_size: BatchSize = 250
    remeasure: bool = False
    progress: Progress = silent
    right: dict[Policy, Outcomes] = field(default_factory=dict)
    _crafted: dict[tuple[Victim, ThreatModel, int, int], dict[AttackStep, Crafted]] = field(
        default_factory=dict, init=False
    )
    _checks: dict[tuple[Victim, ThreatModel], GradientChecks] = field(default_factory=dict, init=False)
    _clean: dict[Policy, Predictions] = field(default_factory=dict, init=False)

    @reproducible()
    def measure(self, cell: Cell, standing: Outcomes | None = None) -> list[Record]:
        """Returns a record of every measurement of a cell that counts any image.

        Args:
            cell: What to measure.
            standing: The images that earlier attacks of the chain left; all if ``None``.

        Raises:
            RobustCSCError: The model, the images or the files do not suit what is measured.
        """
        return self._room.used(lambda _: self._measured(cell, standing))

    @cached_property
    def _room(self) -> Room:
        """How many images at a time where counts do not depend on it."""
        return room_for(self.model, self.inputs.images, self.batch_size)

    def _measured(self, cell: Cell, standing: Outcomes | None) -> list[Record]:
        match cell.perturbation:
            case Clean():
                found = self._predicted(cell, lambda size, rows: partial(self._clean_images, size, rows=rows))
                return [self._record(*each) for each in found]
            case Corruption() as corruption:
                label = f"{corruption.name} {corruption.severity}"

                def corrupted(size: int, rows: Tensor | None) -> Stream:
                    device = self.model.device
                    batches: Stream = partial(corrupted_batches, self.inputs, corruption, size, device, rows)
                    lambdas = [lambda_of(it.policy) for it in cell.measurements]
                    if Scope.DATASET in {it.scope for it in lambdas if isinstance(it, Adaptive)}:
                        batches = kept(batches)  # read for the lambda and for the predictions
                    return lambda: self._told(batches(), label)

                found = self._predicted(cell, corrupted)
                return [self._record(*each) for each in found]
            case Attack(saved=None) as attack:
                return self._attacked(cell, attack, standing)
            case Attack():
                saved = required(self.inputs.saved, "saved")
                found = self._predicted(cell, partial(partial, saved.stream, self.model.device), rounded=True)
                return [self._record(*each, AttackDetails(rounded_correct=sum(each[1].rounded))) for each in found]
            case MinimalBudget() as search:
                return [self._minimal(cell.measurements[0], search)]
            case Universal() as universal:
                return self._universal(cell, universal)
            case RandomControl(name=name, threat=threat, seed=seed):
                perturbation = CONTROLS[name](self.inputs.images.image_shape, threat, seed)
                return self._fooled(cell, partial(added, perturbation, threat), f"random control, seed {seed}")
            case RandomNoise() as noise:
                return self._fooled(cell, partial(noisy, noise), f"random noise {noise.rho:g}")

    def crafted(self, measurement: Measurement, standing: Outcomes | None = None) -> Crafted:
        """Returns the adversarial images of an attack; those on all images are kept for equal attacks and victims.

        Raises:
            AttackError: What is measured is no attack.
        """
        attack = measurement.perturbation
        if not isinstance(attack, Attack):
            raise AttackError("Only attacks have adversarial images: craft those of a measurement under attack.")
        victim = victim_of(self.model, attack.protocol, measurement.policy, self.inputs.surrogate)
        reading = batches_of(measurement.policy)
        if reading is not None:  # the whole batch is attacked, as its images depend on each other
            standing = None
        crafted = Crafted(
            images=self.inputs.images,
            victim=victim,
            attack=attack,
            batch_size=reading.size if reading else measurement.batch_size or counted_size(self.batch_size),
            rows=reading and rows_of(self.inputs.images.labels, reading),
            standing=None if standing is None else standing.to_list(),
            gradients=partial(best_gradient, victim, attack.threat, self._checked),
        )
        if standing is not None:
            return crafted
        shared = (victim, attack.threat, attack.seed, crafted.batch_size)
        if shared not in self._crafted:
            self._crafted = {shared: {}}  # those of one victim fit into memory
        return self._crafted[shared].setdefault(attack.steps[-1], crafted)

    def _predicted(self, cell: Cell, source: Source, *, rounded: bool = False) -> list[tuple[Measurement, Predictions]]:
        """Returns what is predicted under each policy of the cell."""
        found = self._answers([each.policy for each in cell.measurements], source, self._at_once(cell), rounded)
        return [(each, found[each.policy]) for each in cell.measurements]

    def _answers(
        self, policies: Sequence[Policy], source: Source, size: int, rounded: bool = False
    ) -> dict[Policy, Predictions]:
        labels, classes = (self.inputs.saved or self.inputs.images).labels, len(self.inputs.images.classes)
        return predict_as_read(self.model, policies, source, labels, size=size, num_classes=classes, rounded=rounded)

    def _attacked(self, cell: Cell, attack: Attack, standing: Outcomes | None) -> list[Record]:
        policy, alone = cell.measurements[0].policy, standing is None
        victim = victim_of(self.model, attack.protocol, policy, self.inputs.surrogate)
        scored = victim.weights == self.model.subject.weights and victim.policy == policy and not victim.averaged
        if alone and scored and not attack.steps[-1].kind.wrong_too:
            standing = Outcomes.of(self._right_when_clean(policy, [True] * len(self.inputs.images)))
        crafted = self.crafted(cell.measurements[0], standing)
        stream: Stream = partial(crafted.stream, self.model.device, self.progress)
        records = []
        for measurement, found in self._predicted(cell, lambda size, rows: stream, rounded=alone):
            rounded = found.rounded or found.right
            stood = [one or other for one, other in zip(found.right, rounded, strict=True)]
            if standing is not None:
                stood = standing.to_list()
            elif scored:  # the attack may have put an image right
                stood = self._right_when_clean(policy, stood)
            right, rounded = (
                [before and stands for before, stands in zip(stood, each, strict=True)]
                for each in (found.right, rounded)
            )
            details = AttackDetails(
                cost=crafted.cost,
                rounded_correct=sum(rounded) if alone else None,
                checks=self._gradient_checks(attack, crafted.victim),
            )
            found = replace(found, right=right, seconds=found.seconds + crafted.seconds)
            records.append(self._record(measurement, found, details))
        return records

    def _right_when_clean(self, policy: Policy, among: list[bool]) -> list[bool]:
        """Returns which of some images are classified as labelled when clean; asks the model if that is not known."""
        if policy not in self.right:
            asked = among if batches_of(policy) is None else [True] * len(among)  # a batch is classified together
            images = self.inputs.images.subset(torch.tensor(asked).nonzero().flatten())
            answers = iter(self._answers([policy], self._stream_of(images), self._room.size)[policy].right)
            found = Outcomes.of([chosen and next(answers) for chosen in asked])
            if not all(asked):
                return found.to_list()
            self.right[policy] = found
        return [chosen and right for chosen, right in zip(among, self.right[policy].to_list(), strict=True)]

    def _gradient_checks(self, attack: Attack, victim: Victim) -> GradientChecks | None:
        known = attack.protocol.white_box or attack.protocol is Protocol.STATIC
        if not known or not attack.threat.epsilon:
            return None
        return self._checked(victim, attack.threat)

    def _checked(self, victim: Victim, threat: ThreatModel) -> GradientChecks:
        key = (victim, threat)
        if key not in self._checks:
            self._checks[key] = check_gradients(victim, self.inputs.images, threat, self.model.device)
        return self._checks[key]

    def _minimal(self, measurement: Measurement, search: MinimalBudget) -> Record:
        started = time.perf_counter()
        victim = victim_of(self.model, search.protocol, measurement.policy, self.inputs.surrogate)
        with best_gradient(victim, search.threat, self._checked):
            details = smallest_budgets(
                search,
                victim,
                self.inputs.images,
                batch_size=measurement.batch_size or counted_size(self.batch_size),
                device=self.model.device,
                progress=self.progress,
            )
        resisted = [level == RESISTED for level in details.minimal]
        return self._record(measurement, Predictions(resisted, seconds=time.perf_counter() - started), details)

    def _universal(self, cell: Cell, universal: Universal) -> list[Record]:
        found, file = crafted_or_kept(
            universal,
            victim_of(self.model, universal.protocol, cell.measurements[0].policy, self.inputs.surrogate),
            required(self.inputs.crafting_images, "crafting_images"),
            required(self.inputs.perturbations, "perturbations"),
            precision=self.model.precision,
            device=self.model.device,
            remeasure=self.remeasure,
            progress=self.progress,
        )
        details = CraftingDetails(converged=found.converged, fooled=found.fooled, passes=found.passes, file=file)
        change, label = partial(added, found.values, universal.threat), f"uap {universal.threat.epsilon:g}"
        return self._fooled(cell, change, label, details, found.seconds)

    def _fooled(
        self,
        cell: Cell,
        change: Callable[[Batch], Tensor],
        label: str,
        details: CraftingDetails | None = None,
        seconds: float = 0.0,
    ) -> list[Record]:
        """Returns how many predictions differ from those of the clean images; the first record has the time of all."""
        started, policy = time.perf_counter(), cell.measurements[0].policy
        classes, size = len(self.inputs.images.classes), self._at_once(cell)
        if policy not in self._clean:
            self._clean[policy] = predict(self.model, [policy], partial(self._clean_images, size), classes)[policy]
        stream = partial(self._changed, change, label, size)
        before, after = self._clean[policy], predict(self.model, [policy], stream, classes)[policy]
        seconds += time.perf_counter() - started
        records: list[Record] = []
        for each in cell.measurements:
            pairs = zip(before.classes, after.classes, before.right, strict=True)
            changed = [old != new for old, new, right in pairs if right or each.metric is Metric.FOOLING]
            if changed:
                fooled = replace(after, right=changed, seconds=0.0 if records else seconds)
                records.append(self._record(each, fooled, details))
        return records

    def _record(
        self,
        measurement: Measurement,
        found: Predictions,
        details: AttackDetails | BudgetDetails | CraftingDetails | None = None,
    ) -> Record:
        return Record(
            measurement=measurement,
            met=sum(found.right),
            total=len(found.right),
            lam=None if found.lam is None else round(found.lam, 6),
            outcomes=Outcomes.of(found.right) if measurement.metric is Metric.ACCURACY else None,
            details=details,
            provenance=provenance(self.model, found.seconds, measurement.policy),
            location=self.inputs.location,
        )

    def _at_once(self, cell: Cell) -> int:
        """Returns how many images are corrupted and classified at once: a batch where its size counts, else a slice."""
        return next((it.batch_size for it in cell.measurements if it.batch_size), self._room.size)

    def _clean_images(self, size: int, label: str = "clean", rows: Tensor | None = None) -> Iterator[Batch]:
        return self._told(self.inputs.images.batches(size, order=rows, device=self.model.device), label)

    def _stream_of(self, images: ImageSet) -> Source:
        return lambda size, rows: partial(images.batches, size, order=rows, device=self.model.device)

    def _changed(self, change: Callable[[Batch], Tensor], label: str, size: int) -> Iterator[Batch]:
        for batch in self._clean_images(size, label):
            yield batch._replace(images=change(batch))

    def _told(self, batches: Iterator[Batch], label: str) -> Iterator[Batch]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch.labels)
            self.progress(label, done, len(self.inputs.images))
