"""How fast many elastic-net codes are computed over one dictionary, against scikit-learn and FISTA.

    python benchmarks/elastic_net.py --root FOLDER
    python benchmarks/elastic_net.py --root FOLDER --threads 2 --signals 10000

Codes MNIST's features of a TDDL-LIN and a TDDL-CNN that were initialised as for training (400 atoms, the paper's
lambda_1), or of the checkpoints given with --weights. The ways take turns in one process:

- paths: `robustcsc.layers.elastic_net.elastic_net`, from float32 and from float64 features;
- fista: `robustcsc.layers.solvers.fista` on the whole batch, restarted every 100 steps until the largest gap is --gap;
- lasso_lars, lasso_cd: scikit-learn's `sparse_encode` in float64, in one process, which is its default, or --processes;
- lasso_cd, equal gap: the `Lasso` that `sparse_encode` calls, in one process, to the gap that `elastic_net` guarantees.
  `sparse_encode` itself stops at 2e-8 and has no parameter for it.

The gap is the largest duality gap relative to the objective of the zero code, computed in float64 for all of them.
scikit-learn codes the first --reference signals and FISTA a tenth of them, and their time is given for as many as the
others code. Several threads need an idle machine: they wait for each other after every operation. With other work
going on, measure with --threads 1, where CPU time tells more than seconds; scikit-learn's is counted with one process
only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rows import RESULTS, machine, write_csv
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import Lasso
from torch import Tensor

from robustcsc.data import load
from robustcsc.layers.elastic_net import GAP, duality_gap, elastic_net
from robustcsc.layers.prox import soft_threshold
from robustcsc.layers.solvers import fista
from robustcsc.layers.tracing import traced
from robustcsc.models import checkpoint
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.tddl import TaskDriven
from robustcsc.training.initialise import initialise
from robustcsc.training.parts import balanced_subset

WAYS = ("paths", "paths, float64", "fista", "lasso_lars", "lasso_cd", "lasso_cd, equal gap")
FIELDS = (
    "device", "torch", "threads", "processes", "model", "features", "atoms", "lam", "signals", "way", "coded",
    "active_atoms", "gap", "seconds", "cpu_seconds", "times_paths", "cpu_times_paths",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Signals, a dictionary and a lambda; in float32."""

    model: str
    features: Tensor
    dictionary: Tensor
    lam: float

    def first(self, count: int) -> Task:
        """Returns the task of the first signals."""
        return Task(self.model, self.features[:count], self.dictionary, self.lam)

    def lams(self) -> Tensor:
        """Returns lambda for each signal, in float64: in float32 0.8 would be another problem than scikit-learn's."""
        return torch.full((len(self.features),), self.lam, dtype=torch.float64, device=self.features.device)

    def gap(self, codes: Tensor) -> float:
        """Returns the largest relative duality gap."""
        features, dictionary = self.features.double(), self.dictionary.double()
        gaps = duality_gap(features, dictionary, codes.double(), self.lams())
        return float((gaps / features.square().sum(1) * 2).max())


def paths(task: Task) -> Tensor:
    """Codes float32 features by the library."""
    return elastic_net(task.features, task.dictionary, task.lams())


def paths64(task: Task) -> Tensor:
    """Codes float64 features by the library."""
    return elastic_net(task.features.double(), task.dictionary.double(), task.lams())


def accelerated(gap: float) -> Callable[[Task], Tensor]:
    """Returns FISTA in float64 until the largest gap is small enough, at most 100 restarts."""

    def code(task: Task) -> Tensor:
        features, dictionary = task.features.double(), task.dictionary.double()
        gram, correlation = dictionary.T @ dictionary, features @ dictionary
        step_size = 1 / float(torch.linalg.eigvalsh(gram)[-1])
        codes = torch.zeros_like(correlation)
        for _ in range(100):
            codes = fista(
                lambda z: z @ gram - correlation,
                lambda z: soft_threshold(z, step_size * task.lam),
                codes,
                step_size,
                100,
            )
            if task.gap(codes) <= gap:
                break
        return codes

    return code


def scikit(algorithm: str, processes: int) -> Callable[[Task], Tensor]:
    """Returns one of scikit-learn's ways."""

    def code(task: Task) -> Tensor:
        atoms = np.ascontiguousarray(task.dictionary.T.cpu().double().numpy())
        return torch.from_numpy(
            sparse_encode(
                task.features.cpu().double().numpy(),
                atoms,
                algorithm=algorithm,
                alpha=task.lam,
                max_iter=2000,
                n_jobs=processes,
            )
        ).to(task.features.device)

    return code


def coordinate_descent(task: Task) -> Tensor:
    """Codes as `sparse_encode` does by ``lasso_cd``, but to the library's gap."""
    signals = task.features.cpu().double().numpy().T
    atoms = np.asfortranarray(task.dictionary.cpu().double().numpy())
    # Its gap is relative to ||x||^2, ours to half of it; its objective is divided by the number of features.
    lasso = Lasso(task.lam / len(atoms), fit_intercept=False, precompute=atoms.T @ atoms, tol=GAP / 2, max_iter=100_000)
    return torch.from_numpy(lasso.fit(atoms, signals).coef_).to(task.features.device)


