"""What DeTraMe-Net's tables print: Tang et al., "Deep Transform and Metric Learning Network", arXiv:2002.07898v2.

Accuracies and fooling rates are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable

from robustcsc.report.measured import Who
from robustcsc.report.quantities import What
from robustcsc.report.template import Column, Printed, Row
from robustcsc.report.words import MISSING, epsilon_words, norm_words

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
#: Table 4: accuracy in percent of the original and the DeTraMe-Net (iterations), in the order of `DATASETS`.
ACCURACY = {
    "plainnet3": (("35.14 ± 4.94", "88.51 ± 0.17 (5)"), ("22.01 ± 1.24", "64.99 ± 0.34 (3)"), ("45.64", "97.21 (8)")),
    "plainnet6": (("86.71 ± 0.36", "92.24 ± 0.32 (2)"), ("62.81 ± 0.75", "69.49 ± 0.61 (2)"), ("97.55", "98.17 (5)")),
    "plainnet9": (("90.31 ± 0.31", "93.05 ± 0.46 (2)"), ("66.15 ± 0.61", "69.68 ± 0.50 (2)"), ("97.98", "98.26 (5)")),
    "plainnet12": (("91.28 ± 0.27", "92.03 ± 0.54 (2)"), ("68.70 ± 0.65", "70.92 ± 0.78 (2)"), ("98.14", "98.27 (3)")),
    "resnet8": (("87.36 ± 0.34", "89.13 ± 0.23 (3)"), ("60.38 ± 0.49", "64.50 ± 0.54 (2)"), ("96.70", "97.50 (3)")),
    "resnet20": (("92.17 ± 0.15", "92.19 ± 0.30 (3)"), ("68.42 ± 0.29", "68.62 ± 0.27 (2)"), ("97.70", "97.82 (2)")),
    "resnet56": (("93.48 ± 0.16", "93.54 ± 0.30 (3)"), ("71.52 ± 0.34", "71.52 ± 0.44 (2)"), ("97.96", "98.04 (2)")),
    "resnet110": (("93.57 ± 0.14", "93.68 ± 0.32 (2)"), ("72.99 ± 0.43", "73.05 ± 0.40 (2)"), (MISSING, MISSING)),
    "wideresnet16-4": (
        ("95.18 ± 0.10", "95.18 ± 0.13 (2)"),
        ("76.72 ± 0.13", "76.85 ± 0.48 (3)"),
        ("98.06", "98.16 (3)"),
    ),
    "wideresnet16-8": (
        ("95.62 ± 0.12", "95.66 ± 0.22 (2)"),
        ("79.55 ± 0.12", "79.69 ± 0.55 (3)"),
        ("98.17", "98.23 (3)"),
    ),
}
#: Table 6: fooling rate in percent of WideResNet 16-8: xi, original, DeTraMe-Net.
FOOLED = {
    "cifar10": (5e-2, "18.03 ± 1.75", "6.78 ± 0.73"),
    "cifar100": (5e-2, "59.61 ± 2.72", "23.65 ± 1.84"),
    "svhn": (2e-4, "46.84 ± 3.05", "23.61 ± 5.61"),
}
#: Table 7: CIFAR-10, training (s), testing (1e-4 s an image), each of the original and the DeTraMe-Net.
TIMES = {
    "plainnet3": ("2964.45", "5837.72", "1.93", "2.50"),
    "plainnet6": ("3762.75", "6706.76", "1.94", "2.94"),
    "plainnet9": ("3948.24", "7451.42", "2.01", "3.24"),
    "plainnet12": ("4087.98", "8023.02", "2.12", "3.52"),
    "resnet8": ("3152.10", "3962.09", "1.76", "2.10"),
    "resnet20": ("3840.02", "5316.47", "1.90", "2.21"),
    "resnet56": ("6411.03", "8752.61", "2.27", "3.37"),
    "resnet110": ("7709.55", "12997.66", "3.10", "4.53"),
    "wideresnet16-4": ("4562.02", "6425.65", "2.41", "2.84"),
    "wideresnet16-8": ("7104.62", "11897.93", "3.26", "5.15"),
}
#: Table 3: model, data set, model here, parameters, accuracy, and whether that is the best of the seeds.
BESIDE_DDL = (
    ("PlainNet 9-layer", "cifar10", "plainnet9", "1.4M", "90.31 ± 0.31", False),
    ("DDL 9", "cifar10", "", "1.4M", "93.04", False),
    ("DeTraMe-Net 9", "cifar10", "detrame-plainnet9", "3.0M", "93.05 ± 0.46", False),
    ("DeTraMe-Net 9 (best)", "cifar10", "detrame-plainnet9", "3.0M", "93.40", True),
    ("PlainNet 9-layer", "cifar100", "plainnet9", "1.4M", "66.15 ± 0.61", False),
    ("DDL 9", "cifar100", "", "1.4M", "68.76", False),
    ("DeTraMe-Net 9", "cifar100", "detrame-plainnet9", "3.0M", "69.68 ± 0.50", False),
    ("DeTraMe-Net 9 (best)", "cifar100", "detrame-plainnet9", "3.0M", "70.34", True),
)
#: Table 5: parameters, training and testing (s).
COSTS = {"DDL": ("0.35M", "0.2784", "0.094"), "DeTraMe-Net 12": ("2.4M", "0.1605", "0.000352")}

_CLEAN = What(kind="clean")
_STEPS = ("num_steps",)
_DETRAME = "detrame-{}"


def tables(budgets: Iterable[tuple[str, float]]) -> tuple[Printed, ...]:
    """Returns tables 3 to 7; table 6 has rows for these further budgets (norm, xi) of universal perturbations."""
    return (_third(), _fourth(), _fifth(), _sixth(sorted(set(budgets))), _seventh())


def _named(number: str, words: str) -> tuple[str, str]:
    return f"detrame-table-{number}", f"DeTraMe-Net, table {number}: {words}"


def _third() -> Printed:
    name, title = _named("3", "accuracy beside deep dictionary learning (DDL)")
    rows = (
        Row(
            words=(called, NAMES[data]),
            who=Who(model=model, data=data),
            printed=(parameters, accuracy),
            changes={"clean": {"kind": "best"}} if best else {},
        )
        for called, data, model, parameters, accuracy, best in BESIDE_DDL
    )
    columns = (
        Column(heading="parameters", what=What(kind="parameters")),
        Column(heading="accuracy (%)", what=_CLEAN, told=_STEPS),
    )
    return Printed(name=name, title=title, headings=("model", "data set"), columns=columns, rows=tuple(rows))


def _fourth() -> Printed:
    name, title = _named("4", "accuracy (%)")
    rows = (
        Row(words=(words, NAMES[data]), who=Who(model=model, data=data), printed=ACCURACY[model][at])
        for at, data in enumerate(DATASETS)
        for model, words in ARCHITECTURES.items()
    )
    return Printed(
        name=name,
        title=title,
        headings=("network", "data set"),
        columns=(
            Column(heading="original", what=_CLEAN),
            Column(heading="DeTraMe-Net", what=_CLEAN, model=_DETRAME, told=_STEPS),
        ),
        rows=tuple(rows),
        notes=("In parentheses: iterations of the Q-Metric ReLU.",),
    )


def _fifth() -> Printed:
    name, title = _named("5", "time of training and testing")
    who = {"DDL": Who(), "DeTraMe-Net 12": Who(model="detrame-plainnet12", data="cifar10")}
    return Printed(
        name=name,
        title=title,
        headings=("model",),
        columns=(
            Column(heading="parameters", what=What(kind="parameters")),
            Column(heading="training (s per image)", what=What(kind="training time per image")),
            Column(heading="testing (s per image)", what=What(kind="test time per image")),
        ),
        rows=tuple(Row(words=(called,), who=who[called], printed=figures) for called, figures in COSTS.items()),
        notes=(
            "Measured training time: of the whole training, over its images (each counted once). The paper names no "
            "unit.",
        ),
    )


def _sixth(budgets: Iterable[tuple[str, float]]) -> Printed:
    name, title = _named("6", "fooling rate (%) of universal perturbations")
    printed = {("wideresnet16-8", data, "linf", xi): tuple(figures) for data, (xi, *figures) in FOOLED.items()}
    further = {
        (model, data, norm, xi): (MISSING, MISSING)
        for data in DATASETS
        for model in ARCHITECTURES
        for norm, xi in budgets
    }
    rows = (
        Row(
            words=(ARCHITECTURES[model], NAMES[data], norm_words(norm), epsilon_words(xi)),
            who=Who(model=model, data=data),
            printed=figures,
            changes={"fooling": {"norm": norm, "epsilon": xi}},
            extra=(model, data, norm, xi) not in printed,
        )
        for (model, data, norm, xi), figures in {**further, **printed}.items()
    )
    return Printed(
        name=name,
        title=title,
        headings=("network", "data set", "norm", "xi"),
        columns=(
            Column(heading="original", what=What(kind="fooling")),
            Column(heading="DeTraMe-Net", what=What(kind="fooling"), model=_DETRAME),
        ),
        rows=tuple(rows),
        notes=("xi is in pixel units of [0, 1]; the paper names neither norm nor unit, its rows stand with L∞.",),
    )


def _seventh() -> Printed:
    name, title = _named("7", "time of training and testing, CIFAR-10")
    columns = [
        Column(heading=f"{words}, {form}", what=What(kind=kind), model=model)
        for words, kind in (("training (s)", "training time"), ("testing (s per image)", "test time per image"))
        for form, model in (("original", "{}"), ("DeTraMe-Net", _DETRAME))
    ]
    rows = (
        Row(
            words=(ARCHITECTURES[model],),
            who=Who(model=model, data="cifar10"),
            printed=(*figures[:2], *(f"{float(it) / 1e4:.3g}" for it in figures[2:])),
        )
        for model, figures in TIMES.items()
    )
    return Printed(name=name, title=title, headings=("network",), columns=tuple(columns), rows=tuple(rows))
