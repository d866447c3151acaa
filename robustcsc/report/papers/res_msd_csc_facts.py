"""What the tables of Res-CSC and MSD-CSC print: Zhang and Zhang, arXiv 2019, tables II and III.

Accuracies are in percent; a cross stands for networks that the authors could not train.
"""

from __future__ import annotations

from robustcsc.report.measured import Who
from robustcsc.report.quantities import What
from robustcsc.report.template import Column, Printed, Row

CROSS = "\N{MULTIPLICATION SIGN}"
NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
PARAMETERS = {20: "0.27M", 32: "0.46M", 44: "0.66M", 56: "0.85M", 110: "1.70M", 218: "3.40M"}
#: Table II: plain network, Res-CSC-Simplified, ResNet and Res-CSC by data set and layers.
RES_CSC = {
    "cifar10": {
        20: ("90.74", "91.86", "91.30", "91.82"),
        32: ("90.34", "90.95", "92.52", "93.31"),
        44: ("89.41", "90.19", "92.92", "92.89"),
        56: ("87.04", "88.75", "93.15", "93.55"),
        110: (CROSS, CROSS, "93.41", "93.56"),
        218: (CROSS, CROSS, "94.02", "94.28"),
    },
    "cifar100": {
        20: ("66.02", "66.33", "67.81", "68.55"),
        32: ("64.31", "65.35", "69.79", "69.35"),
        44: ("61.54", "63.24", "70.59", "70.68"),
        56: ("59.28", "60.58", "71.09", "71.40"),
        110: (CROSS, CROSS, "72.47", "73.13"),
        218: (CROSS, CROSS, "73.28", "73.50"),
    },
    "svhn": {
        20: ("96.67", "96.70", "96.57", "96.81"),
        32: ("96.55", "96.63", "96.63", "96.83"),
        44: ("96.36", "96.51", "96.74", "96.91"),
        56: ("96.09", "96.38", "96.88", "97.01"),
        110: (CROSS, CROSS, "96.96", "97.11"),
        218: (CROSS, CROSS, "97.05", "97.22"),
    },
}
FORMS = (
    ("plain network", "plain{}"),
    ("Res-CSC-Simplified", "res-csc{}-simplified"),
    ("ResNet", "resnet{}"),
    ("Res-CSC", "res-csc{}"),
)
#: Table III: model, model here, layers, parameters, unfolding; CIFAR10, CIFAR100, SVHN.
MSD_CSC = (
    ("Feed-Forward", "ml-csc-feedforward", 6, "4.0M", 0, ("82.16", "43.93", "94.68")),
    ("ML-CSC-ISTA", "ml-csc-ista", 6, "4.0M", 1, ("83.26", "50.23", "94.98")),
    ("ML-CSC-ISTA", "ml-csc-ista", 6, "4.0M", 2, ("83.59", "50.61", "95.01")),
    ("ML-CSC-FISTA", "ml-csc-fista", 6, "4.0M", 2, ("84.06", "51.66", "95.29")),
    ("MSDNet", "msdnet6", 6, "0.1M", 0, ("87.22", "60.23", "94.72")),
    ("MSDNet", "msdnet9", 9, "0.3M", 0, ("89.42", "63.22", "95.42")),
    ("MSDNet", "msdnet12", 12, "0.6M", 0, ("90.35", "66.18", "95.73")),
    ("MSD-CSC-ISTA", "msd-csc-ista6", 6, "0.1M", 1, ("88.79", "62.08", "94.87")),
    ("MSD-CSC-ISTA", "msd-csc-ista6", 6, "0.1M", 2, ("88.85", "62.24", "95.75")),
    ("MSD-CSC-ISTA", "msd-csc-ista9", 9, "0.3M", 1, ("90.23", "64.15", "95.98")),
    ("MSD-CSC-ISTA", "msd-csc-ista9", 9, "0.3M", 2, ("90.52", "65.21", "96.10")),
    ("MSD-CSC-ISTA", "msd-csc-ista12", 12, "0.6M", 1, ("90.81", "67.31", "96.14")),
    ("MSD-CSC-ISTA", "msd-csc-ista12", 12, "0.6M", 2, ("91.76", "68.14", "96.36")),
    ("MSD-CSC-FISTA", "msd-csc-fista6", 6, "0.1M", 2, ("89.21", "62.53", "95.50")),
    ("MSD-CSC-FISTA", "msd-csc-fista9", 9, "0.3M", 2, ("90.91", "65.22", "95.84")),
    ("MSD-CSC-FISTA", "msd-csc-fista12", 12, "0.6M", 2, ("91.63", "69.23", "96.35")),
)

_CLEAN = What(kind="clean")


def _second() -> Printed:
    parameters = Column(heading="parameters", what=What(kind="parameters"), model="res-csc{}")
    rows = [
        Row(
            words=(NAMES[data], str(layers)),
            who=Who(model=str(layers), data=data),
            printed=(PARAMETERS[layers], *figures),
        )
        for data, by_layers in RES_CSC.items()
        for layers, figures in by_layers.items()
    ]
    return Printed(
        name="res-msd-csc-table-2",
        title="Res-CSC, table II: accuracy (%) of plain networks, ResNets and Res-CSC",
        headings=("data set", "layers"),
        columns=(parameters, *(Column(heading=heading, what=_CLEAN, model=model) for heading, model in FORMS)),
        rows=tuple(rows),
        notes=(f"Measured parameters: those of Res-CSC. {CROSS}: the authors could not train it.",),
    )


def _third() -> Printed:
    columns = (Column(heading=name, what=_CLEAN, data=data) for data, name in NAMES.items())
    rows = [
        Row(
            words=(called, str(layers), str(unfolding)),
            who=Who(
                model=model,
                options=(("unfolding", unfolding),) if "ista" in model else (),
                usual=unfolding != 1,  # both ISTA and FISTA unfold twice unless asked otherwise
            ),
            printed=(parameters, *figures),
        )
        for called, model, layers, parameters, unfolding, figures in MSD_CSC
    ]
    parameters = Column(heading="parameters", what=What(kind="parameters"), data="cifar10")
    return Printed(
        name="res-msd-csc-table-3",
        title="MSD-CSC, table III: accuracy (%) by unfolding",
        headings=("model", "layers", "unfolding"),
        columns=(parameters, *columns),
        rows=tuple(rows),
        notes=("Measured parameters: those for CIFAR10.",),
    )


TABLES = (_second(), _third())
