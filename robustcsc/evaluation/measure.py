"""One job becomes records: what is done to images, and what a model says of them."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from robustcsc.data import ImageSet
from robustcsc.errors import AttackError
from robustcsc.evaluation.attacks.crafting import RESISTED, Crafted, best_gradient, check_gradients, smallest_budgets
from robustcsc.evaluation.attacks.victims import Victim, victim_of
from robustcsc.evaluation.counting import Details, record_of
from robustcsc.evaluation.fooling.counting import Fooling
from robustcsc.evaluation.jobs import Answer, Job, Part
from robustcsc.evaluation.models import LoadedModel, provenance
from robustcsc.evaluation.plan import BatchSize, Cell, Chain, counted_size
from robustcsc.evaluation.predictions import (
    Predictions,
    Source,
    Stream,
    predict,
    predict_as_read,
    residuals_of,
    tried,
)
from robustcsc.evaluation.room import Room, room_for
from robustcsc.evaluation.sources import Inputs, corrupted_batches, kept, required, rows_of, told
from robustcsc.layers.precision import reproducible
from robustcsc.measurements.adaptations import Reading
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, MinimalBudget, Universal
from robustcsc.measurements.policies import Policy, batches_of, by_data_set
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import (
    AttackDetails,
    GradientChecks,
    Measurement,
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
    _crafted: dict[tuple[Victim, ThreatModel, int, int, Reading | None], dict[AttackStep, Crafted]] = field(
        default_factory=dict, init=False
    )
    _checks: dict[tuple[Victim, ThreatModel], GradientChecks] = field(default_factory=dict, init=False)

    @reproducible()
    def measure(self, job: Job) -> Answer:
        """Returns what comes of a job.

        Raises:
            RobustCSCError: The model, the images or the files do not suit what is measured.
        """
        self.right |= job.right
        records: list[Record] = []
        parts: dict[Policy, Part] = {}
        for cell in job.cells:
            if job.rows is None:
                records += self._room.used(partial(self._measured, cell, job.standing))
            else:
                parts |= self._room.used(partial(self._shard, cell, torch.arange(job.rows.start, job.rows.stop)))
        return Answer(
            records=tuple(records),
            parts=parts,
            unreadable=tuple(dict.fromkeys([*self.inputs.images.unreadable, *self.inputs.unreadable])),
        )

    def __reduce__(self) -> tuple[partial[Evaluator], tuple[()]]:
        """Leaves what is kept, and whoever is told of progress, behind."""
        made = partial(
            Evaluator, model=self.model, inputs=self.inputs, batch_size=self.batch_size, remeasure=self.remeasure
        )
        return made, ()

    @cached_property
    def _fooling(self) -> Fooling:
        """What counts changed predictions, and keeps those for the clean images."""
        return Fooling(model=self.model, inputs=self.inputs, remeasure=self.remeasure)

    @property
    def step(self) -> int:
        """How many images are corrupted and classified at once where counts do not depend on it."""
        return self._room.size

    @cached_property
    def _room(self) -> Room:
        """How many images at a time where counts do not depend on it."""
        return room_for(self.model, self.inputs.images, self.batch_size)

    def _measured(self, cell: Cell, standing: Outcomes | None, _: int) -> list[Record]:
        match cell.perturbation:
            case Clean() | Corruption():
                return [self._record(*each) for each in self._predicted(cell, self._source(cell))]
            case Attack(saved=None) as attack:
                return self._attacked(cell, attack, standing)
            case Attack():
                saved = required(self.inputs.saved, "saved")
                found = self._predicted(cell, partial(partial, saved.stream, self.model.device), rounded=True)
                return [self._record(*each, AttackDetails(rounded_correct=sum(each[1].rounded))) for each in found]
            case MinimalBudget() as search:
                return [self._minimal(cell.measurements[0], search)]
            case _:
                return self._fooling.records(cell, self._at_once(cell), self.progress)

    def _source(self, cell: Cell) -> Source:
        """Returns the images of a cell, clean or corrupted."""
        images, device, corruption = self.inputs.images, self.model.device, cell.perturbation

        def source(size: int, rows: Tensor | None) -> Stream:
            label, count = "clean", len(images if rows is None else rows)
            batches: Stream = partial(images.batches, size, order=rows, device=device)
            if isinstance(corruption, Corruption):
                label = f"{corruption.name} {corruption.severity}"
                batches = partial(corrupted_batches, self.inputs, corruption, size, device, rows)
                if any(by_data_set(it.policy) for it in cell.measurements):
                    batches = kept(batches)  # read for the lambda and for the predictions
            return lambda: told(batches(), label, count, self.progress)

        return source

    def _shard(self, cell: Cell, rows: Tensor, size: int) -> dict[Policy, Part]:
        """Returns what some images of a cell give under each policy, without what takes all images."""
        stream = self._source(cell)(size, rows)
        parts: dict[Policy, Part] = {}
        asked: list[Policy] = []
        for policy in dict.fromkeys(it.policy for it in cell.measurements):
            if by_data_set(policy):
                residuals, seconds = residuals_of(self.model, policy, stream)
                parts[policy] = Part(Predictions(seconds=seconds), provenance(self.model, 0.0, policy), residuals)
            else:
                asked += tried(self.model.facts.grid, policy)
        found = predict(self.model, asked, stream, len(self.inputs.images.classes)) if asked else {}
        return parts | {policy: Part(its, provenance(self.model, 0.0, policy)) for policy, its in found.items()}

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
        shared = (victim, attack.threat, attack.seed, crafted.batch_size, reading)
        if shared not in self._crafted:
            self._crafted = {shared: {}}  # those of one victim fit into memory
        return self._crafted[shared].setdefault(attack.steps[-1], crafted)

    def shared(self, chain: Chain) -> Hashable:
        """Returns what is crafted for a chain if others may need the same, else ``None``: one worker crafts it once."""
        attack, measurement = chain[0].perturbation, chain[0].measurements[0]
        if isinstance(attack, Universal):
            victim = victim_of(self.model, attack.protocol, measurement.policy, self.inputs.surrogate)
            return victim, attack.threat, attack.crafting
        if not isinstance(attack, Attack) or attack.saved or len(chain) > 1:
            return None
        victim = victim_of(self.model, attack.protocol, measurement.policy, self.inputs.surrogate)
        reading = batches_of(measurement.policy)
        if reading is None and self._scores(victim, measurement.policy) and not attack.steps[-1].kind.wrong_too:
            return None
        return victim, attack.threat, attack.seed, measurement.batch_size, reading, attack.steps[-1]

    def _scores(self, victim: Victim, policy: Policy) -> bool:
        """Returns whether the victim is the very model that is scored."""
        return victim.weights == self.model.subject.weights and victim.policy == policy and not victim.averaged

    def _predicted(self, cell: Cell, source: Source, *, rounded: bool = False) -> list[tuple[Measurement, Predictions]]:
        """Returns what is predicted under each policy of the cell."""
        found = self._answers([each.policy for each in cell.measurements], source, self._at_once(cell), rounded)
        return [(each, found[each.policy]) for each in cell.measurements]

    def _answers(
        self, policies: Sequence[Policy], source: Source, size: int, rounded: bool = False
    ) -> dict[Policy, Predictions]:
        images, classes = self.inputs.saved or self.inputs.images, len(self.inputs.images.classes)
        return predict_as_read(self.model, policies, source, images, size=size, num_classes=classes, rounded=rounded)

    def _attacked(self, cell: Cell, attack: Attack, standing: Outcomes | None) -> list[Record]:
        policy, alone = cell.measurements[0].policy, standing is None
        victim = victim_of(self.model, attack.protocol, policy, self.inputs.surrogate)
        scored = self._scores(victim, policy)
        if alone and scored and not attack.steps[-1].kind.wrong_too:
            standing = Outcomes.of(self._right_when_clean(policy))
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

    def _right_when_clean(self, policy: Policy, among: list[bool] | None = None) -> list[bool]:
        """Returns which images, or of some which, are classified as labelled when clean; asks the model if need be."""
        images = self.inputs.images
        if policy not in self.right:
            # A batch is classified together; and where files cannot be read, an image has not the number of its row.
            some = None if images.unreadable or batches_of(policy) else among
            asked = images if some is None else images.subset(torch.tensor(some).nonzero().flatten())
            right = self._answers([policy], self._stream_of(asked), self._room.size)[policy].right
            if some is not None and not all(some):
                answers = iter(right)
                return [chosen and next(answers) for chosen in some]
            self.right[policy] = Outcomes.of(right)
        right = self.right[policy].to_list()
        return right if among is None else [chosen and it for chosen, it in zip(among, right, strict=True)]

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

    def _record(
        self,
        measurement: Measurement,
        found: Predictions,
        details: Details | None = None,
    ) -> Record:
        how = provenance(self.model, found.seconds, measurement.policy)
        return record_of(measurement, found, how, self.inputs.location, details)

    def _at_once(self, cell: Cell) -> int:
        """Returns how many images are corrupted and classified at once: a batch where its size counts, else a slice."""
        return next((it.batch_size for it in cell.measurements if it.batch_size), self._room.size)

    def _stream_of(self, images: ImageSet) -> Source:
        return lambda size, rows: partial(images.batches, size, order=rows, device=self.model.device)
