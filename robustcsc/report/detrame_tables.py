"""Tables 3 to 7 of the DeTraMe-Net paper, filled with what was measured, each beside the figures printed there.

Source: Tang et al., "Deep Transform and Metric Learning Network" (DeTraMe-Net), arXiv:2002.07898v2.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from robustcsc.records import FOOLING
from robustcsc.report.papers import PAPER_COLUMN
from robustcsc.report.table import Table
from robustcsc.report.trainings import Spread, TrainedModel
from robustcsc.report.words import MISSING, epsilon_words, norm_words

UNMEASURED = "not measured"

_ARCHITECTURES = {
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
_DATASETS = ("cifar10", "cifar100", "svhn")
_TABLE_4 = {  # accuracy in percent: original and DeTraMe-Net (iterations), per data set
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
_TABLE_6 = {  # fooling rate in percent of WideResNet 16-8: xi, original, DeTraMe-Net
    "cifar10": (5e-2, "18.03 ± 1.75", "6.78 ± 0.73"),
    "cifar100": (5e-2, "59.61 ± 2.72", "23.65 ± 1.84"),
    "svhn": (2e-4, "46.84 ± 3.05", "23.61 ± 5.61"),
}
_TABLE_7 = {  # CIFAR-10: training (s), testing (1e-4 s an image), each original and DeTraMe-Net
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
_MEASURED = (
    "Measured: mean ± standard deviation over training seeds; of one seed with the 95 % Wilson interval. The paper's "
    f"columns were printed by its authors ({PAPER_COLUMN}) and enter no other number."
)


@dataclass(frozen=True)
class _Pair:
    """A network and its DeTraMe form, trained in the same way on the same images; either may be missing."""

    architecture: str
    data: str
    original: TrainedModel | None
    detrame: TrainedModel | None

    @property
    def dataset(self) -> str:
        """The paper's data set that `data` is a form of, or ``""``."""
        return next((it for it in reversed(_DATASETS) if self.data.startswith(it)), "")

    @property
    def words(self) -> tuple[str, str]:
        """Names architecture and data set."""
        return _ARCHITECTURES[self.architecture], self.data

    def cells(self, text: Callable[[TrainedModel], str]) -> tuple[str, str]:
        """Returns a text for both networks."""
        return tuple(UNMEASURED if it is None else text(it) for it in (self.original, self.detrame))  # type: ignore[return-value]


def detrame_tables(models: Sequence[TrainedModel]) -> list[Table]:
    """Returns tables 3 to 7 with all rows of the paper; what was not measured says so.

    A measured row names the data set it was measured on. Networks that were trained in different ways have rows of
    their own.
    """
    pairs = _pairs(models)
    return [_table_3(pairs), _table_4(pairs), _table_5(pairs), _table_6(pairs), _table_7(pairs)]


def _pairs(models: Iterable[TrainedModel]) -> list[_Pair]:
    """Returns measured pairs in the paper's order; an empty one for what the paper has and nobody measured."""
    found: dict[tuple[str, str, str], dict[bool, TrainedModel]] = defaultdict(dict)
    for model in models:
        name = model.about.model.removeprefix("detrame-")
        if name in _ARCHITECTURES:
            for data in dict.fromkeys(it.cohort.dataset for it in model.of("clean")):
                about = model.about
                trained = json.dumps([about.images, about.trained_on, about.recipe])
                found[name, data, trained][about.model != name] = model
    measured = [_Pair(name, data, by.get(False), by.get(True)) for (name, data, _), by in found.items()]
    there = {(it.architecture, it.dataset) for it in measured}
    empty = [
        _Pair(name, data, None, None) for data in _DATASETS for name in _ARCHITECTURES if (name, data) not in there
    ]
    names = list(_ARCHITECTURES)
    return sorted([*measured, *empty], key=lambda it: (_rank(it.dataset), names.index(it.architecture), it.data))


def _rank(dataset: str) -> int:
    return _DATASETS.index(dataset) if dataset in _DATASETS else len(_DATASETS)


def _clean(model: TrainedModel, data: str) -> Spread | None:
    """Returns the clean accuracy on the largest set of images of a data set."""
    found = [(it.cohort.total, spread) for it, spread in model.of("clean").items() if it.cohort.dataset == data]
    return max(found, key=lambda it: it[0])[1] if found else None


def _accuracy(model: TrainedModel, data: str) -> str:
    spread = _clean(model, data)
    if spread is None:
        return UNMEASURED
    seeds = len(model.trainings)
    notes = [f"{seeds} seeds" if seeds > 1 else "1 seed"]
    if model.about.model.startswith("detrame-"):
        notes.insert(0, str(json.loads(model.about.options).get("num_steps", MISSING)))
    return f"{spread.cell()} ({', '.join(notes)})"


