"""What batches bring to universal perturbations: seconds and fooling rates, in batches and image by image.

    python benchmarks/universal.py
    python benchmarks/universal.py --models sdnet-digits resnet20-cifar10-jpeg --root FOLDER

Five ways to craft on the same training images, in one process on one machine, all scored on the same test images,
clamped to [0, 1]:

- batched: `universal_perturbation` as it is by default;
- one by one: the same with a batch size of 1;
- written out: the published algorithm, image by image, written down below without anything of the library;
- ART: UniversalPerturbation of the Adversarial Robustness Toolbox, installed into a temporary folder for this run; it
  is left out with a message where the package index cannot be reached;
- batched, to ART's rate: as batched, but it stops once as many crafting images are fooled as by ART: the same work.

Aim: batched takes at most a tenth of the seconds of each other way, at an equal or higher fooling rate.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art_toolbox import classifier, toolbox
from rows import RESULTS, machine, write_csv
from torch import Tensor, nn

from robustcsc.allocator import keep_freed_memory
from robustcsc.attacks.random_noise import CONTROLS
from robustcsc.attacks.universal import universal_perturbation
from robustcsc.data import ImageSet, load
from robustcsc.data.splits import evenly_spaced
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.models.checkpoint import load_shipped

#: Budget of each model: norm and xi in pixel units of [0, 1].
BUDGETS: dict[str, tuple[Norm, float]] = {
    "sdnet-digits": ("linf", 0.2),
    "resnet20-cifar10-jpeg": ("linf", 0.03),
    "sdnet20-cifar10-jpeg": ("linf", 0.03),
}
TO_ART = "batched, to ART's rate"
PASSES, DELTA, CLASSES, OVERSHOOT, INNER_STEPS = 10, 0.2, 10, 0.02, 10
FIELDS = (
    "device", "torch", "threads", "model", "norm", "xi", "crafting_images", "test_images", "seed", "way",
    "seconds", "cpu_seconds", "times_batched", "cpu_times_batched", "passes",
    "crafting_rate", "test_rate", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A model, its crafting and test images, and the budget."""

    name: str
    model: nn.Module
    train: ImageSet
    test: ImageSet
    threat: ThreatModel
    device: torch.device

    def pixels(self, images: ImageSet) -> Tensor:
        """Returns all pixels of a set."""
        return torch.cat([batch.images for batch in images.batches(250, device=self.device)])

    @torch.no_grad()
    def fooled(self, images: ImageSet, perturbation: Tensor) -> int:
        """Returns how many predictions a perturbation changes."""
        changed = 0
        for batch in images.batches(250, device=self.device):
            moved = (batch.images + perturbation.to(self.device)).clamp(0, 1)
            changed += int((self.model(batch.images).argmax(1) != self.model(moved).argmax(1)).sum())
        return changed


Way = Callable[[Task, int], tuple[Tensor, int]]
"""Crafts with a seed; returns the perturbation and the passes."""


def batched(task: Task, seed: int, delta: float = DELTA) -> tuple[Tensor, int]:
    """Crafts in batches, until a share of ``1 - delta`` of the crafting images is fooled."""
    made = universal_perturbation(
        task.model, task.train, task.threat, delta=delta, passes=PASSES, seed=seed, device=task.device
    )
    return made.values, made.passes


def one_by_one(task: Task, seed: int) -> tuple[Tensor, int]:
    """Crafts with the library, image by image."""
    made = universal_perturbation(
        task.model, task.train, task.threat, delta=DELTA, passes=PASSES, batch_size=1, seed=seed, device=task.device
    )
    return made.values, made.passes


def written_out(task: Task, seed: int) -> tuple[Tensor, int]:
    """Follows the paper line by line."""
    images = task.pixels(task.train)
    total, passes = torch.zeros_like(images[0]), 0
    generator = torch.Generator().manual_seed(seed)
    while passes < PASSES and task.fooled(task.train, total) < (1 - DELTA) * len(images):
        for row in torch.randperm(len(images), generator=generator).tolist():
            with torch.no_grad():
                clean = int(task.model(images[row : row + 1]).argmax())
                start = (images[row] + total).clamp(0, 1)
                fooled = int(task.model(start[None]).argmax()) != clean
            if not fooled:
                found = deepfool_of_one(task.model, start, clean)
                total = total if found is None else projected(total + found, task.threat)
        passes += 1
    return total, passes


