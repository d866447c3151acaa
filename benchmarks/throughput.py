"""What sparse coding costs: images per second relative to the plain network, and of adaptive to plain inference.

    python benchmarks/throughput.py --device cpu
    python benchmarks/throughput.py --models detrame-resnet8 --output FOLDER

Every ratio is the median over alternating measurements (A B A B ...) of one process, so that a machine that slows down
slows both down. Aims for SDNets: training and evaluation at more than 0.85 (CPU) or 0.95 (GPU) of the ResNet's images
per second, and adaptive inference in at most 1.15 times the time of plain inference, where the stem is the only CSC
layer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from rows import RESULTS, machine, write_csv
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda
from robustcsc.allocator import keep_freed_memory
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.csc import csc_layers
from robustcsc.measurements.fits import DEFINITIONS, LambdaFit, Line
from robustcsc.measurements.policies import Scope
from robustcsc.models.catalog import MODELS, build, default_spec

#: The network that each is compared with.
BASELINES = {"sdnet18": "resnet18", "sdnet20": "resnet20", "sdnet-textures": "resnet-textures"} | {
    name: name.removeprefix("detrame-") for name in MODELS if name.startswith("detrame-")
}
NUM_CLASSES = 10
IMAGE_SHAPE = (3, 32, 32)
FIELDS = (
    "device", "torch", "threads", "kept_memory", "precision", "batch_size", "repeats",
    "quantity", "numerator", "denominator", "ratio", "lowest", "highest", "aim", "numerator_rate", "denominator_rate",
)  # fmt: skip

Work = Callable[[], object]


class Bench:
    """Times pieces of work on one batch of random images."""

    def __init__(self, device: torch.device, precision: str, batch_size: int, repeats: int) -> None:
        self.device, self.precision, self.batch_size, self.repeats = device, precision, batch_size, repeats
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(batch_size, *IMAGE_SHAPE, generator=generator)
        self.images = images.to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(NUM_CLASSES, (batch_size,), generator=generator).to(device)

    def build(self, name: str) -> nn.Module:
        """Returns a model with fresh weights, laid out as for training."""
        torch.manual_seed(0)
        model = build(default_spec(name, NUM_CLASSES, IMAGE_SHAPE))
        return model.to(self.device).to(memory_format=torch.channels_last)

    def training(self, name: str, *, compiled: bool = False) -> Work:
        """Returns a full training step: forward, backward, SGD, projection."""
        model = self.build(name).train()
        if compiled:
            model.compile()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def step() -> None:
            with self.autocast():
                loss = F.cross_entropy(model(self.images), self.labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            project_parameters(model)

        return step

    def evaluation(self, model: nn.Module) -> Work:
        """Returns a forward pass without gradients."""
        model.eval()

        def forward() -> Tensor:
            with torch.inference_mode(), self.autocast():
                logits: Tensor = model(self.images)
            return logits

        return forward

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """Returns the context of the precision."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16-mixed" else nullcontext()

    def ratio(self, first: Work, second: Work) -> tuple[list[float], float, float]:
        """Returns the ratios of seconds first / second, one per pair, and the median seconds of each."""
        for work in (first, second, first, second):  # caches, kernel choice, memory
            self.seconds(work)
        pairs = [(self.seconds(first), self.seconds(second)) for _ in range(self.repeats)]
        return [a / b for a, b in pairs], median(a for a, _ in pairs), median(b for _, b in pairs)

    def seconds(self, work: Work) -> float:
        """Returns the wall-clock seconds of one call, until the device has finished."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def beside_baseline(bench: Bench, name: str) -> list[dict[str, object]]:
    """Returns the rows of one network's images per second, relative to the network that it is compared with."""
    least = 0.95 if bench.device.type == "cuda" else 0.85
    baseline, model = BASELINES[name], bench.build(name)
    aim = f">{least}" if csc_layers(model) else ""
    # Images per second relative to the other network: its seconds over this one's.
    steps = bench.ratio(bench.training(baseline), bench.training(name))
    passes = bench.ratio(bench.evaluation(bench.build(baseline)), bench.evaluation(model))
    return [
        row(bench, "training", name, baseline, steps, aim, speed=True),
        row(bench, "evaluation", name, baseline, passes, aim, speed=True),
    ]


