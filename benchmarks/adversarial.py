"""PGD and Square against an independent implementation: what each leaves of the accuracy, and what it costs.

    python benchmarks/adversarial.py --root FOLDER
    python benchmarks/adversarial.py --root FOLDER --images 100 --models resnet20-cifar10-jpeg

The attacks of this package and those of the Adversarial Robustness Toolbox (ART), which is installed into a temporary
folder for this run, on the shipped CIFAR models at their training lambda, the same images, budgets, steps, step sizes
and queries. Adversarial images of both are scored by the same code, and checked to lie in the ball and the box.

Every row is written as soon as it is measured: rerun an interrupted benchmark to resume it.

Aim: the 95 % intervals of the robust accuracies overlap, and the shares are within 3 points of each other.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art_toolbox import classifier, toolbox
from rows import RESULTS, machine, write_csv
from torch import Tensor, nn

from robustcsc.allocator import keep_freed_memory
from robustcsc.attacks.catalog import counted, craft
from robustcsc.data import load
from robustcsc.data.splits import evenly_spaced
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.measurements.threats import DEFAULT_EPSILON, NORMS, Norm, ThreatModel
from robustcsc.models.checkpoint import load_shipped

MODELS = ("sdnet20-cifar10-jpeg", "resnet20-cifar10-jpeg")
STEPS, BATCH = 20, 100
STEP_SIZE: dict[Norm, float] = {"linf": 2 / 255, "l2": 0.1}
FIELDS = (
    "device", "torch", "threads", "model", "images", "norm", "epsilon", "attack", "way",
    "correct", "accuracy", "low", "high", "clean", "seconds", "cpu_seconds", "forward_calls", "gradient_calls",
)  # fmt: skip
KEY = ("device", "model", "images", "norm", "attack", "way")


@dataclass(frozen=True)
class Task:
    """A model, its images, and a budget."""

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    queries: int


class Whole(nn.Module):
    """The model as one module: ART calls the parts of an nn.Sequential, past the hooks that count its calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits."""
        logits: Tensor = self.model(images)
        return logits


def ours(task: Task, attack: str) -> Tensor:
    """Attacks with this package, in batches."""
    if attack == "pgd":
        step = AttackStep.of(attack, steps=STEPS, step_size=STEP_SIZE[task.threat.norm])
    else:
        step = AttackStep.of(attack, queries=task.queries)
    rows = torch.arange(len(task.labels)).split(BATCH)
    parts = [
        craft(step, task.model, task.images[each], task.labels[each], task.threat, seed=int(each[0])) for each in rows
    ]
    return torch.cat(parts)


def art(task: Task, attack: str) -> Tensor:
    """Attacks with the Adversarial Robustness Toolbox."""
    from art.attacks.evasion import (  # type: ignore[import-not-found]
        ProjectedGradientDescentPyTorch,
        SquareAttack,
    )

    np.random.seed(0)
    torch.manual_seed(0)
    model = Whole(task.model)
    attacked = classifier(model, task.images.shape[1:], 10, cuda=task.images.is_cuda, clip_values=(0.0, 1.0))
    norm = np.inf if task.threat.norm == "linf" else 2
    common: dict[str, Any] = {"norm": norm, "eps": task.threat.epsilon, "batch_size": BATCH, "verbose": False}
    if attack == "pgd":
        made: Any = ProjectedGradientDescentPyTorch(
            attacked, eps_step=STEP_SIZE[task.threat.norm], max_iter=STEPS, num_random_init=1, **common
        )
    else:
        made = SquareAttack(attacked, max_iter=task.queries, p_init=0.8, nb_restarts=1, **common)
    found = made.generate(task.images.cpu().numpy(), task.labels.cpu().numpy())
    return torch.from_numpy(found).to(task.images)


WAYS: dict[str, Callable[[Task, str], Tensor]] = {"robustcsc": ours, "ART": art}


def measure(task: Task, attack: str, way: str, clean: int) -> dict[str, object]:
    """Returns one row."""
    started, worked = time.perf_counter(), time.process_time()
    with counted(task.model) as calls:
        found = WAYS[way](task, attack)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    task.model.eval()
    change = (found - task.images).double()
    order = float("inf") if task.threat.norm == "linf" else 2
    size = float(torch.linalg.vector_norm(change, order, dim=(1, 2, 3)).max())
    if size > task.threat.epsilon * (1 + 1e-4) or found.min() < 0 or found.max() > 1:
        raise SystemExit(f"{way}, {attack}: an image left the ball ({size:g}) or the box.")
    correct = right(task.model, found, task.labels)
    low, high = wilson_interval(correct, len(task.labels))
    return {
        **machine(task.images.device),
        "model": task.name,
        "images": len(task.labels),
        "norm": task.threat.norm,
        "epsilon": round(task.threat.epsilon, 6),
        "attack": words(task, attack),
        "way": way,
        "correct": correct,
        "accuracy": round(correct / len(task.labels), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "clean": clean,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "forward_calls": round(calls.forward / len(task.labels), 1),
        "gradient_calls": round(calls.gradient / len(task.labels), 1),
    }


def words(task: Task, attack: str) -> str:
    """Returns an attack in words."""
    return f"pgd, {STEPS} steps" if attack == "pgd" else f"square, {task.queries} queries"


@torch.no_grad()
def right(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Returns how many images are classified as labelled."""
    return sum(
        int((model(images[rows]).argmax(1) == labels[rows]).sum()) for rows in torch.arange(len(labels)).split(BATCH)
    )


