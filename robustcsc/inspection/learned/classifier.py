"""The classifier of a task-driven model: the weights of each class over the atoms.

Source: Tirer and Giryes, "Task-Driven Dictionary Learning Based on Convolutional Neural Network Features", EUSIPCO
2018, figure 2: w_y over the atoms. The paper concludes that the dictionary is discriminative, because the classes
emphasise different atoms. The table quantifies that; the pictures of w_y through the dictionary are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustcsc.inspection.learned.task_driven import backprojected, linear_features, study_atoms, task_driven
from robustcsc.inspection.sheets import Array, draw_sheet, stretched
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.models.tddl import TaskDriven
from robustcsc.presentation.chart import MOST_PANELS, Chart, Line, Panel, Series, left_out
from robustcsc.presentation.colours import COLOURS
from robustcsc.presentation.drawing import Drawing
from robustcsc.presentation.drawn_chart import draw
from robustcsc.presentation.table import Column, Table

#: Number of atoms listed for each class.
STRONGEST = 5


@dataclass(frozen=True, kw_only=True)
class ClassWeights:
    """w_y of one class.

    Attributes:
        label: Name of the class.
        norm: ``||w_y||_2``.
        strongest: The atoms with the largest weights, largest first.
        weights: Their weights.
        concentration: Share of ``||w_y||_1`` in the tenth of the atoms with the largest ``|w|``: 0.1 if all are equal,
            1 if the others are 0.
        closest: Name of the class whose w has the largest cosine similarity with this one.
        cosine: That similarity.
    """

    label: str
    norm: float
    strongest: tuple[int, ...]
    weights: tuple[float, ...]
    concentration: float
    closest: str
    cosine: float


def inspect_classifier(specimen: Specimen) -> Findings[ClassWeights]:
    """Returns the weights of each class of a task-driven model over the atoms.

    The images give the names of the classes. If the features are not linear, the pictures of the classes are averages
    of them.

    Raises:
        RobustCSCError: The model is not task-driven, or its images cannot be read.
    """
    network, subject, classes = task_driven(specimen.model), specimen.name, specimen.images().classes
    weights = network.head.weight.detach().double().cpu()
    found = class_weights(weights, classes)
    drawings = []
    if specimen.draw:
        drawings = [draw(weights_chart(weights, classes, subject)), draw_pictures(specimen, network, classes)]
    return Findings(facts=found, tables=(classifier_table(found, subject),), drawings=drawings)


def class_weights(weights: Tensor, classes: Sequence[str]) -> list[ClassWeights]:
    """Returns what the weights of each class are like.

    Args:
        weights: w_y of at least two classes, ``(classes, atoms)``, float64, on the CPU.
        classes: Their names.
    """
    unit = weights / weights.norm(dim=1, keepdim=True).clamp_min(1e-300)
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    tenth = max(1, weights.shape[1] // 10)
    found = []
    for label, row, alike in zip(classes, weights, cosines, strict=True):
        order = row.argsort(descending=True, stable=True)[:STRONGEST].tolist()
        sizes = row.abs()
        total = float(sizes.sum())
        found.append(
            ClassWeights(
                label=label,
                norm=float(row.norm()),
                strongest=tuple(order),
                weights=tuple(row[order].tolist()),
                concentration=float(sizes.topk(tenth).values.sum()) / total if total else 0.0,
                closest=classes[int(alike.argmax())],
                cosine=float(alike.max()),
            )
        )
    return found


def classifier_table(found: Sequence[ClassWeights], subject: str) -> Table:
    """Returns one row per class."""
    rows = tuple(
        (it.label, it.norm, ", ".join(map(str, it.strongest)), it.concentration, it.closest, it.cosine) for it in found
    )
    columns = (
        Column("class"),
        Column("norm of w", significant=4),
        Column("strongest atoms"),
        Column("weight of a tenth (%)", percent=True, digits=1),
        Column("closest class"),
        Column("cosine", digits=3),
    )
    notes = (
        "weight of a tenth: share of the l1 norm of w in the tenth of its largest entries. closest class: the one "
        "whose w has the largest cosine similarity.",
    )
    return Table("classifier", f"Classifier: {subject}", columns, rows, notes)


def weights_chart(weights: Tensor, classes: Sequence[str], subject: str) -> Chart:
    """Returns the weights of `class_weights` over the atoms, one panel per class (figure 2)."""
    drawn = list(zip(classes, weights.tolist(), strict=True))[:MOST_PANELS]
    shown = tuple(
        Panel(label, "atom", "weight", (Line(0, tuple(map(float, range(len(row)))), tuple(row), shape="stems"),))
        for label, row in drawn
    )
    described = "Each panel shows how strongly every atom speaks for a class (up) or against it (down)."
    described += left_out(len(classes), MOST_PANELS, "classes")
    title = f"Weights of the classifier, by class: {subject}"
    return Chart("classifier-weights", title, described, shown, (Series("", COLOURS[0]),), same_heights=True)


def class_pictures(specimen: Specimen, network: TaskDriven, projection: Tensor | None) -> Array:
    """Returns ``D w_y`` of each class as an image, ``(classes, C, H, W)``: the evidence for the class.

    Args:
        specimen: The model with `network`, and images, which are needed only if the features are not linear.
        network: The classifier and its dictionary.
        projection: Its `linear_features`.
    """
    weights: Tensor = network.head.weight.detach()
    if projection is not None:
        return backprojected(weights @ network.code.dictionary.detach().T, projection, specimen.image_shape)
    uses = study_atoms(specimen, network.code)
    pictures: Array = np.tensordot(weights.double().cpu().numpy(), uses.prototypes, 1)
    return pictures


def draw_pictures(specimen: Specimen, network: TaskDriven, classes: Sequence[str]) -> Drawing:
    """Returns the pictures of `class_pictures` side by side, each stretched to its full range."""
    projection = linear_features(specimen.model)
    way = (
        "the sum of the atoms' average images, weighted by w, because the features cannot be inverted"
        if projection is None
        else "the smallest image whose features are D w"
    )
    described = f"For each class {way}, stretched to the full range. Classes: {', '.join(classes)}."
    title = f"Evidence for each class: {specimen.name}"
    headings = classes if len(classes) <= MOST_PANELS else ()
    pictures = stretched(class_pictures(specimen, network, projection))
    return draw_sheet("classifier-pictures", title, described, pictures, columns=headings, rows=[""])