def beside_plain(bench: Bench, name: str) -> list[dict[str, object]]:
    """Returns the rows of one network's time at other lambdas, relative to its training lambda; none without lambda."""
    model = bench.build(name)
    if not csc_layers(model):
        return []
    plain = bench.evaluation(model)
    policies = {
        "fixed lambda": ModelAtLambda(model, 0.5),
        "adaptive per batch": AdaptiveModel(model, fixed_fit(name), Scope.BATCH),
        "adaptive per image": AdaptiveModel(model, fixed_fit(name), Scope.IMAGE),
    }
    costs = {words: bench.ratio(bench.evaluation(policy), plain) for words, policy in policies.items()}
    return [
        row(bench, "inference time", f"{name} {words}", f"{name} plain", cost, "<=1.15", speed=False)
        for words, cost in costs.items()
    ]


def row(
    bench: Bench,
    quantity: str,
    numerator: str,
    denominator: str,
    measured: tuple[list[float], float, float],
    aim: str,
    *,
    speed: bool,
) -> dict[str, object]:
    """Returns one row of the table; with `speed` the ratio is of images per second, else of seconds."""
    ratios, first, second = measured
    rates = (bench.batch_size / second, bench.batch_size / first)
    above, below = rates if speed else rates[::-1]
    return {
        **machine(bench.device),
        "precision": bench.precision,
        "batch_size": bench.batch_size,
        "repeats": bench.repeats,
        "quantity": quantity,
        "numerator": numerator,
        "denominator": denominator,
        "ratio": round(median(ratios), 4),
        "lowest": round(min(ratios), 4),
        "highest": round(max(ratios), 4),
        "aim": aim,
        "numerator_rate": round(above, 1),
        "denominator_rate": round(below, 1),
    }


def fixed_fit(name: str) -> LambdaFit:
    """Returns a fit with a fixed line: its values do not change what is computed."""
    line = Line(slope=1e-3, intercept=0.1, r2=1.0)
    return LambdaFit(
        model=name,
        weights="",
        dataset="",
        noise="gaussian",
        seed=0,
        heldout="",
        trained_on_heldout=False,
        lam0=0.1,
        grid=(0.1, 1.5),
        levels=(),
        lines=dict.fromkeys(DEFINITIONS, line),
        dataset_definition="squared",
        image_definition="relative",
        image_line=line,
        image_candidates={},
        created="",
    )


def main() -> None:
    """Measures, prints and writes ``results/throughput-<device>.csv``."""
    parser = argparse.ArgumentParser(description="Throughput relative to the networks they are compared with.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", nargs="+", choices=tuple(BASELINES), default=["sdnet18", "sdnet20"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--give-memory-back", action="store_true", help="Leave the C library's allocator as it is.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the CSV file.")
    arguments = parser.parse_args()
    kept = not arguments.give_memory_back and keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    bench = Bench(torch.device(arguments.device), arguments.precision, arguments.batch_size, arguments.repeats)
    rows = []
    for name in arguments.models:
        for result in beside_baseline(bench, name) + beside_plain(bench, name):
            print(
                f"{result['quantity']}: {result['numerator']} / {result['denominator']} = {result['ratio']} "
                f"[{result['lowest']}, {result['highest']}]" + (f", aim {result['aim']}" if result["aim"] else ""),
                flush=True,
            )
            rows.append({**result, "kept_memory": kept})
    path = arguments.output / f"throughput-{arguments.device}.csv"
    write_csv(path, rows, FIELDS)
    print(f"{path}: {', '.join(f'{name} {value}' for name, value in machine(bench.device).items())}")


if __name__ == "__main__":
    main()
