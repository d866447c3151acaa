"""The driver: makes jobs of a plan, has an engine carry them out, and alone writes the store."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat

from robustcsc.errors import EngineError
from robustcsc.evaluation.courses import Course, startable
from robustcsc.evaluation.engines.local import Here
from robustcsc.evaluation.jobs import Answer, Engine, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain
from robustcsc.evaluation.planned import lacking, planned
from robustcsc.evaluation.shards import Steps, cuttable, measured_in_shards, shards
from robustcsc.measurements.perturbations import Attack, Clean
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.records import Measurement, Metric, Outcomes, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Progress

#: How many workers may die of a job before it is left out.
DEATHS = 3


def run(
    plan: Iterable[Chain],
    evaluator: Evaluator,
    store: ResultStore,
    cells: int | None = None,
    *,
    engine: Engine | None = None,
    shard: int | None = None,
) -> Iterator[Record]:
    """Yields the records of a plan in its order; what the store has is not measured again, unless asked for.

    The records are the same to the bit whatever the engine, the number of its workers and the size of shards. They go
    to the disk as soon as they are known, so that an interrupted command loses only what workers are at. Of attacks in
    turn, those after the last image was broken are left out. Progress is that of what is left of the whole plan: each
    cell counts with its effort, or all alike if the plan is made on the way.

    Where fewer cells are left than the engine has slots, a cell that is `cuttable` is cut into shards of images, which
    end where a step of the evaluator does.

    Args:
        plan: What to measure.
        evaluator: What measures a job, here or in the workers of the engine.
        store: Where records are kept.
        cells: How many cells a plan has that is made on the way; ``None`` for one that is there.
        engine: Who measures; this process if ``None``.
        shard: Images of a shard, whatever the number of cells.

    Raises:
        EngineError: Workers died of some jobs; all else was measured.
        RobustCSCError: As `Evaluator.measure`, or the store cannot be written.
    """
    chains = plan if cells else list(plan)
    forecast = [] if cells else list(planned(chains, evaluator, store))
    driver = _Driver(
        evaluator=evaluator,
        store=store,
        engine=engine or Here(evaluator),
        shard=shard,
        progress=evaluator.progress,
        efforts={id(it.cell): it.effort for it in forecast},
        left=cells or sum(bool(it.missing) for it in forecast),
        whole=cells or sum(it.effort for it in forecast),
    )
    return driver.records(chains)


@dataclass(eq=False, kw_only=True)
class _Driver:
    """What is under way.

    Attributes:
        evaluator, store, engine, shard: As for `run`.
        progress: Told of the whole plan.
        efforts: How much work a cell is, by its identity, of a plan that is there.
        left: How many cells are to be measured and have not begun.
        whole: How much work there is, without what turned out not to be needed.
        done: How much of it is done, by jobs under way, too.
        order: The chains that have records to come, in the order of the plan: their courses and cells.
        ready: Jobs that wait for a slot.
        flying: Jobs that the engine has.
        right: Which clean images are classified as labelled.
        deaths: How many workers died of a job.
        given_up: What was left out, in sentences.
    """

    evaluator: Evaluator
    store: ResultStore
    engine: Engine
    shard: int | None
    progress: Progress
    efforts: Mapping[int, float]
    left: int
    whole: float
    done: float = 0.0
    order: deque[tuple[Course, deque[Cell]]] = field(default_factory=deque)
    ready: deque[tuple[Job, Course]] = field(default_factory=deque)
    flying: dict[Job, Course] = field(default_factory=dict)
    right: dict[Policy, Outcomes] = field(default_factory=dict)
    deaths: Counter[Job] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)

    def records(self, chains: Iterable[Chain]) -> Iterator[Record]:
        """Yields the records of chains, in their order."""
        coming, waiting = self._courses(chains), list[Course]()
        while True:
            while len(self.flying) < self.engine.slots:
                if self.ready:
                    self._submit(*self.ready.popleft())
                elif (course := startable(coming, waiting)) is not None:
                    self._advance(course)
                    yield from self._in_order()
                else:
                    break
            yield from self._in_order()
            if not self.flying:
                break
            self._take(self.engine.next())
        if self.given_up:
            raise EngineError(f"{' '.join(self.given_up)} All else was measured and is kept.")

    def _courses(self, chains: Iterable[Chain]) -> Iterator[Course]:
        """Yields the courses of chains; those of one cell that share crafted images are one course.

        An attack comes after the clean images, as it leaves those alone that are misclassified anyway.
        """
        known = chains if isinstance(chains, list) else []  # what is made on the way has no attacks
        keys = [self.evaluator.shared(its) for its in known]
        sharing: dict[Hashable, list[Cell]] = {}
        for key, its in zip(keys, known, strict=True):
            sharing.setdefault(key, []).extend(its)
        begun: dict[Hashable, Course] = {}
        clean: list[Course] = []
        for its, key in zip(chains, keys or repeat(None), strict=False):
            if key in begun:
                self.order.append((begun[key], deque(its)))
                continue
            perturbation = its[0].perturbation
            clean = [it for it in clean if not it.over]
            course = Course(tuple(clean) if isinstance(perturbation, Attack) else ())
            course.steps = self._steps(course, [(it,) for it in its] if key is None else [tuple(sharing[key])])
            if key is not None:
                begun[key] = course
            if isinstance(perturbation, Clean):
                clean.append(course)
            self.order.append((course, deque(its)))
            yield course

    def _steps(self, course: Course, turns: Sequence[tuple[Cell, ...]]) -> Steps[None]:
        """Measures cells in turn: attacks get the images that the ones before them left."""
        standing: Outcomes | None = None
        broken = False
        for cells in turns:
            asked = [] if broken else [it for it in map(self._lacking, cells) if it is not None]
            new: dict[Measurement, Record] = {}
            course.effort = sum(self.efforts.get(id(cell), 1.0) for cell in cells)
            if asked:
                self.left -= len(asked)
                new = yield from self._measured(asked, standing)
                self.done += course.effort - sum(course.shares.values())
                course.shares.clear()
            else:
                self.whole -= course.effort  # taken for work that was done, it would make what is left look short
            if broken:
                continue
            for cell in cells:
                its = [it for each in cell.measurements if (it := new.get(each) or self.store.get(each)) is not None]
                course.records[id(cell)] = its
                if isinstance(cell.perturbation, Clean):
                    self.right |= {it.measurement.policy: it.outcomes for it in its if it.outcomes is not None}
            if len(turns) > 1:
                standing, broken = its[0].outcomes, not its[0].met

    def _lacking(self, cell: Cell) -> Cell | None:
        """Returns what of a cell is to be measured, ``None`` if nothing is; the metrics of fooling come together."""
        asked = lacking(cell, self.store, remeasure=self.evaluator.remeasure)
        return cell if asked and asked[0].metric is not Metric.ACCURACY else Cell(asked) if asked else None

    def _measured(self, cells: Sequence[Cell], standing: Outcomes | None) -> Steps[dict[Measurement, Record]]:
        """Measures cells, adds what comes of them to the store, and returns it, but for what others measured first."""
        rows = self._shards(cells[0]) if len(cells) == 1 else []
        facts, location = self.evaluator.model.facts, self.evaluator.inputs.location
        records: Sequence[Record] = ()
        if rows:
            with suppress(Exception):  # the whole cell tells what is wrong, if it is not one of the shards alone
                records = yield from measured_in_shards(cells[0], facts, rows, location)
        records = records or (yield from self._whole(cells, standing))
        remeasure = self.evaluator.remeasure
        return {it.measurement: it for it in records if self.store.add(it, remeasure=remeasure)}

    def _whole(self, cells: Sequence[Cell], standing: Outcomes | None) -> Steps[Sequence[Record]]:
        policies = {it.policy for cell in cells for it in cell.measurements}
        right = {policy: its for policy, its in self.right.items() if policy in policies}
        (answer,) = yield [Job(cells=tuple(cells), standing=standing, right=right)]
        return answer.records

    def _shards(self, cell: Cell) -> list[range]:
        """Returns the shards of a cell; none if it is not to be cut."""
        count = len(self.evaluator.inputs.images)
        if not cuttable(cell):
            return []
        if self.shard is not None:
            return shards(count, self.shard)
        pieces = -(-self.engine.slots // (1 + self.left))
        if pieces == 1:
            return []
        step = self.evaluator.step
        cut = shards(count, -(-count // (pieces * step)) * step)
        return cut if len(cut) > 1 else []

    def _advance(self, course: Course) -> None:
        """Lets a course take the answers it waited for, and go on."""
        self.ready.extend((job, course) for job in course.advanced())

    def _submit(self, job: Job, course: Course) -> None:
        self.flying[job] = course
        size = course.effort
        if job.rows is not None:  # perhaps there is another round
            size *= len(job.rows) / len(self.evaluator.inputs.images) / 2
        self.engine.submit(job, partial(self._tell, course, job, size))

    def _tell(self, course: Course, job: Job, size: float, description: str, done: float, total: float) -> None:
        before, course.shares[job] = course.shares.get(job, 0.0), size * done / total
        self.done += course.shares[job] - before  # not summed up anew: there may be a thousand jobs
        self.progress(description, self.done, self.whole)

    def _take(self, over: Sequence[tuple[Job, Outcome]]) -> None:
        """Takes what came of jobs; a course goes on when all jobs that it waits for are over.

        Their records are one transaction: nobody waits for the disk alone who could wait for it with others.
        """
        going: list[Course] = []
        for job, outcome in over:
            course = self.flying.pop(job)
            if isinstance(outcome, Lost):
                self._lose(job, course, outcome)
            elif not course.over:
                course.asked[job] = outcome
                if isinstance(outcome, Answer):
                    unreadable = self.evaluator.inputs.unreadable
                    unreadable += [it for it in outcome.unreadable if it not in unreadable]
                if None not in course.asked.values():
                    going.append(course)
        with self.store.transaction():
            for course in (it for it in going if it.error is None):
                self._advance(course)
        for course in (it for it in going if it.error is not None):  # the first one may end it all
            self._advance(course)

    def _lose(self, job: Job, course: Course, lost: Lost) -> None:
        """Has another worker do the job of one that died, unless too many have died of it."""
        self.deaths[job] += 1
        if self.deaths[job] < DEATHS:
            self.ready.appendleft((job, course))
        elif not course.over:
            self.given_up.append(f"{DEATHS} workers died of {job.words}, the last time {lost.words}.")
            course.steps.close()
            course.over = True
            self.ready = deque(it for it in self.ready if it[1] is not course)

    def _in_order(self) -> Iterator[Record]:
        """Yields the records that are next in the order of the plan."""
        while self.order:
            course, cells = self.order[0]
            while cells and id(cells[0]) in course.records:
                yield from course.records.pop(id(cells.popleft()))
            if not course.over:
                return
            self.order.popleft()  # what is left of its cells was left out