def deepfool_of_one(model: nn.Module, start: Tensor, clean: int) -> Tensor | None:
    """Returns the way of one image over its nearest boundary, ``None`` if it was not reached."""
    way = torch.zeros_like(start)
    ranked: list[int] = []
    for step in range(INNER_STEPS + 1):
        point = (start + (1 + OVERSHOOT) * way)[None].requires_grad_()
        logits = model(point)[0]
        ranked = ranked or logits.argsort(descending=True).tolist()[:CLASSES]
        if int(logits.argmax()) != clean:
            return (1 + OVERSHOOT) * way
        if step == INNER_STEPS:
            break
        slopes = [torch.autograd.grad(logits[k], point, retain_graph=True)[0][0] for k in ranked]
        normals = [slope - slopes[0] for slope in slopes[1:]]
        gaps = [float((logits[k] - logits[clean]).detach().abs()) for k in ranked[1:]]
        lengths = [float(normal.norm()) for normal in normals]
        nearest = min(range(len(gaps)), key=lambda at: gaps[at] / lengths[at])
        way = way + gaps[nearest] / lengths[nearest] ** 2 * normals[nearest]
    return None


def projected(total: Tensor, threat: ThreatModel) -> Tensor:
    """Returns the perturbation within the ball."""
    if threat.norm == "linf":
        return total.clamp(-threat.epsilon, threat.epsilon)
    return total * min(1.0, threat.epsilon / float(total.norm()))


def art(task: Task, seed: int) -> tuple[Tensor, int]:
    """Crafts with the Adversarial Robustness Toolbox, which does not tell its passes (0 stands for that).

    It gets no clip values: with them the perturbation is cut to the box of each image it meets, and hardly fools.
    """
    from art.attacks.evasion import UniversalPerturbation  # type: ignore[import-not-found]

    random.seed(seed)
    np.random.seed(seed)
    attacked = classifier(task.model, task.train.image_shape, len(task.train.classes), cuda=task.device.type == "cuda")
    inner = {"max_iter": INNER_STEPS, "epsilon": OVERSHOOT, "nb_grads": CLASSES, "batch_size": 1, "verbose": False}
    attack: Any = UniversalPerturbation(
        attacked,
        attacker="deepfool",
        attacker_params=inner,
        delta=DELTA,
        max_iter=PASSES,
        eps=task.threat.epsilon,
        norm=np.inf if task.threat.norm == "linf" else 2,
        verbose=False,
    )
    attack.generate(task.pixels(task.train).cpu().numpy())
    task.model.eval()
    return torch.from_numpy(attack.noise[0]).float(), 0


def open_task(name: str, arguments: argparse.Namespace) -> Task:
    """Returns a shipped model with evenly spaced images of its data set."""
    device = torch.device(arguments.device)
    model = load_shipped(name).model.to(device).to(memory_format=torch.channels_last).eval()
    train, test = (
        _images(name, arguments.root, split, count)
        for split, count in (("train", arguments.images), ("test", arguments.test_images))
    )
    norm, xi = BUDGETS[name]
    return Task(name, model, train, test, ThreatModel(arguments.norm or norm, arguments.xi or xi), device)


def _images(name: str, root: Path | None, split: str, count: int) -> ImageSet:
    images = load("digits", split=split) if name == "sdnet-digits" else load("imagefolder", root, split)
    return evenly_spaced(images, count)


def measure(task: Task, ways: dict[str, Way], seeds: range) -> list[dict[str, object]]:
    """Returns one row per way and seed, the controls last."""
    about = {
        **machine(task.device),
        "model": task.name,
        "norm": task.threat.norm,
        "xi": task.threat.epsilon,
        "crafting_images": len(task.train),
        "test_images": len(task.test),
    }
    universal_perturbation(task.model, task.train, task.threat, passes=1, device=task.device)  # caches, kernel choice
    rows: list[dict[str, object]] = []
    for seed in seeds:
        first: tuple[float, float] | None = None
        turns = list(ways.items())
        for way, craft in turns:
            started, worked = time.perf_counter(), time.process_time()
            perturbation, passes = craft(task, seed)
            spent = (time.perf_counter() - started, time.process_time() - worked)
            first = first or spent
            timed = {
                "seconds": round(spent[0], 2),
                "cpu_seconds": round(spent[1], 2),
                "times_batched": round(spent[0] / first[0], 1),
                "cpu_times_batched": round(spent[1] / first[1], 1),
                "passes": passes or "",
            }
            rows.append({**about, "seed": seed, "way": way, **timed, **rates(task, perturbation)})
            print(f"{task.name}, seed {seed}, {way}: {rows[-1]}", flush=True)
            if way == "ART":
                turns.append((TO_ART, partial(batched, delta=1 - float(str(rows[-1]["crafting_rate"])))))
        for name, control in CONTROLS.items():
            found = rates(task, control(task.train.image_shape, task.threat, seed))
            rows.append({**about, "seed": seed, "way": name, **found})
    return rows


