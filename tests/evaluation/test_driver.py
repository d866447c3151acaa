"""The driver with engines that answer in any order, lose jobs, or fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet, load
from robustcsc.errors import DataError, EngineError
from robustcsc.evaluation import driver
from robustcsc.evaluation.engines.local import Here
from robustcsc.evaluation.jobs import Answer, Failed, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements import facts
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Progress


@dataclass
class Disorderly:
    """Holds several jobs, and answers any of them, one or more at once; a job may be lost first.

    Attributes:
        evaluator: What measures.
        slots: How many jobs it takes at once.
        loses: How often each job whose words begin so is lost.
        taken: Every job it took, in words.
    """

    evaluator: Evaluator
    slots: int = 3
    loses: dict[str, int] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    _jobs: list[tuple[Job, Progress]] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    def submit(self, job: Job, progress: Progress) -> None:
        assert len(self._jobs) < self.slots
        self.taken.append(job.words)
        self._jobs.append((job, progress))

    def next(self) -> list[tuple[Job, Outcome]]:
        self._random.shuffle(self._jobs)
        return [self.over(*self._jobs.pop()) for _ in range(self._random.randint(1, len(self._jobs)))]

    def over(self, job: Job, progress: Progress) -> tuple[Job, Outcome]:
        for words, left in self.loses.items():
            if job.words.startswith(words) and left:
                self.loses[words] -= 1
                return job, Lost("worker 1 was killed")
        one = Here(self.evaluator)
        one.submit(job, progress)
        (over,) = one.next()
        return over


def timeless(record: Record) -> Record:
    return facts.replace(record, provenance=facts.replace(record.provenance, seconds=0.0, created=""))


@dataclass
class Bench:
    """A plan, and what it gives."""

    evaluator: Callable[[], Evaluator]
    chains: list[Chain]
    store: ResultStore

    def run(self, engine: Disorderly | None = None, shard: int | None = None) -> list[Record]:
        evaluator = engine.evaluator if engine else self.evaluator()
        return [*driver.run(self.chains, evaluator, self.store, engine=engine, shard=shard)]


@pytest.fixture
def bench(model: LoadedModel, images: ImageSet, spec: Spec, store: ResultStore) -> Bench:
    """Noise under policies one of which looks at batches, fog and clean images under others, on 24 images."""
    inputs = Inputs(images=images.subset(torch.arange(24)), spec=spec)
    planner = Planner(model=model.facts, images=images_fact(inputs.images), batch_size=10)
    noise, *fogs = planned_corruptions(inputs, ("impulse_noise", "fog"), [4])
    chains = [
        planner.clean(model.facts.policies(["oracle"])),
        *planner.sweep([noise], model.facts.policies(["train", "adaptive-batch"])),
        *planner.sweep(fogs, model.facts.policies(["train", "adaptive", "adaptive-image"])),
    ]
    return Bench(lambda: Evaluator(model=model, inputs=inputs, batch_size=10, remeasure=True), chains, store)


@pytest.mark.parametrize("shard", [None, 7, 24])
def test_records_are_the_same_whatever_the_engine_and_the_shards(bench: Bench, shard: int | None) -> None:
    expected = bench.run()
    engine = Disorderly(bench.evaluator())
    found = bench.run(engine, shard)
    assert [timeless(it) for it in found] == [timeless(it) for it in expected]
    cut = [words for words in engine.taken if "(images" in words]
    # Two cells may be cut, one in two rounds, as one lambda is that of all images; by default it is the last one.
    assert len(cut) == {None: 6, 7: 12, 24: 3}[shard]


def test_a_cell_in_shards_of_64_is_the_uncut_one_whatever_the_policy(bench: Bench, model: LoadedModel) -> None:
    inputs = replace(bench.evaluator().inputs, images=load("digits", split="test").subset(torch.arange(150)))
    planner = Planner(model=model.facts, images=images_fact(inputs.images), batch_size=250)
    policies = model.facts.policies(["train", "adaptive", "adaptive-image", "oracle"])
    plan = list(planner.sweep(planned_corruptions(inputs, ("gaussian_noise",), [2]), policies))
    bench = Bench(lambda: Evaluator(model=model, inputs=inputs, remeasure=True), plan, bench.store)
    expected, engine = bench.run(), Disorderly(bench.evaluator())
    assert [timeless(it) for it in bench.run(engine, 64)] == [timeless(it) for it in expected]
    assert (
        engine.taken[0] == "gaussian_noise 2 (images 1 to 64)" and len(engine.taken) == 6
    )  # adaptive takes another round
    assert len({it.lam for it in expected[:3]}) == 3  # or all would be the same question


def test_a_lost_job_is_done_elsewhere_and_three_deaths_leave_its_cell_out(bench: Bench) -> None:
    expected = bench.run()
    engine = Disorderly(bench.evaluator(), loses={"fog": 2, "clean": 1})
    assert [timeless(it) for it in bench.run(engine)] == [timeless(it) for it in expected]
    engine = Disorderly(bench.evaluator(), loses={"impulse_noise": 3})
    with pytest.raises(EngineError, match=r"died of impulse_noise 4, the last time worker 1 was killed\. All"):
        bench.run(engine)
    left_out = bench.chains[1][0].measurements
    assert engine.taken.count("impulse_noise 4") == 3
    assert [it.measurement for it in expected if it.measurement in left_out] == [*left_out]


def test_a_shard_without_images_leaves_it_to_the_whole_cell(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, evaluator = bench.run(), bench.evaluator()
    measure = evaluator.measure

    def failing(job: Job) -> Answer:
        if job.rows is not None and job.rows.start == 16:
            raise DataError("None of the images that were asked for can be read.")
        return measure(job)

    monkeypatch.setattr(evaluator, "measure", failing)
    assert [timeless(it) for it in bench.run(Disorderly(evaluator), 8)] == [timeless(it) for it in expected]


def test_what_is_over_at_once_is_one_transaction_and_a_failure_among_it_ends_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, told = Disorderly(bench.evaluator()), list[str]()

    def all_over() -> list[tuple[Job, Outcome]]:
        (first, _), *others = engine._jobs
        return [(first, Failed(DataError("No such file."))), *(engine.over(*it) for it in others)]

    monkeypatch.setattr(engine, "next", all_over)
    (noise,), (fog,) = bench.chains[1:]
    bench.chains += [(replace(fog, measurements=(it,)),) for it in fog.measurements[:2]]  # or it would be cut
    bench.store._connection.set_trace_callback(lambda statement: told.append(statement.split()[0]))
    with pytest.raises(DataError, match="No such file"):
        bench.run(engine)
    assert [it for it in told if it != "SELECT"] == ["BEGIN", *["INSERT"] * 5, "COMMIT"]
    assert [it.measurement for it in bench.store.records()] == [*noise.measurements, *fog.measurements]
