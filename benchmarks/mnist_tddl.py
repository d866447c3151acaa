"""Table I of TDDL-CNN on MNIST: a CNN, TDDL-LIN and TDDL-CNN with 1,000 and with 60,000 training images.

    python benchmarks/mnist_tddl.py --root FOLDER --sizes 1000
    python benchmarks/mnist_tddl.py --root FOLDER --sizes 60000
    python benchmarks/mnist_tddl.py --root FOLDER --sizes 1000 --models tddl-cnn --subsets 3

Trains as `robustcsc train MODEL --train-images 1000 --heldout 0 --seed S` and `robustcsc train MODEL --heldout 0` do,
with the paper's recipes, and counts the correct ones of all 10,000 test images. The seed chooses the subset, initial
weights and order. Every finished training is one line of ``runs.csv``; rerun an interrupted command to
resume it. ``table-1.md`` is written again after each: ours beside the paper's figures, mean and
standard deviation over the subsets.

Source of the paper's column: Tirer and Giryes, EUSIPCO 2018, table I.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import mean, stdev

import torch
from rows import RESULTS, machine, write_csv

from robustcsc.allocator import keep_freed_memory
from robustcsc.data import ImageSet, load
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.tracing import traced
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.models.catalog import default_spec
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.tddl import TaskDriven
from robustcsc.runs import create
from robustcsc.training.log import quiet_fabric
from robustcsc.training.loop import Epoch
from robustcsc.training.recipes import RECIPES
from robustcsc.training.run import Hardware, train_run

#: Accuracy by number of training images and model: table I.
PAPER = {
    (1_000, "mnist-cnn"): 0.917,
    (1_000, "tddl-lin"): 0.898,
    (1_000, "tddl-cnn"): 0.928,
    (60_000, "mnist-cnn"): 0.990,
    (60_000, "tddl-lin"): 0.971,
    (60_000, "tddl-cnn"): 0.984,
}
NAMES = {"mnist-cnn": "full CNN", "tddl-lin": "TDDL-LIN", "tddl-cnn": "TDDL-CNN"}
FIELDS = (
    "images", "model", "seed", "correct", "total", "accuracy", "active_atoms", "seconds", "weights", "device",
    "torch", "threads",
)  # fmt: skip


def recipe_of(model: str, images: int) -> str:
    """Returns the paper's recipe."""
    return model if model == "mnist-cnn" else "tddl-1k" if images <= 1_000 else "tddl-60k"


def train(model: str, count: int, seed: int, images: ImageSet, arguments: argparse.Namespace) -> Checkpoint:
    """Trains one model into its run folder, or resumes its training."""
    name = f"{model}-{count}-{seed}"

    def tell(epoch: Epoch) -> None:
        print(f"{name}, epoch {epoch.number}: loss {epoch.loss:.4f}, {epoch.seconds:.0f} s", flush=True)

    return train_run(
        create(name, arguments.runs, exist_ok=True),
        default_spec(model, len(images.classes), images.image_shape, normalization="mnist"),
        images,
        RECIPES[recipe_of(model, count)],
        data="mnist",
        heldout_fraction=0,
        train_images=count if count < len(images) else None,
        seed=seed,
        hardware=Hardware(device=arguments.device),
        resume=True,
        on_epoch=tell,
    )


@torch.no_grad()
def count_correct(trained: Checkpoint, test: ImageSet, device: str) -> tuple[int, float | None]:
    """Returns how many test images are classified correctly, and the mean number of active atoms."""
    model = trained.model.to(device)
    network = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    active: list[int] = []
    correct = 0
    coders = [] if network is None else [network.code]
    with evaluation_mode(model), traced(coders, after=lambda it, inputs, codes: active.append(int((codes != 0).sum()))):
        for batch in test.batches(1000, device=device):
            correct += int((model(batch.images).argmax(1) == batch.labels).sum())
    return correct, sum(active) / len(test) if active else None


