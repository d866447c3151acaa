"""The driver with engines that answer in any order, lose jobs, or fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.errors import DataError, EngineError
from robustcsc.evaluation import driver
from robustcsc.evaluation.engines.local import Here
from robustcsc.evaluation.jobs import Answer, Failed, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.facts import replace
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Progress


@dataclass
class Disorderly:
    """Holds several jobs, and answers any of them; a job may be lost first.

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

    def next(self) -> tuple[Job, Outcome]:
        job, progress = self._jobs.pop(self._random.randrange(len(self._jobs)))
        for words, left in self.loses.items():
            if job.words.startswith(words) and left:
                self.loses[words] -= 1
                return job, Lost("worker 1 was killed")
        one = Here(self.evaluator)
        one.submit(job, progress)
        return one.next()


def timeless(record: Record) -> Record:
    return replace(record, provenance=replace(record.provenance, seconds=0.0, created=""))


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


def test_a_failure_ends_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Disorderly(bench.evaluator())

    def failed() -> tuple[Job, Outcome]:
        return engine._jobs.pop()[0], Failed(DataError("No such file."))

    monkeypatch.setattr(engine, "next", failed)
    with pytest.raises(DataError, match="No such file"):
        bench.run(engine)