def _table_3(pairs: Sequence[_Pair]) -> Table:
    rows = []
    for pair in (it for it in pairs if it.architecture == "plainnet9" and it.dataset in ("cifar10", "cifar100")):
        cifar100 = pair.dataset == "cifar100"
        printed = ("66.15 ± 0.61", "69.68 ± 0.50") if cifar100 else ("90.31 ± 0.31", "93.05 ± 0.46")
        best, ddl = ("70.34", "68.76") if cifar100 else ("93.40", "93.04")
        accuracies, counts = pair.cells(partial(_accuracy, data=pair.data)), pair.cells(_parameters)
        rows.append(("PlainNet 9-layer", pair.data, counts[0], accuracies[0], "1.4M", printed[0]))
        rows.append(("DDL 9", pair.data, UNMEASURED, UNMEASURED, "1.4M", ddl))
        rows.append(("DeTraMe-Net 9", pair.data, counts[1], accuracies[1], "3.0M", printed[1]))
        spread = _clean(pair.detrame, pair.data) if pair.detrame else None
        measured = UNMEASURED if spread is None else f"{100 * spread.best:.2f}"
        rows.append(("DeTraMe-Net 9 (best)", pair.data, counts[1], measured, "3.0M", best))
    columns = ("model", "data set", "parameters", "accuracy (%)", "paper: parameters", "paper: accuracy (%)")
    return _table("3", "accuracy beside deep dictionary learning (DDL)", columns, rows)


def _table_4(pairs: Sequence[_Pair]) -> Table:
    rows = []
    for pair in pairs:
        printed = dict(zip(_DATASETS, _TABLE_4[pair.architecture], strict=True)).get(pair.dataset, (MISSING, MISSING))
        rows.append((*pair.words, *pair.cells(partial(_accuracy, data=pair.data)), *printed))
    columns = ("network", "data set", "original", "DeTraMe-Net", "paper: original", "paper: DeTraMe-Net")
    return _table(
        "4", "accuracy (%)", columns, rows, "In parentheses: iterations of the Q-Metric ReLU, training seeds."
    )


def _table_5(pairs: Sequence[_Pair]) -> Table:
    rows = [("DDL", "28x28", *(UNMEASURED,) * 3, "0.35M", "0.2784", "0.094")]
    for pair in (it for it in pairs if it.architecture == "plainnet12" and it.dataset == "cifar10"):
        parameters, trained, tested = (pair.cells(text)[1] for text in (_parameters, _training_per_image, _testing))
        rows.append(("DeTraMe-Net 12", pair.data, parameters, trained, tested, "2.4M", "0.1605", "0.000352"))
    columns = ("model", "data set", "parameters", "training (s per image)", "testing (s per image)")
    printed = ("paper: parameters", "paper: training (s)", "paper: testing (s)")
    note = (
        "Measured training time: of the whole training, over its images (each counted once). The paper names no unit."
    )
    return _table("5", "time of training and testing", (*columns, *printed), rows, note)


def _table_6(pairs: Sequence[_Pair]) -> Table:
    rows = []
    for pair in pairs:
        printed = _TABLE_6.get(pair.dataset) if pair.architecture == "wideresnet16-8" else None
        both = [_fooling(it, pair.data) for it in (pair.original, pair.detrame)]
        budgets = {budget for it in both for budget in it} | ({("linf", printed[0])} if printed else set())
        for norm, xi in sorted(budgets):
            cells = [it.get((norm, xi), UNMEASURED) for it in both]
            beside = printed[1:] if printed and (norm, xi) == ("linf", printed[0]) else (MISSING, MISSING)
            rows.append((*pair.words, norm_words(norm), epsilon_words(xi), *cells, *beside))
    columns = ("network", "data set", "norm", "xi", "original", "DeTraMe-Net", "paper: original", "paper: DeTraMe-Net")
    note = "xi is in pixel units of [0, 1]; the paper names neither norm nor unit, its rows stand with L∞."
    return _table("6", "fooling rate (%) of universal perturbations", columns, rows, note)


def _table_7(pairs: Sequence[_Pair]) -> Table:
    rows = []
    for pair in (it for it in pairs if it.dataset == "cifar10"):
        training, testing = (pair.cells(text) for text in (lambda it: f"{it.seconds:.0f}", _testing))
        printed = _TABLE_7[pair.architecture]
        tested = [f"{float(value) / 1e4:.3g}" for value in printed[2:]]
        rows.append((*pair.words, *training, *testing, *printed[:2], *tested))
    headings = [
        f"{time}, {form}" for time in ("training (s)", "testing (s per image)") for form in ("original", "DeTraMe")
    ]
    columns = ("network", "data set", *headings, *(f"paper: {heading}" for heading in headings))
    return _table("7", "time of training and testing", columns, rows)


def _parameters(model: TrainedModel) -> str:
    return f"{model.about.parameters / 1e6:.2f}M"


def _training_per_image(model: TrainedModel) -> str:
    return f"{model.seconds / model.about.trained_on:.3g}"


def _testing(model: TrainedModel) -> str:
    return UNMEASURED if math.isnan(model.seconds_per_image) else f"{model.seconds_per_image:.3g}"


def _fooling(model: TrainedModel | None, data: str) -> Mapping[tuple[str, float], str]:
    """Returns the fooling rates over all images by norm and xi."""
    found = {} if model is None else model.of("uap")
    return {
        (it.setting.norm or "", it.setting.epsilon or 0.0): spread.cell()
        for it, spread in found.items()
        if it.cohort.metric == FOOLING and it.cohort.dataset == data
    }


def _table(number: str, words: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> Table:
    title = f"DeTraMe-Net, table {number}: {words}"
    return Table(f"detrame-table-{number}", title, tuple(columns), tuple(map(tuple, rows)), (_MEASURED, *notes))
