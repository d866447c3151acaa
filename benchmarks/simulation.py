"""The simulated experiment of MSD-CSC: which dimensions of a signal a layer fails to reconstruct during training.

    python benchmarks/simulation.py --epochs 10 --seed 0

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (arXiv:1912.02605), section V-B, definition 1, figure 4.

Two networks with two hidden layers and a linear classifier learn to classify signals: ML-CSC, with the dictionary
``F'`` in each layer, and MSD-CSC, with ``[I F']`` and the same beta. After each epoch it counts the dimensions j of
test signals X for which ``|(D z)_j - X_j| > 2 beta`` in the first layer, where z is

- the code of the network: one step of ISTA from 0, ``S+(D' X / L)`` with the threshold beta / L;
- the solution of the lasso, with signed codes as in theorem 1 (of the first 500 test signals, to save time).

| setting | value | source |
|---|---|---|
| length of the signals, classes | 100, 100 | section V-B |
| training and test signals | 10,000 and 2,000 | section V-B |
| class centres | uniform in [0, 1] | ours |
| standard deviation of the Gaussian noise | 0.1 | ours |
| hidden units | 100 and 100 | ours |
| beta | 0.08 | ours |
| training | SGD, rate 0.05, momentum 0.9, batches of 100 | ours |

Differences from the paper:
- beta is constant; the paper computes it from a threshold of the network. A learned threshold falls to 0 within an
  epoch, and with it the tolerance ``2 beta``, so every dimension counts as unsuccessful. With a constant threshold beta
  grows with L until no dimension counts, but all codes are 0 and nothing is classified.
- L is lambda_max(D'D), without the paper's factor 2, computed again in each pass.
- The paper does not say which code it reconstructs from, so both are counted. The lasso's solution with ``[I F']``
  fails nowhere, trained or not: where column e_j is in D, optimality says ``|(D z)_j - X_j| <= beta``.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from robustcsc.layers.prox import nonnegative_soft_threshold, soft_threshold
from robustcsc.layers.solvers import fista

RESULTS = Path(__file__).parent / "results"
LENGTH = CLASSES = HIDDEN = 100
TRAINING_PER_CLASS, TEST_PER_CLASS = 100, 20
NOISE, BETA, RATE, BATCH = 0.1, 0.08, 0.05, 100
#: Steps of FISTA after which a lasso counts as solved, and the test signals for which it is.
SOLVER_STEPS, LASSO_SIGNALS = 100, 500


@dataclass(frozen=True)
class Point:
    """Counts after an epoch: dimensions of 100 that fail, means over the test signals.

    Attributes:
        epoch: Number of epochs, 0 before training.
        ml_network: ML-CSC, code of the network.
        msd_network: MSD-CSC, code of the network.
        ml_lasso: ML-CSC, solution of the lasso.
        msd_lasso: MSD-CSC, solution of the lasso.
        ml_accuracy: Share of test signals that ML-CSC classifies correctly.
        msd_accuracy: The same of MSD-CSC.
    """

    epoch: int
    ml_network: float
    msd_network: float
    ml_lasso: float
    msd_lasso: float
    ml_accuracy: float
    msd_accuracy: float


class _Network(nn.Module):
    """Two layers of coding and a linear classifier; `dense` adds the identity to both dictionaries."""

    def __init__(self, dense: bool) -> None:
        super().__init__()
        widths = (LENGTH, LENGTH + HIDDEN) if dense else (LENGTH, HIDDEN)
        self.dense = dense
        self.filters = nn.ParameterList([nn.Parameter(torch.randn(HIDDEN, width) / width**0.5) for width in widths])
        self.head = nn.Linear(widths[1] + HIDDEN if dense else HIDDEN, CLASSES)

    def step_size(self, layer: int) -> Tensor:
        """Returns 1 / L of a layer; the identity adds 1 to L (lemma 3)."""
        filters = self.filters[layer]
        lipschitz: Tensor = torch.linalg.eigvalsh(filters @ filters.T)[-1] + self.dense
        return 1 / lipschitz

    def analysis(self, layer: int) -> Tensor:
        """Returns D' of a layer, one atom in each row."""
        filters = self.filters[layer]
        return torch.cat((torch.eye(filters.shape[1]), filters)) if self.dense else filters

    def code(self, signals: Tensor, layer: int) -> Tensor:
        """Returns the code that the network computes: one step of ISTA from 0."""
        step = self.step_size(layer)
        return nonnegative_soft_threshold(step * signals @ self.analysis(layer).T, step * BETA)

    def forward(self, signals: Tensor) -> Tensor:
        """Returns the logits."""
        for layer in range(len(self.filters)):
            signals = self.code(signals, layer)
        logits: Tensor = self.head(signals)
        return logits

    def lasso(self, signals: Tensor, layer: int) -> Tensor:
        """Returns the signed codes that solve the lasso."""
        atoms, step = self.analysis(layer), self.step_size(layer)
        return fista(
            lambda codes: step * ((codes @ atoms - signals) @ atoms.T),
            lambda codes: soft_threshold(codes, step * BETA),
            signals.new_zeros(len(signals), len(atoms)),
            1.0,
            SOLVER_STEPS,
        )


