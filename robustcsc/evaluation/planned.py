"""What measuring a plan would ask of the model, told from its cells and from what the store has."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from robustcsc.attacks.sanity import check_passes
from robustcsc.attacks.universal import COUNTED, INNER_STEPS
from robustcsc.evaluation.attacks.crafting import CHECKED_IMAGES, LEVELS
from robustcsc.evaluation.attacks.victims import Victim, victim_of
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain, counted_size
from robustcsc.evaluation.predictions import tried
from robustcsc.evaluation.shards import cuttable
from robustcsc.layers.gradients import implicit_layers
from robustcsc.measurements.adaptations import Shift, Tent
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.passes import GradientChecking, Passes, Piece, attack_passes, crafting_passes
from robustcsc.measurements.perturbations import Attack, Clean, MinimalBudget, Universal
from robustcsc.measurements.policies import Adapted, Adaptive, Policy, Scope, WorstOf, batches_of, lambda_of
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Measurement, Metric, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel


@dataclass(frozen=True)
class PlannedCell:
    """A cell before it is measured.

    Attributes:
        cell: The cell.
        stored: Its records that the store has.
        missing: What is to be measured.
        pieces: What that asks of the model.
        course: The same for cells that one worker has to measure; ``None`` if workers can share this one.
    """

    cell: Cell
    stored: tuple[Record, ...] = ()
    missing: tuple[Measurement, ...] = ()
    pieces: tuple[Piece, ...] = ()
    course: Hashable = None

    @property
    def effort(self) -> float:
        """About how long it takes, as `Piece.effort`; 0 for a cell that is stored."""
        return sum(it.effort for it in self.pieces)


def lacking(cell: Cell, store: ResultStore, *, remeasure: bool) -> tuple[Measurement, ...]:
    """Returns what of a cell is to be measured."""
    # No image may be classified as labelled when clean; then the last metric has no record, and none is missing.
    return tuple(
        each
        for each in cell.measurements
        if each.metric is not Metric.FOOLING_OF_CORRECT and (remeasure or store.get(each) is None)
    )


def alone(cells: Iterable[PlannedCell]) -> float:
    """Returns the share of a plan's work, in [0, 1], that one worker has to do, however many there are.

    Examples:
        >>> alone([])
        0.0
    """
    courses: dict[Hashable, float] = {}
    for it in cells:
        courses[it.course] = courses.get(it.course, 0.0) + it.effort
    whole = sum(courses.values())
    return max((effort for course, effort in courses.items() if course is not None), default=0.0) / (whole or 1.0)


def planned(plan: Iterable[Chain], evaluator: Evaluator, store: ResultStore) -> Iterator[PlannedCell]:
    """Yields every cell of a plan, with what an engine would do for it; measures nothing."""
    forecast = _Forecast(evaluator, set(evaluator.right))
    for number, chain in enumerate(plan):
        course = None if cuttable(chain[0]) else evaluator.shared(chain) or number
        standing: int | None = None  # how many images the attacks before leave at most
        for cell in chain:
            if standing == 0:  # the cells after it are left out
                yield PlannedCell(cell)
                continue
            remeasure = evaluator.remeasure
            stored = () if remeasure else tuple(it for each in cell.measurements if (it := store.get(each)) is not None)
            asked = lacking(cell, store, remeasure=remeasure)
            if isinstance(cell.perturbation, Clean):
                forecast.right |= {it.policy for it in cell.measurements}
            known = {it.measurement for it in stored}
            # The metrics of a cell come together.
            missing = tuple(it for it in cell.measurements if it not in known) if asked else ()
            pieces = tuple(forecast.pieces(cell, asked, len(missing), len(stored), standing))
            yield PlannedCell(cell, stored, missing, pieces, course)
            if len(chain) > 1:
                standing = stored[0].met if stored and not asked else cell.measurements[0].images.count


@dataclass
class _Forecast:
    """What cells in turn ask of the model; as the evaluator does, it remembers what they can share.

    Attributes:
        evaluator: What would measure them.
        right: Policies whose answers to the clean images are known by then.
    """

    evaluator: Evaluator
    right: set[Policy]
    _clean: set[Policy] = field(default_factory=set)
    _checked: set[tuple[Victim, ThreatModel]] = field(default_factory=set)
    _shared: tuple[object, set[AttackStep]] = field(default_factory=lambda: (None, set()))

    def pieces(
        self, cell: Cell, asked: Sequence[Measurement], missing: int, stored: int, standing: int | None
    ) -> Iterator[Piece]:
        """Yields what a cell asks, of which some measurements are to be made; last comes the cell itself."""
        images = cell.measurements[0].images.count
        passes, perturbed = Passes(), 0
        if asked:
            policies = list(dict.fromkeys(it.policy for it in asked))
            perturbed = images * len({*map(batches_of, policies)})
            match cell.perturbation:
                case Attack(saved=None) as attack:
                    if (checks := self._checks(attack, policies[0])) is not None:
                        yield checks
                    passes = self._attack(attack, cell, policies, images, standing)
                case MinimalBudget() as search:
                    if (checks := self._checks(search, policies[0])) is not None:
                        yield checks
                    passes = self._smallest(search, cell, policies[0], images)
                case _ if asked[0].metric is not Metric.ACCURACY:
                    if isinstance(cell.perturbation, Universal):
                        passes += self._universal(cell.perturbation, policies[0])
                    passes += self._answers(policies, images) * (1 if policies[0] in self._clean else 2)
                    self._clean.add(policies[0])
                case Attack():
                    passes = self._answers(policies, images, rounded=True)
                case _:
                    passes = self._answers(policies, images)
        yield Piece(
            what=cell.perturbation,
            missing=missing,
            stored=stored,
            images=images,
            perturbed=perturbed,
            passes=passes,
        )

    def _answers(self, policies: Iterable[Policy], images: int, *, rounded: bool = False) -> Passes:
        """Returns what `predict_as_read` asks."""
        grid, whole = self.evaluator.model.facts.grid, Passes()
        for policy in dict.fromkeys(it for each in policies for it in tried(grid, each)):
            chosen = lambda_of(policy)
            if isinstance(chosen, Adaptive) and chosen.scope is Scope.DATASET:
                whole += Passes(residual=images)
            whole += _asked(policy)[0] * images * (1 + rounded)
        return whole

    def _right_when_clean(self, policy: Policy, images: int, *, kept: bool) -> Passes:
        if policy in self.right:
            return Passes()
        if kept:
            self.right.add(policy)
            return self._answers([policy], images)
        return self._answers([policy], images).at_most

    def _victim(self, made: Attack | MinimalBudget | Universal, policy: Policy) -> Victim:
        return victim_of(self.evaluator.model, made.protocol, policy, self.evaluator.inputs.surrogate)

    def _through(self, victim: Victim, passes: Passes) -> Passes:
        """Returns what the model is asked if a victim is asked for these passes."""
        forward, backward = _asked(victim.policy)
        asked = forward * passes.forward + Passes(gradient=backward) * passes.gradient
        return asked if passes.exact else asked.at_most

    def _attack(
        self, attack: Attack, cell: Cell, policies: Sequence[Policy], images: int, standing: int | None
    ) -> Passes:
        step, policy, alone, asked = attack.steps[-1], policies[0], standing is None, Passes()
        victim = self._victim(attack, policy)
        own = victim.weights == self.evaluator.model.subject.weights
        scored = own and victim.policy == policy and not victim.averaged
        reading = batches_of(policy)
        size = reading.size if reading else cell.measurements[0].batch_size or counted_size(self.evaluator.batch_size)
        only_right = scored and alone and not step.kind.wrong_too
        if only_right:
            asked += self._right_when_clean(policy, images, kept=True)
        attacked = images if reading or standing is None else standing
        crafted = Passes()
        if attack.threat.epsilon:
            crafted = attack_passes(step, attacked, -(-images // size), self._classes)
        if not alone or only_right:
            crafted = crafted.at_most
        if reading or not (only_right or not alone):  # crafted for equal attacks and victims, too
            key = (victim, attack.threat, attack.seed, size)
            if self._shared[0] != key:
                self._shared = (key, set())
            if step in self._shared[1]:
                crafted = Passes()
            self._shared[1].add(step)
        asked += self._through(victim, crafted) + self._answers(policies, images, rounded=alone)
        if alone and scored and not only_right:
            asked += self._right_when_clean(policy, images, kept=False)
        return asked

    def _smallest(self, search: MinimalBudget, cell: Cell, policy: Policy, images: int) -> Passes:
        size = cell.measurements[0].batch_size or counted_size(self.evaluator.batch_size)
        levels, batches = LEVELS + 1, -(-images // size) * 2**LEVELS
        tries = attack_passes(search.step, images * levels, batches, self._classes)
        return self._through(self._victim(search, policy), tries + Passes(forward=images * (1 + levels), exact=False))

    def _universal(self, universal: Universal, policy: Policy) -> Passes:
        passes = crafting_passes(universal.crafting, self._classes, inner_steps=INNER_STEPS, counted=COUNTED)
        return self._through(self._victim(universal, policy), passes)

    @property
    def _classes(self) -> int:
        return len(self.evaluator.inputs.images.classes)

    def _checks(self, made: Attack | MinimalBudget, policy: Policy) -> Piece | None:
        """Returns the checks of the gradients of a victim, unless there are none or they are made already."""
        victim = self._victim(made, policy)
        implicit, key = bool(implicit_layers(victim.model)), (victim, made.threat)
        recorded = isinstance(made, Attack) and (made.protocol.white_box or made.protocol is Protocol.STATIC)
        if not made.threat.epsilon or key in self._checked or not (implicit or recorded):
            return None
        self._checked.add(key)
        images = min(CHECKED_IMAGES, len(self.evaluator.inputs.images))
        passes = self._through(victim, check_passes(images, implicit=implicit))
        return Piece(what=GradientChecking(), missing=0, stored=0, images=images, passes=passes)


def _asked(policy: Policy) -> tuple[Passes, int]:
    """Returns what one answer under a policy asks of the model, and the gradients that one of the answer takes."""
    chosen = lambda_of(policy)
    times = len(chosen.values) if isinstance(chosen, WorstOf) else 1
    looks = isinstance(chosen, Adaptive) and chosen.scope is not Scope.DATASET
    answers, learning = 1, 0
    match policy.by if isinstance(policy, Adapted) else None:
        case Shift():
            answers = 2  # the second one where few classes are seen
        case Tent(steps=steps, episodic=episodic):
            answers, learning = steps, steps - episodic
    forward = Passes(forward=answers * times, residual=answers * looks, gradient=learning * times)
    return (forward.at_most if isinstance(policy, Adapted) and isinstance(policy.by, Shift) else forward), times
