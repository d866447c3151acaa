"""What many workers would ask of one driver: cells through the driver, and records into a store, a second.

An engine whose workers answer at once stands in for a cluster. Each record has the outcomes of `--images` images. The
store lies in `--folder`, whose disk decides how fast it is: every record is on the disk before the next one comes.

    python benchmarks/scale.py --folder /scratch
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import deque
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.evaluation import driver
from robustcsc.evaluation.jobs import Answer, Job
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.measurements.perturbations import Corruption, SeverityTable
from robustcsc.measurements.policies import NoLambda
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Outcomes, Record, Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Progress

#: How often a worker tells of its progress in a cell.
TOLD = 10
#: How many cells are over by the time that the disk has the ones before.
TOGETHER = (1, 4, 16)
TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")


class Cluster:
    """Workers that answer at once, some of them together."""

    def __init__(self, slots: int, images: int) -> None:
        self.slots, self.together = slots, 1
        right = [bool(it) for it in torch.randint(0, 2, (images,), generator=torch.Generator().manual_seed(0))]
        self._outcomes, self._met = Outcomes.of(right), sum(right)
        versions = {"robustcsc": "0.1.0", "torch": "2.11.0", "python": "3.12.3"}
        self._how = Provenance(
            device="NVIDIA H200", versions=versions, seconds=1.0, created="2026-01-01T00:00:00+00:00"
        )
        self._jobs: deque[tuple[Job, Progress]] = deque()

    def submit(self, job: Job, progress: Progress) -> None:
        """Takes a job."""
        self._jobs.append((job, progress))

    def next(self) -> list[tuple[Job, Answer]]:
        """Returns jobs with their records."""
        return [self._over(*self._jobs.popleft()) for _ in range(min(self.together, len(self._jobs)))]

    def _over(self, job: Job, progress: Progress) -> tuple[Job, Answer]:
        for done in range(TOLD):
            progress("fog 3", done + 1, TOLD)
        return job, Answer(records=tuple(self.record(it) for cell in job.cells for it in cell.measurements))

    def record(self, measurement: object) -> Record:
        """Returns a record with outcomes."""
        return Record(
            measurement=measurement,
            met=self._met,
            total=self._outcomes.count,
            outcomes=self._outcomes,
            provenance=self._how,
        )


def main() -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where the store lies; temporary files by default")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=2_000)
    parser.add_argument("--slots", type=int, default=1_000)
    asked = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        images = MemoryImages(
            name="none",
            split="test",
            pixels=torch.zeros(asked.images, 1, 1, 1, dtype=torch.uint8),
            labels=torch.zeros(asked.images, dtype=torch.int64),
            classes=("a", "b"),
            positions=torch.arange(asked.images),
        )
        subject = Subject(run="scale", model="none", weights="0" * 64)
        model = LoadedModel(subject=subject, model=nn.Identity(), device=torch.device("cpu"))
        planner = Planner(model=model.facts, images=images_fact(images), batch_size=250)
        evaluator = Evaluator(model=model, inputs=Inputs(images=images, spec=load_spec("cifar10_c")))
        cluster = Cluster(asked.slots, asked.images)

        def cells(count: int, first: int = 0) -> list[driver.Chain]:
            each = range(first, first + count)
            return [
                (planner.cell(Corruption(name="fog", severity=3, table=TABLE, seed=seed), [NoLambda()]),)
                for seed in each
            ]

        def driven(count: int, first: int) -> float:
            plan = cells(count, first)
            with ResultStore(Path(folder) / f"driven-{first}.sqlite") as store:
                started = time.process_time()
                for _ in driver.run(iter(plan), evaluator, store, cells=count, engine=cluster):
                    pass
                return (time.process_time() - started) / count

        records = [cluster.record(cell.measurements[0]) for (cell,) in cells(asked.cells)]
        path = Path(folder) / "results.sqlite"
        with ResultStore(path) as store:
            started = time.perf_counter()
            for each in records:
                store.add(each)
            found["records added a second"] = len(records) / (time.perf_counter() - started)
            started = time.perf_counter()
            assert len(store.records()) == len(records)
            found["records read a second"] = len(records) / (time.perf_counter() - started)
        found["bytes a record"] = path.stat().st_size / len(records)
        with ResultStore(Path(folder) / "together.sqlite") as store:
            started = time.perf_counter()
            with store.transaction():
                for each in records:
                    store.add(each)
            found["records merged a second"] = len(records) / (time.perf_counter() - started)
        with patch.object(ResultStore, "add", lambda *_, **__: True), patch.object(ResultStore, "get", lambda *_: None):
            found["driver, ms of a cell without the store"] = 1e3 * driven(asked.cells, 0)
        for together in TOGETHER:
            cluster.together = together
            took = driven(asked.cells, 10**6 * together)
            found[f"driver, ms of processor time a cell, {together} at once"] = 1e3 * took
    found["most memory in MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({name: float(f"{value:.4g}") for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
