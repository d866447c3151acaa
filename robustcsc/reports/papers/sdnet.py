"""What SDNet's tables print: Dai et al., "Revisiting Sparse Convolutional Model for Visual Recognition", NeurIPS 2022.

Accuracies are in percent, memory and speed those of the authors' GPUs. The paper's severities Level-0 to Level-4 are 1
to 5 here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from robustcsc.measurements.policies import Adaptive, Scope, TrainingLambda
from robustcsc.measurements.threats import DEFAULT_EPSILON, NORMS, ThreatModel
from robustcsc.presentation.table import Cell, Worded
from robustcsc.reports.cohorts.cohorts import SEVERITIES
from robustcsc.reports.cohorts.words import corruption_words, threat_words
from robustcsc.reports.papers.quantities import (
    PARAMETERS,
    SPEED,
    Entrant,
    accuracy,
    lowest_accuracy,
    millions,
    pgd_accuracy,
    used_lambda,
)
from robustcsc.reports.papers.template import PaperColumn, PaperRow, PaperTable

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
CIFAR_NOISES = ("gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise")
IMAGENET_NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")
RESNET, SCN = "ResNet-18", "SCN"
TRAIN, ADAPTIVE = "SDNet-18 w/ λ = 0.1", "SDNet-18 w/ adaptive λ"
LAMBDA = "λ from linear fitting"

_Costs = tuple[str, str, str, float, float, float, int]
#: Table 1: data set, architecture, model here, million parameters, accuracy, memory (GB), training images per second.
ARCHITECTURES: tuple[_Costs, ...] = (
    ("cifar10", "ResNet-18", "resnet18", 11.2, 95.54, 1.0, 1600),
    ("cifar10", "ResNet-34", "resnet34", 21.1, 95.57, 2.0, 1000),
    ("cifar10", "MDEQ", "mdeq", 11.1, 93.80, 2.0, 90),
    ("cifar10", "SCN", "scn", 0.7, 94.36, 10.0, 39),
    ("cifar10", "SCN-18", "scn18", 11.2, 95.12, 3.5, 158),
    ("cifar10", "SDNet-18", "sdnet18", 11.2, 95.20, 1.2, 1500),
    ("cifar10", "SDNet-34", "sdnet34", 21.1, 95.57, 2.4, 900),
    ("cifar100", "ResNet-18", "resnet18", 11.2, 77.82, 1.0, 1600),
    ("cifar100", "ResNet-34", "resnet34", 21.1, 78.39, 2.0, 1000),
    ("cifar100", "MDEQ", "mdeq", 11.2, 74.12, 2.0, 90),
    ("cifar100", "SCN", "scn", 0.7, 80.07, 10.0, 39),
    ("cifar100", "SCN-18", "scn18", 11.2, 78.59, 3.5, 158),
    ("cifar100", "SDNet-18", "sdnet18", 11.3, 78.31, 1.2, 1500),
    ("cifar100", "SDNet-34", "sdnet34", 21.2, 78.48, 2.4, 900),
    ("imagenet", "ResNet-18", "resnet18", 11.7, 68.98, 24.1, 2100),
    ("imagenet", "ResNet-34", "resnet34", 21.5, 72.83, 32.3, 1400),
    ("imagenet", "SCN", "", 9.8, 70.42, 95.1, 51),
    ("imagenet", "SDNet-18", "sdnet18", 11.7, 69.47, 37.6, 1800),
    ("imagenet", "SDNet-34", "sdnet34", 21.5, 72.67, 46.4, 1200),
)
#: Table 2: Gaussian noise at severities 1 to 5.
GAUSSIAN = {
    RESNET: (79.43, 56.17, 34.86, 28.23, 23.45),
    SCN: (80.89, 60.21, 44.97, 37.79, 30.11),
    TRAIN: (81.78, 63.50, 43.86, 35.84, 27.92),
    ADAPTIVE: (84.76, 74.87, 61.38, 54.77, 48.84),
}
GAUSSIAN_LAMBDA = (0.49, 0.60, 0.75, 0.84, 0.94)
#: Table 3: means over severities, CIFAR-10-C in the order of `CIFAR_NOISES`, ImageNet-C in that of `IMAGENET_NOISES`.
MEANS: dict[str, tuple[Cell, ...]] = {
    RESNET: (44.43, 57.88, 62.16, 51.72, 22.73, 21.78, 17.38),
    SCN: (50.79, 62.97, 67.45, 54.19, None, None, None),
    TRAIN: (50.58, 63.29, 67.11, 54.13, 24.98, 23.97, 19.12),
    ADAPTIVE: (64.92, 71.13, 71.42, 57.48, 29.16, 27.59, 22.01),
}
#: Table 4: CIFAR-10 under PGD of the threats. The paper names no number of steps.
THREATS = tuple(ThreatModel(norm, DEFAULT_EPSILON[norm]) for norm in NORMS)
PGD = {RESNET: (0.01, 29.47), TRAIN: (0.11, 29.95), "SDNet-18 (after tuning λ)": (35.18, 62.80)}
#: Table 5: ImageNet and ImageNet-C (in the order of `IMAGENET_NOISES`) by number of FISTA iterations.
ITERATIONS = {
    2: (69.47, 29.16, 27.59, 22.01),
    4: (69.51, 29.69, 28.15, 24.15),
    8: (69.79, 30.91, 29.87, 25.69),
}
#: Table 6: as table 1. Each stands below the architecture of table 1 whose other convolutions it replaces.
ALL_LAYERS: tuple[_Costs, ...] = (
    ("cifar10", "SDNet-18-all", "sdnet18-all", 11.2, 95.18, 4.1, 400),
    ("cifar100", "SDNet-18-all", "sdnet18-all", 11.3, 78.16, 4.1, 400),
    ("imagenet", "SDNet-18-all", "sdnet18-all", 11.7, 69.37, 121.9, 490),
    ("imagenet", "SDNet-34-all", "sdnet34-all", 21.5, 72.54, 157.7, 300),
)
#: Accuracies of the checkpoints in the README of the authors' code (github.com/Delay-Xili/SDNet, commit 5746187).
CHECKPOINTS = {
    ("SDNet-18", "sdnet18"): {"cifar10": 95.34, "cifar100": 78.45, "imagenet": 69.78},
    ("SDNet-18-all", "sdnet18-all"): {"cifar10": 95.02, "cifar100": 77.89, "imagenet": 69.68},
    ("SDNet-18-all without shortcuts", "sdnet18-all-plain"): {"cifar10": 94.89, "cifar100": 77.28, "imagenet": 69.03},
}

_STEPS = (("num_steps", 2),)
_ENTRANTS = {
    RESNET: Entrant(model="resnet18"),
    SCN: Entrant(model="scn"),
    TRAIN: Entrant(model="sdnet18", policies=(TrainingLambda(),), options=_STEPS, lam=0.1),
    ADAPTIVE: Entrant(model="sdnet18", policies=(Adaptive(scope=Scope.DATASET),), options=_STEPS),
}
_FAMILIES = {0: ("{}",), 2: ("{} w/ training λ",), 3: ("{} w/ adaptive λ",)}


def _costs(name: str, title: str, facts: Iterable[_Costs], others: Mapping[int, tuple[str, ...]]) -> PaperTable:
    columns = (
        PaperColumn("parameters", PARAMETERS),
        PaperColumn("accuracy (%)", accuracy()),
        PaperColumn("training memory", None),
        PaperColumn("training (images/s)", SPEED),
    )
    rows = [
        PaperRow(
            (NAMES[data], called),
            Entrant(model=model, data=data, options=_STEPS if model.startswith("sdnet") else ()),
            (millions(size), share, Worded(memory, f"{memory:.1f} GB"), speed),
        )
        for data, called, model, size, share, memory, speed in facts
    ]
    notes = ["Measured speed: training images of all epochs over the time of the training, validation included."]
    if any(row.entrant.model == "scn18" for row in rows):
        notes.append("SCN-18: nobody published its settings; those of what is measured are ours.")
    return PaperTable(name, title, ("data set", "architecture"), columns, rows, tuple(notes), others)


def _row(name: str, data: str, printed: tuple[Cell, ...]) -> PaperRow:
    return PaperRow((name,), replace(_ENTRANTS[name], data=data), printed)


def _second() -> PaperTable:
    columns = [PaperColumn(f"severity {at}", accuracy("gaussian_noise", (at,))) for at in SEVERITIES]
    rows = [_row(name, "cifar10", figures) for name, figures in GAUSSIAN.items()]
    used = [used_lambda("gaussian_noise", (at,)) for at in SEVERITIES]
    rows.append(replace(_row(ADAPTIVE, "cifar10", GAUSSIAN_LAMBDA), names=(LAMBDA,), instead=used))
    note = "The paper's severities are called Level-0 to Level-4."
    others = {**_FAMILIES, 4: (f"{LAMBDA}, {{}}",)}
    title = "SDNet, table 2: accuracy (%) on CIFAR-10-C, Gaussian noise"
    return PaperTable("sdnet-table-2", title, ("model",), columns, rows, (note,), others)


def _third() -> PaperTable:
    columns = [
        PaperColumn(f"{name}-C: {corruption_words(noise)}", accuracy(noise), data=data)
        for data, name, noises in (("cifar10", "CIFAR-10", CIFAR_NOISES), ("imagenet", "ImageNet", IMAGENET_NOISES))
        for noise in noises
    ]
    rows = [_row(name, "", figures) for name, figures in MEANS.items()]
    title = "SDNet, table 3: accuracy (%) on corrupted images, mean over severities 1-5"
    return PaperTable("sdnet-table-3", title, ("model",), columns, rows, others=_FAMILIES)


def _fourth() -> PaperTable:
    columns = [PaperColumn(f"PGD {threat_words(it)}", pgd_accuracy(it)) for it in THREATS]
    columns += [
        PaperColumn(f"lowest measured, {threat_words(it)}", lowest_accuracy(it), printed=False) for it in THREATS
    ]
    rows = [
        replace(_row(name, "cifar10", figures), names=(called,))
        for name, (called, figures) in zip((RESNET, TRAIN, ADAPTIVE), PGD.items(), strict=True)
    ]
    title = "SDNet, table 4: accuracy (%) on CIFAR-10 under PGD (static: crafted at λ = 0.1, scored at the tuned λ)"
    note = (
        "The rows after tuning λ are a transfer test: their images were crafted at the training λ. Beside them stands "
        "what every attack that was measured leaves of the same model, counted image by image, under the row's λ "
        "policy or the one that the cell names; it is an upper bound of the robust accuracy. Transfer tests alone "
        "fill no cell of it."
    )
    others = {0: ("{}",), 1: ("{} w/ training λ",), 2: ("{} (after tuning λ)",)}
    return PaperTable("sdnet-table-4", title, ("model",), columns, rows, (note,), others)


def _fifth() -> PaperTable:
    columns = [PaperColumn("ImageNet", accuracy())]
    columns += [PaperColumn(f"ImageNet-C: {corruption_words(it)}", accuracy(it)) for it in IMAGENET_NOISES]
    of = replace(_ENTRANTS[ADAPTIVE], data="imagenet")
    rows = [
        PaperRow((steps,), replace(of, options=(("num_steps", steps),), usual=steps == 2), figures)
        for steps, figures in ITERATIONS.items()
    ]
    title = "SDNet, table 5: accuracy (%) of SDNet-18 with adaptive λ by number of FISTA iterations"
    return PaperTable("sdnet-table-5", title, ("FISTA iterations",), columns, rows)


def _with_all_layers() -> Iterable[_Costs]:
    for row in ALL_LAYERS:
        yield next(it for it in ARCHITECTURES if it[:2] == (row[0], row[1].removesuffix("-all")))
        yield row


def _checkpoints() -> PaperTable:
    rows = [
        PaperRow((NAMES[data], called), Entrant(model=model, data=data, options=_STEPS), (by_data[data],))
        for data in NAMES
        for (called, model), by_data in CHECKPOINTS.items()
    ]
    note = (
        "The printed figures are those of the checkpoints that the authors offer with their code, not of the paper. "
        "Their code keeps the epoch that is best on the test images; here it is the last one."
    )
    title = "SDNet, checkpoints that the authors published: accuracy (%)"
    columns = (PaperColumn("accuracy (%)", accuracy()),)
    return PaperTable("sdnet-checkpoints", title, ("data set", "architecture"), columns, rows, (note,))


TABLES = (
    _costs(
        "sdnet-table-1",
        "SDNet, table 1: size, accuracy and speed of architectures",
        ARCHITECTURES,
        others={0: ("CIFAR-10", "{}"), 5: ("CIFAR-10", "{}")},
    ),
    _second(),
    _third(),
    _fourth(),
    _fifth(),
    _costs("sdnet-table-6", "SDNet, table 6: all convolutions replaced by CSC layers", _with_all_layers(), others={}),
    _checkpoints(),
)
