"""How much of a corruption sweep is the network: time of the bare forward passes over time of the whole sweep.

    python benchmarks/sweep.py --device cuda --images 10000 --precision bf16-mixed
    python benchmarks/sweep.py --device cpu --images 64

The sweep is a plan over the 15 standard corruptions at 5 severities with a fresh network.
It moves the images to the device, corrupts them, runs the network, counts, and writes each of the 75 results to a store
on the disk. The bare passes run the same network over the same number of clean images that lie on the device already,
75 times over, with the same settings of PyTorch: what is measured keeps all bits of float32 and adds in one order
(`robustcsc.layers.precision.reproducible`). What that costs is a second time of the bare passes, with PyTorch free to
choose. Aim on a GPU: at least 0.8.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from rows import RESULTS, machine, write_csv
from torch import nn

from robustcsc.allocator import keep_freed_memory
from robustcsc.corruptions import SEVERITIES, load_spec, select
from robustcsc.data.memory import MemoryImages
from robustcsc.evaluation import driver
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs, planned_corruptions
from robustcsc.layers.precision import Bfloat16, reproducible
from robustcsc.measurements.policies import NoLambda
from robustcsc.measurements.records import Subject
from robustcsc.measurements.store import ResultStore
from robustcsc.models.catalog import build, default_spec
from robustcsc.session.measuring import Measuring, Setup

NUM_CLASSES = {"cifar10_c": 10, "imagenet_c": 1000}


def random_images(count: int, side: int, num_classes: int) -> MemoryImages:
    """Smooth random images, so that no corruption meets something unlike a photograph."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.empty(count, 3, side, side, dtype=torch.uint8)
    for rows in torch.arange(count).split(500):
        coarse = torch.rand(len(rows), 3, side // 8, side // 8, generator=generator)
        fine = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp_(0.0, 1.0)
        pixels[rows] = (fine * 255).to(torch.uint8)
    return MemoryImages(
        name="random",
        split="test",
        classes=tuple(map(str, range(num_classes))),
        pixels=pixels,
        labels=torch.randint(num_classes, (count,), generator=generator),
        positions=torch.arange(count),
    )


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """The row of one measurement."""
    device = torch.device(arguments.device)
    spec = load_spec(arguments.table)
    names = select(spec, arguments.corruptions)
    num_classes = NUM_CLASSES[arguments.table]
    torch.manual_seed(0)
    network = build(default_spec(arguments.model, num_classes, (3, spec.image_size, spec.image_size)))
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    model = Bfloat16(network) if arguments.precision == "bf16-mixed" else network
    images = random_images(arguments.images, spec.image_size, num_classes)
    subject = Subject(run="benchmark", model=arguments.model, weights="random")
    setup = Setup(
        model=LoadedModel(subject=subject, model=model, device=device),
        inputs=Inputs(images=images, spec=spec),
        policies=(NoLambda(),),
        measuring=Measuring(batch_size=arguments.batch_size),
    )
    batches = [batch.images for batch in images.batches(arguments.batch_size, device=device)]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(batch)

    def whole(severities: Sequence[int] = SEVERITIES) -> None:
        with tempfile.TemporaryDirectory() as folder, ResultStore(Path(folder) / "results.sqlite") as store:
            corruptions = planned_corruptions(setup.inputs, names, severities)
            for _ in driver.run(setup.planner.sweep(corruptions, setup.policies), setup.evaluator, store):
                pass

    def bare() -> float:
        forward()  # kernel choice, memory
        return median(seconds(forward, device) for _ in range(5)) * len(names) * len(SEVERITIES)

    with reproducible():
        alike = bare()
    free = bare()
    whole(SEVERITIES[:1])
    taken = seconds(whole, device)
    return {
        **machine(device),
        "precision": arguments.precision,
        "model": arguments.model,
        "table": arguments.table,
        "corruptions": len(names),
        "images": arguments.images,
        "batch_size": arguments.batch_size,
        "forward_seconds": round(alike, 3),
        "free_forward_seconds": round(free, 3),
        "sweep_seconds": round(taken, 3),
        "efficiency": round(alike / taken, 4),
    }


def main() -> None:
    """Measures, prints and writes ``results/sweep-<device>.csv``."""
    parser = argparse.ArgumentParser(description="Share of the forward passes in the time of a corruption sweep.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--table", choices=tuple(NUM_CLASSES), default="cifar10_c")
    parser.add_argument("--corruptions", default="standard", help="Names or groups, separated by commas.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the CSV file.")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    row = measure(arguments)
    for name, value in row.items():
        print(f"{name}: {value}")
    write_csv(arguments.output / f"sweep-{arguments.device}.csv", [row])


if __name__ == "__main__":
    main()