def tasks(arguments: argparse.Namespace) -> Iterator[Task]:
    """Yields every model with every norm."""
    device = torch.device(arguments.device)
    chosen = evenly_spaced(load("imagefolder", arguments.root, "test"), arguments.images)
    batches = list(chosen.batches(len(chosen), device=device))
    images, labels = (torch.cat([getattr(batch, part) for batch in batches]) for part in ("images", "labels"))
    for name in arguments.models:
        model = load_shipped(name).model.to(device).to(memory_format=torch.channels_last).eval()
        for norm in NORMS:
            threat = ThreatModel(norm, DEFAULT_EPSILON[norm])
            yield Task(name, model, images, labels, threat, arguments.queries)


def summary(rows: list[dict[str, Any]]) -> str:
    """Returns a table with one line per model, budget and attack, both ways side by side."""
    first = rows[0]
    lines = [
        f"# PGD and Square, and an independent implementation ({first['device']}, {first['threads']} thread(s))",
        "",
        f"torch {first['torch']}; {first['images']} evenly spaced test images; accuracies in percent with 95 % Wilson "
        "intervals; calls are images through the model, counted on it, per attacked image. The attacks are random: "
        "equal numbers would be a coincidence.",
        "",
        "| model | budget | attack | way | accuracy left | CPU seconds | forward calls | gradient calls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["model"], row["norm"], row["attack"], row["way"])):
        low, share, high = (f"{100 * float(row[name]):.1f}" for name in ("low", "accuracy", "high"))
        budget = f"{row['norm']} {float(row['epsilon']):.4g}"
        cells = (row["model"], budget, row["attack"], row["way"], f"{share} [{low}, {high}]", row["cpu_seconds"])
        lines.append(f"| {' | '.join(map(str, (*cells, row['forward_calls'], row['gradient_calls'])))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and writes ``results/adversarial-<device>.csv`` and ``.md``."""
    parser = argparse.ArgumentParser(description="PGD and Square against an independent implementation.")
    parser.add_argument("--root", type=Path, required=True, help="Folder of CIFAR-10 as images.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--queries", type=int, default=200, help="Queries of Square.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without-art", action="store_true", help="Install nothing.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the files.")
    arguments = parser.parse_args()
    keep_freed_memory()
    path = arguments.output / f"adversarial-{arguments.device}.csv"
    rows: list[dict[str, Any]] = list(csv.DictReader(path.open())) if path.exists() else []
    done = {tuple(str(row[name]) for name in KEY) for row in rows}
    with toolbox(wanted=not arguments.without_art) as found:
        for task in tasks(arguments):
            clean = right(task.model, task.images, task.labels)
            for attack in ("pgd", "square"):
                for way in WAYS if found else ["robustcsc"]:
                    device = str(machine(task.images.device)["device"])
                    cell = (device, task.name, str(len(task.labels)), task.threat.norm, words(task, attack), way)
                    if cell in done:
                        continue
                    rows.append(measure(task, attack, way, clean))
                    print(rows[-1], flush=True)
                    write(path, rows)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows, and the summary beside them."""
    write_csv(path, rows, FIELDS)
    path.with_suffix(".md").write_text(summary(rows))


if __name__ == "__main__":
    main()
