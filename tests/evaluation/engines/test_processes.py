"""Workers in processes of their own give the records of one process, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet, load
from robustcsc.errors import EngineError
from robustcsc.evaluation import driver
from robustcsc.evaluation.attacks.plans import suite_plan
from robustcsc.evaluation.attacks.suites import suite_of
from robustcsc.evaluation.engines.processes import Processes
from robustcsc.evaluation.fooling.plans import noise_plan, uap_plan
from robustcsc.evaluation.jobs import Job, Lost
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Crafting
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import AttackDetails, CraftingDetails, Record, Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import silent

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As each of two workers has then."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def timeless(record: Record) -> Record:
    return replace(record, provenance=replace(record.provenance, seconds=0.0, created=""))


@dataclass
class Bench:
    """A model and its inputs."""

    model: LoadedModel
    inputs: Inputs
    folder: Path

    @property
    def planner(self) -> Planner:
        return Planner(model=self.model.facts, images=images_fact(self.inputs.images), batch_size=20)

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(model=self.model, inputs=self.inputs, batch_size=20)

    def records(self, plan: Iterable[Chain], *, workers: int = 1, shard: int | None = None) -> list[Record]:
        """Returns the records of a plan, without times."""
        evaluator = self.evaluator
        self.folder.joinpath("results.sqlite").unlink(missing_ok=True)
        with ResultStore(self.folder / "results.sqlite") as store, closing(Processes(evaluator, workers)) as engine:
            chosen = engine if workers > 1 else None
            found = [timeless(it) for it in driver.run(plan, evaluator, store, engine=chosen, shard=shard)]
            stored = {it.measurement.key: timeless(it) for it in store.records()}
        assert stored == {it.measurement.key: it for it in found}
        return found


@pytest.fixture
def bench(model: LoadedModel, images: ImageSet, spec: Spec, tmp_path: Path) -> Bench:
    return Bench(model, Inputs(images=images, spec=spec), tmp_path)


def test_a_sweep_has_the_records_of_one_process(bench: Bench) -> None:
    bench.inputs = Inputs(images=load("digits", split="test").subset(torch.arange(150)), spec=bench.inputs.spec)
    policies = bench.model.facts.policies(["train", "adaptive", "adaptive-image", "adaptive-batch", "oracle"])
    cuttable = bench.model.facts.policies(["train", "adaptive", "adaptive-image", "oracle"])
    corruptions = list(planned_corruptions(bench.inputs, ("gaussian_noise", "fog"), [1, 4]))
    plan = [
        bench.planner.clean(cuttable),
        *bench.planner.sweep(corruptions[:2], policies),
        *bench.planner.sweep(corruptions[2:], cuttable),
    ]
    expected = bench.records(plan)
    assert len(expected) == 4 + 2 * 5 + 2 * 4
    for shard in (None, 7, 64):
        assert bench.records(plan, workers=2, shard=shard) == expected


@pytest.mark.parametrize("suite", ["paper", "standard"])
def test_a_suite_has_the_records_of_one_process(bench: Bench, suite: str) -> None:
    facts = bench.model.facts
    plan = [bench.planner.clean([facts.own_policy]), *suite_plan(bench.planner, suite_of(suite), ("linf",))]
    expected = bench.records(plan)
    assert {type(it.details) for it in expected} == {type(None), AttackDetails}
    assert bench.records(plan, workers=2) == expected


def test_fooling_has_the_records_of_one_process(bench: Bench, images: ImageSet) -> None:
    crafted = Inputs(images=images, crafting_images=images, perturbations=bench.folder / "crafted")
    bench.inputs = crafted
    crafting = Crafting(images="feed", count=60, delta=0.5, passes=1, batch_size=20, seed=0)
    plan = uap_plan(bench.planner, crafting, [ThreatModel("linf", 0.2)], [Protocol.PLAIN, Protocol.STATIC], [0])
    plan += noise_plan(bench.planner, [0.1], [bench.model.facts.own_policy], [0, 1])
    expected = bench.records(plan)
    assert CraftingDetails in {type(it.details) for it in expected}
    for path in (bench.folder / "crafted").iterdir():
        path.unlink()
    assert bench.records(plan, workers=2) == expected


def test_a_worker_that_dies_loses_its_job_and_is_replaced(bench: Bench) -> None:
    clean = bench.planner.clean([bench.model.facts.own_policy])[0]
    first, second = Job(cells=(clean,)), Job(cells=(clean,))
    with closing(Processes(bench.evaluator, 2)) as engine:
        engine.submit(first, silent)
        (worker,) = engine._workers
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        ((job, outcome),) = engine.next()
        assert job is first and isinstance(outcome, Lost)
        assert outcome.words.startswith("worker 1 was killed (if memory ran out, choose fewer --workers")
        engine.submit(second, silent)
        assert engine.next()[0][0] is second
        assert [it.number for it in engine._workers] == [1]
        kept = [it.process for it in engine._workers]
    assert [it.exitcode for it in kept] == [-signal.SIGKILL]


class Failing(nn.Module):
    """Says where it failed."""

    def forward(self, images: Tensor) -> Tensor:
        raise ZeroDivisionError("by zero")


def test_what_a_worker_says_of_an_error_is_what_one_process_says(images: ImageSet, tmp_path: Path) -> None:
    model = LoadedModel(
        subject=Subject(run="f", model="failing", weights="22" * 32), model=Failing(), device=torch.device("cpu")
    )
    bench = Bench(model, Inputs(images=images), tmp_path)
    plan = [bench.planner.clean(bench.model.facts.policies([]))]
    with pytest.raises(
        EngineError, match=r"^Code outside of robustcsc failed: ZeroDivisionError: by zero .*py, line"
    ) as found:
        bench.records(plan, workers=2)
    assert any("raise ZeroDivisionError" in it for it in found.value.__notes__)


def test_a_script_without_a_guard_is_told_about_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import robustcsc as rc\nsdnet = rc.open('sdnet-digits', measuring=rc.Measuring(workers=2))\n"
        "sdnet.evaluate(sdnet.images(limit=20))\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "EngineError: 3 workers in a row ended as they started" in done.stderr.splitlines()[-1]


def test_a_model_that_cannot_travel_is_a_sentence(bench: Bench) -> None:
    bench.model.model.unpicklable = lambda: None  # type: ignore[assignment]
    with pytest.raises(EngineError, match="tiny cannot be sent to another process"):
        bench.records([bench.planner.clean([bench.model.facts.own_policy])], workers=2)
