"""Figures printed in the papers, for a column of their own: they are never mixed with measured numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustcsc.report.table import Table
from robustcsc.report.words import MISSING, NOISE_FAMILIES, corruption_words

PAPER_COLUMN = "paper, not measured here"

RESNET, SCN = "ResNet-18", "SCN"
SDNET_TRAIN, SDNET_ADAPTIVE = "SDNet-18 w/ λ = 0.1", "SDNet-18 w/ adaptive λ"


@dataclass(frozen=True)
class SDNetFigures:
    """Accuracies in percent from SDNet (Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition").

    Attributes:
        gaussian: Table 2, CIFAR-10-C Gaussian noise: row -> severities 1-5 (Level-0 to Level-4 in the paper).
        gaussian_lambda: Table 2, last row: lambda from linear fitting, severities 1-5.
        means: Table 3, data set -> row -> corruption: averaged over all severities.
        pgd: Table 4, CIFAR-10 under PGD: row -> norm. The third row is "After tuning lambda": crafted at
            lambda = 0.1 and scored at a tuned one, the protocol called "static" here. The paper names no steps.
        pgd_epsilon: Table 4, budget per norm in pixel units of [0, 1].
    """

    gaussian: Mapping[str, tuple[float, ...]]
    gaussian_lambda: tuple[float, ...]
    means: Mapping[str, Mapping[str, Mapping[str, float]]]
    pgd: Mapping[str, Mapping[str, float]]
    pgd_epsilon: Mapping[str, float]


_IMAGENET = ("gaussian_noise", "shot_noise", "impulse_noise")
PAPER_SDNET = SDNetFigures(
    gaussian={
        RESNET: (79.43, 56.17, 34.86, 28.23, 23.45),
        SCN: (80.89, 60.21, 44.97, 37.79, 30.11),
        SDNET_TRAIN: (81.78, 63.50, 43.86, 35.84, 27.92),
        SDNET_ADAPTIVE: (84.76, 74.87, 61.38, 54.77, 48.84),
    },
    gaussian_lambda=(0.49, 0.60, 0.75, 0.84, 0.94),
    means={
        "cifar10": {
            RESNET: dict(zip(NOISE_FAMILIES, (44.43, 57.88, 62.16, 51.72), strict=True)),
            SCN: dict(zip(NOISE_FAMILIES, (50.79, 62.97, 67.45, 54.19), strict=True)),
            SDNET_TRAIN: dict(zip(NOISE_FAMILIES, (50.58, 63.29, 67.11, 54.13), strict=True)),
            SDNET_ADAPTIVE: dict(zip(NOISE_FAMILIES, (64.92, 71.13, 71.42, 57.48), strict=True)),
        },
        "imagenet": {
            RESNET: dict(zip(_IMAGENET, (22.73, 21.78, 17.38), strict=True)),
            SDNET_TRAIN: dict(zip(_IMAGENET, (24.98, 23.97, 19.12), strict=True)),
            SDNET_ADAPTIVE: dict(zip(_IMAGENET, (29.16, 27.59, 22.01), strict=True)),
        },
    },
    pgd={
        RESNET: {"linf": 0.01, "l2": 29.47},
        SDNET_TRAIN: {"linf": 0.11, "l2": 29.95},
        SDNET_ADAPTIVE: {"linf": 35.18, "l2": 62.80},
    },
    pgd_epsilon={"linf": 8 / 255, "l2": 0.5},
)


def paper_row(model: str, policy: str, lam: float | None) -> str | None:
    """Returns the paper's row that a measured row corresponds to, or ``None``.

    Args:
        model: Name of the model.
        policy: Lambda policy; only the per-data-set ``"adaptive"`` is the paper's.
        lam: The lambda used; ``"train"`` corresponds to the paper's row at 0.1 only.
    """
    name = re.sub(r"[^a-z0-9]", "", model.lower())
    if name == "resnet18" and policy == "none":
        return RESNET
    if name == "sdnet18" and policy == "train" and lam is not None and math.isclose(lam, 0.1, abs_tol=1e-6):
        return SDNET_TRAIN
    return SDNET_ADAPTIVE if name == "sdnet18" and policy == "adaptive" else None


def paper_by_severity(dataset: str, corruption: str, row: str | None) -> str | None:
    """Returns the five accuracies and their mean (Table 2) or only the mean (Table 3) as text, or ``None``."""
    mean = PAPER_SDNET.means.get(dataset, {}).get(row or "", {}).get(corruption)
    if mean is None:
        return None
    if dataset == "cifar10" and corruption == "gaussian_noise":
        return f"{' / '.join(f'{value:.2f}' for value in PAPER_SDNET.gaussian[row or ''])}, mean {mean:.2f}"
    return f"mean {mean:.2f}"


def paper_means(dataset: str, row: str | None) -> str | None:
    """Returns the means over severities of Table 3 as text, or ``None``."""
    means = PAPER_SDNET.means.get(dataset, {}).get(row or "")
    return ", ".join(f"{name.split('_')[0]} {value:.2f}" for name, value in means.items()) if means else None


def paper_pgd(dataset: str, row: str | None, protocol: str) -> str | None:
    """Returns the PGD accuracies of Table 4 as text, or ``None``.

    The adaptive row of the paper is a transfer test, so it stands beside the ``"static"`` protocol only.
    """
    figures = PAPER_SDNET.pgd.get(row or "") if dataset == "cifar10" else None
    if figures is None or (row == SDNET_ADAPTIVE) != (protocol == "static"):
        return None
    return f"L∞ 8/255: {figures['linf']:.2f}; L2 0.5: {figures['l2']:.2f}"


def paper_tables() -> list[Table]:
    """Returns Tables 2, 3 and 4 of the paper as printed there, each marked as not measured here."""
    severities = tuple(f"severity {severity}" for severity in range(1, 6))
    second = [(row, *(f"{value:.2f}" for value in values)) for row, values in PAPER_SDNET.gaussian.items()]
    second.append(("λ from linear fitting", *(f"{lam:.2f}" for lam in PAPER_SDNET.gaussian_lambda)))
    third = [
        (dataset, row, *(f"{means[name]:.2f}" if name in means else MISSING for name in NOISE_FAMILIES))
        for dataset, rows in PAPER_SDNET.means.items()
        for row, means in rows.items()
    ]
    fourth = [
        ("SDNet-18 after tuning λ" if row == SDNET_ADAPTIVE else row, f"{of['linf']:.2f}", f"{of['l2']:.2f}")
        for row, of in PAPER_SDNET.pgd.items()
    ]
    noises = tuple(map(corruption_words, NOISE_FAMILIES))
    return [
        _table("table-2", "Table 2: CIFAR-10-C Gaussian noise", ("model", *severities), second),
        _table("table-3", "Table 3: means over all severities", ("data set", "model", *noises), third),
        _table("table-4", "Table 4: CIFAR-10 under PGD", ("model", "L∞ 8/255", "L2 0.5"), fourth),
    ]


def _table(name: str, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    marked = f"SDNet paper, {title} ({PAPER_COLUMN.removeprefix('paper, ')})"
    notes = ["Accuracies in percent, as printed by the authors, without intervals."]
    if name == "table-4":
        notes.append("Crafted at λ = 0.1; the tuned λ is applied afterwards, which is a transfer test.")
    return Table(f"paper-sdnet-{name}", marked, columns, tuple(rows), tuple(notes))
