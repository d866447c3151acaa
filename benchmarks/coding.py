"""What Res-CSC and MSD-CSC cost: relative to the networks they explain, and before and after writing them cleverly.

    python benchmarks/coding.py --device cpu

Every ratio is the median over alternating measurements (A B A B ...) of one process. "Before" is the formula as it is
printed: eq. 5 with the convolution of ``c D2' D2 X_{-1}`` apart from that of X (Res-CSC), and algorithms 2 and 3 with
their concatenation and split in every step (MSD-CSC). Both compute the same function, up to the scale of MSD-CSC's
codes.

Seconds are those of the wall clock, or with ``--cpu-seconds`` of the processor, which other work on the machine does
not change.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.allocator import keep_freed_memory
from robustcsc.evaluation.models import device_words
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.residual_csc import ResidualCSCBlock
from robustcsc.layers.solvers import SOLVERS
from robustcsc.models.catalog import build, default_spec

RESULTS = Path(__file__).parent / "results"
IMAGE_SHAPE = (3, 32, 32)
FIELDS = (
    "device", "torch", "threads", "precision", "batch_size", "repeats", "clock", "quantity",
    "model", "relative_to", "ratio", "lowest", "highest", "model_rate", "relative_to_rate",
)  # fmt: skip

Work = Callable[[], object]


class LiteralResidualBlock(nn.Module):
    """Eq. 5 term by term: two convolutions and a transposed one behind the first layer."""

    def __init__(self, block: ResidualCSCBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes."""
        block = self.block
        start = block.shortcut(images)
        signal = block.relu(block.bn1(block.conv1(images)))
        synthesis = F.conv_transpose2d(start, block.conv2.weight, padding=1)
        codes = block.bn2(block.conv2(signal) + block.synthesis_weight * block.conv2(synthesis))
        activated: Tensor = block.relu(codes + start)
        return activated