def open_task(name: str, arguments: argparse.Namespace, weights: Path | None) -> Task:
    """Returns the features of test images, and the dictionary, of a checkpoint or a freshly initialised model."""
    if weights is not None:
        model = checkpoint.load(weights).model
    else:
        train = load("mnist", arguments.root, "train")
        torch.manual_seed(0)
        model = build(default_spec(name, 10, train.image_shape))
        initialise(model, balanced_subset(train, 6000, 0), nu=0.1)
    network = next(module for module in model.modules() if isinstance(module, TaskDriven))
    kept: list[Tensor] = []
    with torch.no_grad(), traced([network.features], after=lambda module, inputs, output: kept.append(output)):
        for batch in load("mnist", arguments.root, "test").batches(1000):
            if sum(map(len, kept)) < arguments.signals:
                model.eval()(batch.images)
    device = torch.device(arguments.device)
    features = torch.cat(kept)[: arguments.signals].to(device)
    return Task(name, features, network.code.dictionary.detach().to(device), network.code.lam0)


def measure(task: Task, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Returns one row per way; each is the fastest of --rounds turns."""
    few = min(arguments.reference, len(task.features))
    ways: dict[str, tuple[Callable[[Task], Tensor], int]] = {
        "paths": (paths, len(task.features)),
        "paths, float64": (paths64, len(task.features)),
        "fista": (accelerated(arguments.gap), max(few // 10, 1)),
        "lasso_lars": (scikit("lasso_lars", arguments.processes), few),
        "lasso_cd": (scikit("lasso_cd", arguments.processes), few),
        "lasso_cd, equal gap": (coordinate_descent, few),
    }
    ways = {way: ways[way] for way in WAYS if way in ("paths", *arguments.ways)}
    spent: dict[str, tuple[float, float]] = dict.fromkeys(ways, (float("inf"), float("inf")))
    found: dict[str, tuple[float, float]] = {}
    paths(task.first(100))
    for _ in range(arguments.rounds):
        for way, (code, count) in ways.items():
            part = task.first(count)
            started, worked = time.perf_counter(), time.process_time()
            codes = code(part)
            if codes.is_cuda:
                torch.cuda.synchronize()
            scale = len(task.features) / count
            now = (scale * (time.perf_counter() - started), scale * (time.process_time() - worked))
            spent[way] = (min(spent[way][0], now[0]), min(spent[way][1], now[1]))
            found[way] = (float((codes != 0).sum(1).float().mean()), part.gap(codes))
    own = arguments.processes == 1  # other processes' CPU time is not ours
    rows: list[dict[str, object]] = []
    for way, (_, count) in ways.items():
        row = {
            **machine(torch.device(arguments.device)),
            "processes": arguments.processes,
            "model": task.model,
            "features": task.features.shape[1],
            "atoms": task.dictionary.shape[1],
            "lam": task.lam,
            "signals": len(task.features),
            "way": way,
            "coded": count,
            "active_atoms": round(found[way][0], 1),
            "gap": f"{found[way][1]:.1e}",
            "seconds": round(spent[way][0], 2),
            "times_paths": round(spent[way][0] / spent["paths"][0], 1),
        }
        if own or not way.startswith("lasso"):
            row["cpu_seconds"] = round(spent[way][1], 2)
            row["cpu_times_paths"] = round(spent[way][1] / spent["paths"][1], 1)
        rows.append(row)
        print(row, flush=True)
    return rows


def summary(rows: list[dict[str, object]]) -> str:
    """Returns the rows as a Markdown table."""
    first = rows[0]
    lines = [
        f"# Elastic-net codes ({first['device']}, torch {first['torch']})",
        "",
        f"{first['threads']} threads here, {first['processes']} processes of scikit-learn. "
        "Seconds for all signals; `times` is how many times as long as `paths`. The gap is the largest duality gap, "
        "relative to the objective of the zero code.",
        "",
        "| features of | size | atoms | lambda | signals | active atoms | way | gap | seconds | times | CPU seconds "
        "| times |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    columns = (
        "model", "features", "atoms", "lam", "signals", "active_atoms", "way", "gap", "seconds", "times_paths",
        "cpu_seconds", "cpu_times_paths",
    )  # fmt: skip
    lines += [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and writes ``results/elastic-net-<device>.csv`` and ``.md``."""
    parser = argparse.ArgumentParser(description="Seconds of elastic-net codes.")
    parser.add_argument("--root", type=Path, required=True, help="Folder with torchvision's MNIST.")
    parser.add_argument("--models", nargs="+", choices=("tddl-lin", "tddl-cnn"), default=["tddl-lin", "tddl-cnn"])
    parser.add_argument("--weights", nargs="+", type=Path, help="Checkpoints of the models, in their order.")
    parser.add_argument("--signals", type=int, default=10_000)
    parser.add_argument("--reference", type=int, default=1000, help="Signals that the other ways code.")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--gap", type=float, default=1e-8, help="Gap at which FISTA stops.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="Processes of scikit-learn.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the files.")
    arguments = parser.parse_args()
    if arguments.weights is not None and len(arguments.weights) != len(arguments.models):
        parser.error("--weights needs one checkpoint per model")
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, object]] = []
    for name, weights in zip(arguments.models, arguments.weights or [None] * len(arguments.models), strict=True):
        rows += measure(open_task(name, arguments, weights), arguments)
    path = arguments.output / f"elastic-net-{arguments.device}.csv"
    write_csv(path, rows, FIELDS)
    path.with_suffix(".md").write_text(summary(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