def rates(task: Task, perturbation: Tensor) -> dict[str, float]:
    """Returns the fooling rates on crafting and test images, with the interval of the latter."""
    fooled = task.fooled(task.test, perturbation)
    low, high = wilson_interval(fooled, len(task.test))
    return {
        "crafting_rate": round(task.fooled(task.train, perturbation) / len(task.train), 4),
        "test_rate": round(fooled / len(task.test), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """Returns a table with one line per model and way, the means over seeds."""
    first = rows[0]
    lines = [
        f"# Universal perturbations: in batches and image by image ({first['device']}, {first['threads']} threads)",
        "",
        f"torch {first['torch']}; at most {PASSES} passes, delta {DELTA}; means over seeds, lowest to highest ratio.",
        "Rates are the predictions changed among crafting images and among test images, in percent. On a machine with "
        "other work to do the ratio of CPU times tells more than that of seconds.",
        "",
        "| model | budget | images | way | seeds | seconds | times batched | CPU time, times batched | crafting rate "
        "| test rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        budget = f"{row['norm']} {row['xi']:g}"
        images = f"{row['crafting_images']} + {row['test_images']}"
        groups.setdefault((row["model"], budget, images, row["way"]), []).append(row)
    for key, group in groups.items():
        timed = [row for row in group if "seconds" in row]
        spent = [f"{mean(row['seconds'] for row in timed):.1f}"] if timed else [""]
        for ratio in ("times_batched", "cpu_times_batched"):
            ratios = sorted(row[ratio] for row in timed)
            spent.append(f"{mean(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})" if timed else "")
        shares = [f"{100 * mean(row[rate] for row in group):.1f}" for rate in ("crafting_rate", "test_rate")]
        lines.append(f"| {' | '.join((*map(str, key), str(len(group)), *spent, *shares))} |")
    return "\n".join(lines) + "\n"


def mean(numbers: Iterator[float] | list[float]) -> float:
    """Returns the mean."""
    return float(np.mean(list(numbers)))


def main() -> None:
    """Measures, prints and writes ``results/universal-<device>.csv`` and ``.md``."""
    parser = argparse.ArgumentParser(description="Universal perturbations in batches and image by image.")
    parser.add_argument("--models", nargs="+", choices=tuple(BUDGETS), default=["sdnet-digits"])
    parser.add_argument("--root", type=Path, help="Folder of CIFAR-10 as images, for the models of CIFAR-10.")
    parser.add_argument("--norm", choices=("linf", "l2"), help="With --xi, another budget than each model's own.")
    parser.add_argument("--xi", type=float)
    parser.add_argument("--images", type=int, default=300, help="Crafting images.")
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without-art", action="store_true", help="Install nothing.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the files.")
    arguments = parser.parse_args()
    if (arguments.norm is None) != (arguments.xi is None):
        parser.error("--norm and --xi go together")
    if arguments.root is None and set(arguments.models) != {"sdnet-digits"}:
        parser.error("the models of CIFAR-10 need --root")
    keep_freed_memory()
    ways: dict[str, Way] = {"batched": batched, "one by one": one_by_one, "written out": written_out}
    rows: list[dict[str, object]] = []
    with toolbox(wanted=not arguments.without_art) as found:
        ways = {**ways, "ART": art} if found else ways
        for name in arguments.models:
            rows += measure(open_task(name, arguments), ways, range(arguments.seeds))
    path = arguments.output / f"universal-{arguments.device}.csv"
    write_csv(path, rows, FIELDS)
    text = summary(rows)
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