class LiteralDenseLayer(nn.Module):
    """Algorithms 2 and 3: the generic solver on codes that are concatenated and split in every step.

    The codes are the solver's own, not divided.
    """

    def __init__(self, layer: DenseCSCConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes."""
        layer = self.layer
        channels = images.shape[1]
        place = {"padding": layer.padding, "dilation": layer.dilation}
        bias = layer.step_size * torch.cat((layer.bias.new_zeros(channels), layer.bias)).view(-1, 1, 1)
        floor = torch.cat((layer.lowest, layer.lowest.new_zeros(len(layer.bias), 1, 1)))

        def both(signal: Tensor) -> Tensor:
            return torch.cat((signal, F.conv2d(signal, layer.weight, **place)), 1)

        def prox(codes: Tensor) -> Tensor:
            shifted = codes + bias
            return torch.clamp(shifted, floor.to(shifted.dtype))

        def gradient(codes: Tensor) -> Tensor:
            if codes is start:
                return -both(images)
            kept, new = codes[:, :channels], codes[:, channels:]
            return both(kept + F.conv_transpose2d(new, layer.weight, **place) - images)

        start = images.new_zeros(())
        return SOLVERS[layer.solver](gradient, prox, start, layer.step_size.item(), 1 + layer.unfolding)


def literal(model: nn.Module) -> nn.Module:
    """Replaces the layers of `model` by their literal forms, in place; the weights stay."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, ResidualCSCBlock):
                setattr(module, name, LiteralResidualBlock(child))
            elif isinstance(child, DenseCSCConv2d):
                setattr(module, name, LiteralDenseLayer(child))
    return model


#: Model, its options, literal form or not, and what it is relative to.
Network = tuple[str, int | None, bool]
COMPARISONS: tuple[tuple[Network, Network], ...] = (
    (("res-csc20", None, True), ("resnet20", None, False)),
    (("res-csc20", None, False), ("resnet20", None, False)),
    (("res-csc20", None, False), ("res-csc20", None, True)),
    (("msd-csc-fista6", 2, True), ("msdnet6", None, False)),
    (("msd-csc-fista6", 2, False), ("msdnet6", None, False)),
    (("msd-csc-fista6", 2, False), ("msd-csc-fista6", 2, True)),
    (("msd-csc-ista6", 1, False), ("msdnet6", None, False)),
    (("msdnet6", None, False), ("msdnet6", None, True)),
    (("ml-csc-fista", 2, False), ("ml-csc-feedforward", None, False)),
)


def words(network: Network) -> str:
    """Returns a network in words."""
    name, unfolding, is_literal = network
    steps = "" if unfolding is None else f", unfolding {unfolding}"
    return f"{name}{steps}{', before' if is_literal else ''}"


class Bench:
    """Times training steps and forward passes on one batch of random images."""

    def __init__(self, device: torch.device, precision: str, batch_size: int, repeats: int, cpu_seconds: bool) -> None:
        self.device, self.precision, self.batch_size, self.repeats = device, precision, batch_size, repeats
        self.clock = time.process_time if cpu_seconds else time.perf_counter
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(batch_size, *IMAGE_SHAPE, generator=generator)
        self.images = images.to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (batch_size,), generator=generator).to(device)

    def model(self, network: Network) -> nn.Module:
        """Returns a network with fresh weights, laid out as for training."""
        name, unfolding, is_literal = network
        torch.manual_seed(0)
        options = {} if unfolding is None else {"unfolding": unfolding}
        model = build(default_spec(name, 10, IMAGE_SHAPE, options=options))
        model.to(self.device).to(memory_format=torch.channels_last)
        return literal(model) if is_literal else model

    def work(self, network: Network, training: bool) -> Work:
        """Returns a full training step (forward, backward, SGD, projection) or a forward pass without gradients."""
        model = self.model(network).train(training)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def step() -> None:
            with self.autocast():
                loss = F.cross_entropy(model(self.images), self.labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            project_parameters(model)

        @torch.no_grad()
        def forward() -> None:
            with self.autocast():
                model(self.images)

        return step if training else forward

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """Returns the context of the precision."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16-mixed" else nullcontext()

    def ratio(self, first: Work, second: Work) -> tuple[list[float], float, float]:
        """Returns the ratios of speed first / second, one per pair, and the images per second of each."""
        for work in (first, second):  # caches, kernel choice, memory
            self.seconds(work)
        pairs = [(self.seconds(first), self.seconds(second)) for _ in range(self.repeats)]
        rates = [self.batch_size / median(column) for column in zip(*pairs, strict=True)]
        return [b / a for a, b in pairs], rates[0], rates[1]

    def seconds(self, work: Work) -> float:
        """Returns the seconds of one call, until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        started = self.clock()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock() - started


def main() -> None:
    """Measures, prints and writes ``results/coding-<device>.csv``."""
    parser = argparse.ArgumentParser(description="Throughput of Res-CSC, MSD-CSC and ML-CSC.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--cpu-seconds", action="store_true", help="Seconds of the processor, for a busy machine.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the CSV file.")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    bench = Bench(device, arguments.precision, arguments.batch_size, arguments.repeats, arguments.cpu_seconds)
    rows = []
    for first, second in COMPARISONS:
        for training in (False, True):
            ratios, rate, other = bench.ratio(bench.work(first, training), bench.work(second, training))
            row = {
                "device": device_words(device),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "precision": arguments.precision,
                "batch_size": arguments.batch_size,
                "repeats": arguments.repeats,
                "clock": "cpu" if arguments.cpu_seconds else "wall",
                "quantity": "training" if training else "evaluation",
                "model": words(first),
                "relative_to": words(second),
                "ratio": round(median(ratios), 4),
                "lowest": round(min(ratios), 4),
                "highest": round(max(ratios), 4),
                "model_rate": round(rate, 1),
                "relative_to_rate": round(other, 1),
            }
            rows.append(row)
            print(
                f"{row['quantity']}: {row['model']} / {row['relative_to']} = {row['ratio']} "
                f"[{row['lowest']}, {row['highest']}], {row['model_rate']} / {row['relative_to_rate']} images/s",
                flush=True,
            )
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"coding-{arguments.device}{'-bf16' if arguments.precision != '32-true' else ''}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    main()
