"""What the tables of Res-CSC and MSD-CSC print: Zhang and Zhang, arXiv 2019, tables II and III.

Accuracies are in percent; a cross stands for networks that the authors could not train.
"""

from __future__ import annotations

from robustcsc.presentation.table import Cell, Worded
from robustcsc.reports.papers.quantities import PARAMETERS, Entrant, accuracy, millions
from robustcsc.reports.papers.template import PaperColumn, PaperRow, PaperTable

CROSS = Worded(None, "\N{MULTIPLICATION SIGN}")
NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
_Figures = tuple[Cell, ...]
#: Table II by layers: million parameters; plain network, Res-CSC-Simplified, ResNet and Res-CSC for each of `NAMES`.
RES_CSC: dict[int, tuple[float, _Figures, _Figures, _Figures]] = {
    20: (0.27, (90.74, 91.86, 91.30, 91.82), (66.02, 66.33, 67.81, 68.55), (96.67, 96.70, 96.57, 96.81)),
    32: (0.46, (90.34, 90.95, 92.52, 93.31), (64.31, 65.35, 69.79, 69.35), (96.55, 96.63, 96.63, 96.83)),
    44: (0.66, (89.41, 90.19, 92.92, 92.89), (61.54, 63.24, 70.59, 70.68), (96.36, 96.51, 96.74, 96.91)),
    56: (0.85, (87.04, 88.75, 93.15, 93.55), (59.28, 60.58, 71.09, 71.40), (96.09, 96.38, 96.88, 97.01)),
    110: (1.70, (CROSS, CROSS, 93.41, 93.56), (CROSS, CROSS, 72.47, 73.13), (CROSS, CROSS, 96.96, 97.11)),
    218: (3.40, (CROSS, CROSS, 94.02, 94.28), (CROSS, CROSS, 73.28, 73.50), (CROSS, CROSS, 97.05, 97.22)),
}
FORMS = (
    ("plain network", "plain{}"),
    ("Res-CSC-Simplified", "res-csc{}-simplified"),
    ("ResNet", "resnet{}"),
    ("Res-CSC", "res-csc{}"),
)
#: Table III: model, model here, layers, million parameters, unfolding; CIFAR10, CIFAR100, SVHN.
MSD_CSC = (
    ("Feed-Forward", "ml-csc-feedforward", 6, 4.0, 0, (82.16, 43.93, 94.68)),
    ("ML-CSC-ISTA", "ml-csc-ista", 6, 4.0, 1, (83.26, 50.23, 94.98)),
    ("ML-CSC-ISTA", "ml-csc-ista", 6, 4.0, 2, (83.59, 50.61, 95.01)),
    ("ML-CSC-FISTA", "ml-csc-fista", 6, 4.0, 2, (84.06, 51.66, 95.29)),
    ("MSDNet", "msdnet6", 6, 0.1, 0, (87.22, 60.23, 94.72)),
    ("MSDNet", "msdnet9", 9, 0.3, 0, (89.42, 63.22, 95.42)),
    ("MSDNet", "msdnet12", 12, 0.6, 0, (90.35, 66.18, 95.73)),
    ("MSD-CSC-ISTA", "msd-csc-ista6", 6, 0.1, 1, (88.79, 62.08, 94.87)),
    ("MSD-CSC-ISTA", "msd-csc-ista6", 6, 0.1, 2, (88.85, 62.24, 95.75)),
    ("MSD-CSC-ISTA", "msd-csc-ista9", 9, 0.3, 1, (90.23, 64.15, 95.98)),
    ("MSD-CSC-ISTA", "msd-csc-ista9", 9, 0.3, 2, (90.52, 65.21, 96.10)),
    ("MSD-CSC-ISTA", "msd-csc-ista12", 12, 0.6, 1, (90.81, 67.31, 96.14)),
    ("MSD-CSC-ISTA", "msd-csc-ista12", 12, 0.6, 2, (91.76, 68.14, 96.36)),
    ("MSD-CSC-FISTA", "msd-csc-fista6", 6, 0.1, 2, (89.21, 62.53, 95.50)),
    ("MSD-CSC-FISTA", "msd-csc-fista9", 9, 0.3, 2, (90.91, 65.22, 95.84)),
    ("MSD-CSC-FISTA", "msd-csc-fista12", 12, 0.6, 2, (91.63, 69.23, 96.35)),
)


def _second() -> PaperTable:
    title = "Res-CSC, table II: accuracy (%) of plain networks, ResNets and Res-CSC"
    rows = [
        PaperRow((NAMES[data], layers), Entrant(model=str(layers), data=data), (millions(size, 2), *by_data[at]))
        for at, data in enumerate(NAMES)
        for layers, (size, *by_data) in RES_CSC.items()
    ]
    parameters = PaperColumn("parameters", PARAMETERS, "res-csc{}")
    columns = [parameters, *(PaperColumn(name, accuracy(), model) for name, model in FORMS)]
    note = f"Measured parameters: those of Res-CSC. {CROSS.words}: the authors could not train it."
    return PaperTable("res-msd-csc-table-2", title, ("data set", "layers"), columns, rows, (note,))


def _third() -> PaperTable:
    title = "MSD-CSC, table III: accuracy (%) by unfolding"
    rows = [
        PaperRow(
            (called, layers, unfolding),
            Entrant(
                model=model,
                options=(("unfolding", unfolding),) if "ista" in model else (),
                usual=unfolding != 1,  # both ISTA and FISTA unfold twice unless asked otherwise
            ),
            (millions(size), *figures),
        )
        for called, model, layers, size, unfolding, figures in MSD_CSC
    ]
    parameters = PaperColumn("parameters", PARAMETERS, data="cifar10")
    columns = [parameters, *(PaperColumn(name, accuracy(), data=data) for data, name in NAMES.items())]
    note = "Measured parameters: those for CIFAR10."
    return PaperTable("res-msd-csc-table-3", title, ("model", "layers", "unfolding"), columns, rows, (note,))


TABLES = (_second(), _third())
