"""How much faster a sweep is with two workers than in one process, each with one thread.

    python benchmarks/workers.py
    python benchmarks/workers.py --workers 8 --images 1000 --rounds 5

Two models are swept over three noises at five severities: the one of digits, and SDNet-20 on images of 32 x 32 pixels,
both with random weights on random pixels. Both ways take turns, so that a load of the machine meets both; the ratio is
the median of the rounds. Where Ray is installed, its workers take turns with those of `--workers`, too: the ratio is to
be 0.9 at least, on an idle machine, as Ray's workers are nice (15) to other programs. Workers are up before they are
timed: what it takes until they are is told beside it. Aims for two workers on two idle processors: 1.8 and 1.7.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from rows import machine

from robustcsc.allocator import keep_freed_memory
from robustcsc.corruptions import load_spec
from robustcsc.data import MemoryImages
from robustcsc.evaluation import driver
from robustcsc.evaluation.engines.cluster import RayCluster
from robustcsc.evaluation.engines.processes import Processes
from robustcsc.evaluation.engines.ray import RayEngine
from robustcsc.evaluation.jobs import Engine
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.records import Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.models.catalog import build, default_spec
from robustcsc.progress import quiet

NAMES, SEVERITIES = ("gaussian_noise", "shot_noise", "impulse_noise"), (1, 2, 3, 4, 5)
#: Models, the shape of their images, and how many of these beside `--images`.
MODELS = {"sdnet-digits": ((1, 8, 8), 10), "sdnet20": ((3, 32, 32), 1)}


def main() -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=250, help="of SDNet-20; of digits ten times as many")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line and all workers do
    for name in MODELS:
        print(json.dumps(ratio(name, asked.images, asked.workers, asked.rounds) | machine(torch.device("cpu"))))
        if find_spec("ray") is not None:
            print(json.dumps(ray_ratio(name, asked.images, asked.workers, asked.rounds)), flush=True)


def ratio(name: str, images: int, workers: int, rounds: int) -> dict[str, object]:
    """Returns the seconds of both ways, and their ratio."""
    evaluator = bench(name, images)
    with closing(Processes(evaluator, workers)) as engine:
        started = time.perf_counter()
        swept(evaluator, engine)
        first = time.perf_counter() - started
        pairs = [(swept(evaluator, None), swept(evaluator, engine)) for _ in range(rounds)]
    return {
        "model": name,
        "images": len(evaluator.inputs.images),
        "workers": workers,
        "one_process_s": round(median(one for one, _ in pairs), 2),
        "workers_s": round(median(several for _, several in pairs), 2),
        "ratio": round(median(one / several for one, several in pairs), 2),
        "ratios": [round(one / several, 2) for one, several in pairs],
        "start_s": round(first - median(several for _, several in pairs), 2),
    }


def ray_ratio(name: str, images: int, workers: int, rounds: int) -> dict[str, object]:
    """Returns what workers on a Ray cluster of this machine do in the time of as many processes without Ray."""
    evaluator = bench(name, images)
    on_ray = RayEngine(cluster=RayCluster(gpus_per_worker=0), evaluator=evaluator, most=workers, note=quiet)
    with closing(Processes(evaluator, workers)) as engine, closing(on_ray):
        started = time.perf_counter()
        swept(evaluator, on_ray)
        first = time.perf_counter() - started
        swept(evaluator, engine)
        pairs = [(swept(evaluator, engine), swept(evaluator, on_ray)) for _ in range(rounds)]
    return {
        "model": name,
        "images": len(evaluator.inputs.images),
        "ray_workers": workers,
        "ratio_to_workers": round(median(other / own for other, own in pairs), 2),
        "ratios": [round(other / own, 2) for other, own in pairs],
        "start_s": round(first - median(own for _, own in pairs), 2),
    }


def bench(name: str, images: int) -> Evaluator:
    """Returns a model with random weights and random images."""
    shape, times = MODELS[name]
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(default_spec(name, 10, shape))
    subject = Subject(run="r", model=name, weights="0" * 64)
    pixels = torch.randint(0, 256, (times * images, *shape), dtype=torch.uint8, generator=draw)
    shown = MemoryImages(
        name="random",
        split="test",
        classes=tuple(map(str, range(10))),
        pixels=pixels,
        labels=torch.randint(0, 10, (len(pixels),), generator=draw),
        positions=torch.arange(len(pixels)),
    )
    model = LoadedModel(subject=subject, model=network.eval(), device=torch.device("cpu"))
    return Evaluator(model=model, inputs=Inputs(images=shown, spec=load_spec("cifar10_c")))


def swept(evaluator: Evaluator, engine: Engine | None) -> float:
    """Returns the seconds of a sweep."""
    facts, images = evaluator.model.facts, evaluator.inputs.images
    planner = Planner(model=facts, images=images_fact(images), batch_size=250)
    plan = [*planner.sweep(planned_corruptions(evaluator.inputs, NAMES, SEVERITIES), [TrainingLambda()])]
    with tempfile.TemporaryDirectory() as folder, ResultStore(Path(folder) / "results.sqlite") as store:
        started = time.perf_counter()
        met: Iterator[int] = (it.met for it in driver.run(plan, evaluator, store, engine=engine))
        assert sum(met) > 0
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
