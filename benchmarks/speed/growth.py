"""How a sweep grows: ten times the images, and fifteen policies, beside ten and fifteen times the cost of one."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from row import Row

from robustcsc.corruptions import load_spec
from robustcsc.data.memory import MemoryImages
from robustcsc.evaluation import driver
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.policies import FixedLambda, Policy
from robustcsc.measurements.records import Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.models.checkpoint import load_shipped

FEW, MANY, POLICIES, REPEATS = 1000, 10_000, 15, 3
PROCESS = Path("/proc/self")


def rows() -> list[Row]:
    """Returns the growth of seconds with images and with policies, and of memory with images."""
    model = LoadedModel(
        subject=Subject(run="r", model="sdnet-digits", weights="0" * 64),
        model=load_shipped("sdnet-digits").model,
        device=torch.device("cpu"),
    )
    grid: list[Policy] = [FixedLambda(0.1 * (1 + step)) for step in range(POLICIES)]
    _sweep(model, FEW, grid[:1])  # caches, choice of kernels
    spent: dict[str, list[tuple[float, float]]] = {"few": [], "many": [], "policies": []}
    for _ in range(REPEATS):
        spent["few"].append(_sweep(model, FEW, grid[:1]))
        spent["many"].append(_sweep(model, MANY, grid[:1]))
        spent["policies"].append(_sweep(model, FEW, grid))
    one, many, policies = ([seconds for seconds, _ in spent[name]] for name in spent)
    memory = [max(peaks for _, peaks in spent[name]) for name in ("many", "few")]
    return [
        _row(f"{MANY} images", f"{MANY // FEW} times {FEW} images", many, [MANY // FEW * each for each in one], 1.1),
        _row(f"{POLICIES} policies", f"{POLICIES} times one", policies, [POLICIES * each for each in one], 1.1),
        replace(_row(f"peak of {MANY} images", f"peak of {FEW}", memory[:1], memory[1:], 1.1), unit="MiB"),
    ]


def _sweep(model: LoadedModel, count: int, policies: list[Policy]) -> tuple[float, float]:
    """Returns the CPU seconds of a sweep over one corruption, and the peak memory during it in MiB."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=draw)
    images = MemoryImages(
        name="noise",
        split="test",
        pixels=pixels,
        labels=torch.arange(count) % 10,
        classes=tuple("0123456789"),
        positions=torch.arange(count),
    )
    inputs = Inputs(images=images, spec=load_spec("cifar10_c"))
    planner = Planner(model=model.facts, images=images_fact(images), batch_size=250)
    with tempfile.TemporaryDirectory() as folder, ResultStore(Path(folder) / "results.sqlite") as store:
        plan = list(planner.sweep(planned_corruptions(inputs, ["gaussian_noise"], [3]), policies))
        (PROCESS / "clear_refs").write_text("5")  # the peak starts again
        started = time.process_time()
        made = list(driver.run(plan, Evaluator(model=model, inputs=inputs), store))
        seconds = time.process_time() - started
    assert len(made) == len(policies)
    status = dict(line.split(":", 1) for line in (PROCESS / "status").read_text().splitlines())
    return seconds, int(status["VmHWM"].split()[0]) / 1024


def _row(what: str, other: str, ours: list[float], theirs: list[float], at_most: float) -> Row:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    middle = median(ours), median(theirs), median(ratios)
    return Row("growth", f"sweep of digits: {what}", other, "s of CPU", *middle, min(ratios), max(ratios), at_most)
