"""What DeTraMe-Net's tables print: Tang et al., "Deep Transform and Metric Learning Network", arXiv:2002.07898v2.

Accuracies and fooling rates are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable

from robustcsc.measurements.threats import ThreatModel
from robustcsc.presentation.table import Cell, Noted, Spread, Worded
from robustcsc.reports.cohorts.words import epsilon_words, norm_words
from robustcsc.reports.papers.quantities import (
    CLASSIFICATION_TIME,
    PARAMETERS,
    TRAINING_TIME,
    TRAINING_TIME_PER_IMAGE,
    Entrant,
    Quantity,
    accuracy,
    fooling_rate,
    millions,
)
from robustcsc.reports.papers.template import PaperColumn, PaperRow, PaperTable

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
ARCHITECTURES = {
    "plainnet3": "PlainNet 3-layer",
    "plainnet6": "PlainNet 6-layer",
    "plainnet9": "PlainNet 9-layer",
    "plainnet12": "PlainNet 12-layer",
    "resnet8": "ResNet 8",
    "resnet20": "ResNet 20",
    "resnet56": "ResNet 56",
    "resnet110": "ResNet 110",
    "wideresnet16-4": "WideResNet 16-4",
    "wideresnet16-8": "WideResNet 16-8",
}
DATASETS = ("cifar10", "cifar100", "svhn")
_Figures = tuple[float, float | None, float, float | None, int]
#: Table 4, in the order of `DATASETS`: accuracy of the original and its standard deviation, the same of the
#: DeTraMe-Net, and its iterations.
ACCURACY: dict[str, tuple[_Figures | None, ...]] = {
    "plainnet3": ((35.14, 4.94, 88.51, 0.17, 5), (22.01, 1.24, 64.99, 0.34, 3), (45.64, None, 97.21, None, 8)),
    "plainnet6": ((86.71, 0.36, 92.24, 0.32, 2), (62.81, 0.75, 69.49, 0.61, 2), (97.55, None, 98.17, None, 5)),
    "plainnet9": ((90.31, 0.31, 93.05, 0.46, 2), (66.15, 0.61, 69.68, 0.50, 2), (97.98, None, 98.26, None, 5)),
    "plainnet12": ((91.28, 0.27, 92.03, 0.54, 2), (68.70, 0.65, 70.92, 0.78, 2), (98.14, None, 98.27, None, 3)),
    "resnet8": ((87.36, 0.34, 89.13, 0.23, 3), (60.38, 0.49, 64.50, 0.54, 2), (96.70, None, 97.50, None, 3)),
    "resnet20": ((92.17, 0.15, 92.19, 0.30, 3), (68.42, 0.29, 68.62, 0.27, 2), (97.70, None, 97.82, None, 2)),
    "resnet56": ((93.48, 0.16, 93.54, 0.30, 3), (71.52, 0.34, 71.52, 0.44, 2), (97.96, None, 98.04, None, 2)),
    "resnet110": ((93.57, 0.14, 93.68, 0.32, 2), (72.99, 0.43, 73.05, 0.40, 2), None),
    "wideresnet16-4": ((95.18, 0.10, 95.18, 0.13, 2), (76.72, 0.13, 76.85, 0.48, 3), (98.06, None, 98.16, None, 3)),
    "wideresnet16-8": ((95.62, 0.12, 95.66, 0.22, 2), (79.55, 0.12, 79.69, 0.55, 3), (98.17, None, 98.23, None, 3)),
}
#: Table 6: fooling rate in percent of WideResNet 16-8: xi, original, DeTraMe-Net.
FOOLED = {
    "cifar10": (5e-2, Spread(18.03, 1.75), Spread(6.78, 0.73)),
    "cifar100": (5e-2, Spread(59.61, 2.72), Spread(23.65, 1.84)),
    "svhn": (2e-4, Spread(46.84, 3.05), Spread(23.61, 5.61)),
}
#: Table 7: CIFAR-10, training (s), testing (1e-4 s an image), each of the original and the DeTraMe-Net.
TIMES = {
    "plainnet3": (2964.45, 5837.72, (1.93, 2.50)),
    "plainnet6": (3762.75, 6706.76, (1.94, 2.94)),
    "plainnet9": (3948.24, 7451.42, (2.01, 3.24)),
    "plainnet12": (4087.98, 8023.02, (2.12, 3.52)),
    "resnet8": (3152.10, 3962.09, (1.76, 2.10)),
    "resnet20": (3840.02, 5316.47, (1.90, 2.21)),
    "resnet56": (6411.03, 8752.61, (2.27, 3.37)),
    "resnet110": (7709.55, 12997.66, (3.10, 4.53)),
    "wideresnet16-4": (4562.02, 6425.65, (2.41, 2.84)),
    "wideresnet16-8": (7104.62, 11897.93, (3.26, 5.15)),
}
#: Table 3: model, model here, parameters, whether the accuracy is the best of the seeds; CIFAR-10, CIFAR-100.
BESIDE_DDL: tuple[tuple[str, str, float, bool, tuple[Cell, Cell]], ...] = (
    ("PlainNet 9-layer", "plainnet9", 1.4, False, (Spread(90.31, 0.31), Spread(66.15, 0.61))),
    ("DDL 9", "ddl-plainnet9", 1.4, False, (93.04, 68.76)),
    ("DeTraMe-Net 9", "detrame-plainnet9", 3.0, False, (Spread(93.05, 0.46), Spread(69.68, 0.50))),
    ("DeTraMe-Net 9 (best)", "detrame-plainnet9", 3.0, True, (93.40, 70.34)),
)
#: Table 5: parameters, training and testing (s).
COSTS = {"DDL": (millions(0.35, 2), 0.2784, 0.094), "DeTraMe-Net 12": (millions(2.4), 0.1605, 0.000352)}

_STEPS = ("num_steps",)


def tables(threats: Iterable[ThreatModel]) -> tuple[PaperTable, ...]:
    """Returns tables 3 to 7; table 6 has rows for these further norms and xi of universal perturbations."""
    return (_third(), _fourth(), _fifth(), _sixth(threats), _seventh())


def _third() -> PaperTable:
    columns = (PaperColumn("parameters", PARAMETERS), PaperColumn("accuracy (%)", accuracy(), told=_STEPS))
    rows = [
        PaperRow(
            (called, NAMES[data]),
            Entrant(model=model, data=data),
            (millions(size), figures[at]),
            instead=(PARAMETERS, accuracy(best=True)) if best else (),
        )
        for at, data in enumerate(DATASETS[:2])
        for called, model, size, best, figures in BESIDE_DDL
    ]
    note = "DDL 9: its settings were not published; those of what is measured are ours."
    title = "DeTraMe-Net, table 3: accuracy beside deep dictionary learning (DDL)"
    return PaperTable("detrame-table-3", title, ("model", "data set"), columns, rows, (note,))


def _fourth() -> PaperTable:
    columns = _pair("", accuracy(), told=_STEPS)
    rows = [
        PaperRow((words, NAMES[data]), Entrant(model=model, data=data), _beside(ACCURACY[model][at]))
        for at, data in enumerate(DATASETS)
        for model, words in ARCHITECTURES.items()
    ]
    note = "In parentheses: iterations of the Q-Metric ReLU."
    title = "DeTraMe-Net, table 4: accuracy (%)"
    return PaperTable("detrame-table-4", title, ("network", "data set"), columns, rows, (note,))


def _pair(words: str, quantity: Quantity, digits: int | None = 2, told: tuple[str, ...] = ()) -> list[PaperColumn]:
    """Returns columns of the original networks and of DeTraMe-Net."""
    return [
        PaperColumn(f"{words}original", quantity, digits=digits),
        PaperColumn(f"{words}DeTraMe-Net", quantity, "detrame-{}", digits=digits, told=told),
    ]


def _beside(figures: _Figures | None) -> tuple[Cell, Cell]:
    if figures is None:
        return None, None
    original, std, theirs, its_std, iterations = figures
    return _spread(original, std), Noted(_spread(theirs, its_std), str(iterations))


def _spread(mean: float, std: float | None) -> Cell:
    return mean if std is None else Spread(mean, std)


def _fifth() -> PaperTable:
    columns = (
        PaperColumn("parameters", PARAMETERS),
        PaperColumn("training (s per image)", TRAINING_TIME_PER_IMAGE, digits=None),
        PaperColumn("testing (s per image)", CLASSIFICATION_TIME, digits=None),
    )
    entrants = {"DDL": Entrant(), "DeTraMe-Net 12": Entrant(model="detrame-plainnet12", data="cifar10")}
    rows = [PaperRow((called,), entrants[called], figures) for called, figures in COSTS.items()]
    note = (
        "Measured training time: of the whole training, over its images (each counted once). The paper names no unit.",
    )
    title = "DeTraMe-Net, table 5: time of training and testing"
    return PaperTable("detrame-table-5", title, ("model",), columns, rows, note)


def _sixth(threats: Iterable[ThreatModel]) -> PaperTable:
    printed: dict[tuple[str, str, ThreatModel], tuple[Cell, Cell]] = {
        ("wideresnet16-8", data, ThreatModel("linf", xi)): (original, theirs)
        for data, (xi, original, theirs) in FOOLED.items()
    }
    ordered = sorted(set(threats), key=lambda it: (it.norm, it.epsilon))
    further = {(model, data, it): (None, None) for data in DATASETS for model in ARCHITECTURES for it in ordered}
    rows = [
        PaperRow(
            (ARCHITECTURES[model], NAMES[data], norm_words(it.norm), Worded(it.epsilon, epsilon_words(it.epsilon))),
            Entrant(model=model, data=data),
            rates,
            instead=(fooling_rate(it),) * 2,
            extra=(model, data, it) not in printed,
        )
        for (model, data, it), rates in {**further, **printed}.items()
    ]
    headings = ("network", "data set", "norm", "xi")
    note = "xi is in pixel units of [0, 1]; the paper names neither norm nor unit, its rows stand with L∞."
    title = "DeTraMe-Net, table 6: fooling rate (%) of universal perturbations"
    return PaperTable("detrame-table-6", title, headings, _pair("", fooling_rate()), rows, (note,))


def _seventh() -> PaperTable:
    columns = _pair("training (s), ", TRAINING_TIME) + _pair(
        "testing (s per image), ", CLASSIFICATION_TIME, digits=None
    )
    rows = [
        PaperRow(
            (ARCHITECTURES[model],), Entrant(model=model, data="cifar10"), (*training, *(1e-4 * it for it in testing))
        )
        for model, (*training, testing) in TIMES.items()
    ]
    title = "DeTraMe-Net, table 7: time of training and testing, CIFAR-10"
    return PaperTable("detrame-table-7", title, ("network",), columns, rows)