def summary(rows: list[dict[str, str]]) -> str:
    """Returns ours beside the paper's figures as Markdown."""
    lines = [
        "# Table I of TDDL-CNN on MNIST",
        "",
        "Accuracy in percent on all 10,000 test images. 1,000 training images: mean and standard deviation over random "
        "subsets with 100 images of each class; 60,000: with the 95 % Wilson interval of one training. Made by "
        "`python benchmarks/mnist_tddl.py`; every training is a line of `runs.csv`. The column *paper* is quoted from "
        "Tirer and Giryes, EUSIPCO 2018, and not measured here.",
        "",
        "| training images | model | trainings | ours | paper | difference | active atoms | minutes per training |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (images, model), published in PAPER.items():
        group = [row for row in rows if (int(row["images"]), row["model"]) == (images, model)]
        if not group:
            continue
        shares = [int(row["correct"]) / int(row["total"]) for row in group]
        if len(group) > 1:
            ours = f"{100 * mean(shares):.2f} ± {100 * stdev(shares):.2f}"
        else:
            low, high = wilson_interval(int(group[0]["correct"]), int(group[0]["total"]))
            ours = f"{100 * shares[0]:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
        active = f"{mean(float(row['active_atoms']) for row in group):.1f}" if group[0]["active_atoms"] else ""
        minutes = f"{mean(float(row['seconds']) for row in group) / 60:.1f}"
        difference = f"{100 * (mean(shares) - published):+.2f}"
        cells = (f"{images:,}", NAMES[model], str(len(group)), ours, f"{100 * published:.1f}", difference, active)
        lines.append(f"| {' | '.join((*cells, minutes))} |")
    about = sorted({f"{row['device']}, {row['threads']} threads, torch {row['torch']}" for row in rows})
    return "\n".join([*lines, "", f"Trained on: {'; '.join(about)}."]) + "\n"


def measure(model: str, count: int, seed: int, images: ImageSet, test: ImageSet, arguments: argparse.Namespace) -> None:
    """Adds one training to the tables, unless it is there."""
    table = arguments.output / "runs.csv"
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    if any((row["images"], row["model"], row["seed"]) == (str(count), model, str(seed)) for row in rows):
        return
    trained = train(model, count, seed, images, arguments)
    correct, active = count_correct(trained, test, arguments.device)
    row = {
        "images": count,
        "model": model,
        "seed": seed,
        "correct": correct,
        "total": len(test),
        "accuracy": correct / len(test),
        "active_atoms": "" if active is None else round(active, 2),
        "seconds": round(trained.training["seconds"], 1),
        "weights": trained.weights,
        **machine(torch.device(arguments.device)),
    }
    write_csv(table, [*rows, row], FIELDS)
    (arguments.output / "table-1.md").write_text(summary(list(csv.DictReader(table.open()))))
    print(f"{model}, {count} images, seed {seed}: {correct} of {len(test)}, {row['seconds']} s", flush=True)


def main() -> None:
    """Trains what is missing and writes the tables."""
    parser = argparse.ArgumentParser(description="Table I of TDDL-CNN on MNIST.")
    parser.add_argument("--root", type=Path, required=True, help="Folder with torchvision's MNIST.")
    parser.add_argument("--models", nargs="+", choices=tuple(NAMES), default=list(NAMES))
    parser.add_argument("--sizes", nargs="+", type=int, choices=(1_000, 60_000), default=[1_000, 60_000])
    parser.add_argument("--subsets", type=int, default=20, help="Trainings with 1,000 images.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist-tddl"), help="Folder of the run folders.")
    parser.add_argument("--output", type=Path, default=RESULTS / "mnist-tddl", help="Folder of the tables.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    quiet_fabric()
    images, test = (load("mnist", arguments.root, split) for split in ("train", "test"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for count in arguments.sizes:
        for seed in range(arguments.subsets if count < len(images) else 1):
            for model in arguments.models:
                measure(model, count, seed, images, test, arguments)


if __name__ == "__main__":
    main()