def simulate(epochs: int, seed: int) -> list[Point]:
    """Returns the counts before training and after each epoch; some seconds on a CPU.

    Args:
        epochs: Passes over the 10,000 training signals.
        seed: Seed of signals, weights and order.
    """
    torch.manual_seed(seed)
    centres = torch.rand(CLASSES, LENGTH)
    signals, labels = _signals(centres, TRAINING_PER_CLASS)
    test = _signals(centres, TEST_PER_CLASS)
    ml, msd = _Network(dense=False), _Network(dense=True)
    optimizers = [torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9) for network in (ml, msd)]
    points = [_count(ml, msd, 0, *test)]
    for epoch in range(1, epochs + 1):
        for rows in torch.split(torch.randperm(len(signals)), BATCH):
            for network, optimizer in zip((ml, msd), optimizers, strict=True):
                loss = F.cross_entropy(network(signals[rows]), labels[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        points.append(_count(ml, msd, epoch, *test))
    return points


def _signals(centres: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(CLASSES).repeat(per_class)
    return centres[labels] + NOISE * torch.randn(len(labels), LENGTH), labels


@torch.no_grad()
def _count(ml: _Network, msd: _Network, epoch: int, signals: Tensor, labels: Tensor) -> Point:
    counts, accuracies = [], []
    for network in (ml, msd):
        for code in (network.code, network.lasso):
            some = signals[:LASSO_SIGNALS] if code == network.lasso else signals
            error = code(some, 0) @ network.analysis(0) - some
            counts.append(float((error.abs() > 2 * BETA).sum(1).double().mean()))
        accuracies.append(float((network(signals).argmax(1) == labels).double().mean()))
    ml_network, ml_lasso, msd_network, msd_lasso = counts
    return Point(epoch, ml_network, msd_network, ml_lasso, msd_lasso, *accuracies)


def table(points: list[Point]) -> str:
    """Returns the counts as Markdown."""
    lines = [f"| {' | '.join(it.name for it in fields(Point))} |", f"|{'---|' * len(fields(Point))}"]
    lines += [f"| {point.epoch} | {' | '.join(f'{value:.3f}' for value in astuple(point)[1:])} |" for point in points]
    return "\n".join(lines)


def draw(points: list[Point], path: Path) -> None:
    """Draws the counts over the epochs, as figure 4 of the paper."""
    figure = Figure(figsize=(6.6, 4), layout="constrained")
    ax = figure.add_subplot(xlabel="epoch", ylabel="unsuccessful dimensions of 100")
    for name in ("ml_network", "msd_network", "ml_lasso", "msd_lasso"):
        ax.plot([it.epoch for it in points], [getattr(it, name) for it in points], marker="o", label=name)
    ax.legend()
    figure.savefig(path)


def main() -> None:
    """Runs the simulation, prints the counts, and writes ``results/simulation.csv``."""
    parser = argparse.ArgumentParser(description="Simulated experiment of MSD-CSC, figure 4.")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training signals")
    parser.add_argument("--seed", type=int, default=0, help="seed of signals, weights and order")
    parser.add_argument("--figure", type=Path, help="also draw figure 4 there, as .svg or .png")
    arguments = parser.parse_args()
    points = simulate(arguments.epochs, arguments.seed)
    with (RESULTS / "simulation.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(it.name for it in fields(Point))
        writer.writerows(map(astuple, points))
    if arguments.figure is not None:
        draw(points, arguments.figure)
    print(table(points))


if __name__ == "__main__":
    main()
