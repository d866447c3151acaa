"""The classifier of a task-driven model: which atoms speak for a class.

Source: Tirer and Giryes, "Task-Driven Dictionary Learning Based on Convolutional Neural Network Features", EUSIPCO
2018, figure 2: w_y over the atoms, from which it concludes that the dictionary is discriminative: the classes emphasise
different atoms. The table puts numbers to that; the pictures of w_y through the dictionary are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.inspection.sheets import Array, sheet_plot, stretched
from robustcsc.inspection.task_driven import AtomUses, backprojected, linear_features, task_driven
from robustcsc.report.figures import COLOURS, MOST_PANELS, Plot, left_out, panels, share_heights, title_panel
from robustcsc.report.table import Table

#: Atoms that are named of each class.
STRONGEST = 5


@dataclass(frozen=True, kw_only=True)
class ClassWeights:
    """w_y of one class.

    Attributes:
        label: Name of the class.
        norm: ``||w_y||_2``.
        strongest: The atoms with the largest weights, largest first.
        weights: Their weights.
        concentration: Share of ``||w_y||_1`` that the tenth of the atoms with the largest ``|w|`` has: 0.1 if all are
            equal, 1 if the others are 0.
        closest: Name of the class whose w has the largest cosine with this one.
        cosine: That cosine.
    """

    label: str
    norm: float
    strongest: tuple[int, ...]
    weights: tuple[float, ...]
    concentration: float
    closest: str
    cosine: float


def class_weights(model: nn.Module, classes: Sequence[str]) -> list[ClassWeights]:
    """Returns what is told of each class.

    Args:
        model: A model with a task-driven network of at least two classes.
        classes: Their names.

    Raises:
        RobustCSCError: If it has no such network.
    """
    weights = task_driven(model).head.weight.detach().double().cpu()
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
        (
            it.label,
            f"{it.norm:.4g}",
            ", ".join(map(str, it.strongest)),
            f"{100 * it.concentration:.1f}",
            it.closest,
            f"{it.cosine:.3f}",
        )
        for it in found
    )
    columns = ("class", "norm of w", "strongest atoms", "weight of a tenth (%)", "closest class", "cosine")
    notes = (
        "weight of a tenth: share of the l1 norm of w that the tenth of its largest entries has. closest class: the "
        "one whose w has the largest cosine with this one.",
    )
    return Table(name="classifier", title=f"Classifier: {subject}", columns=columns, rows=rows, notes=notes)


def weights_plot(model: nn.Module, classes: Sequence[str], subject: str) -> Plot:
    """Returns the classifier's weights over the atoms, one panel per class (figure 2)."""
    weights = task_driven(model).head.weight.detach().double().cpu().numpy()
    drawn = list(zip(classes, weights, strict=True))[:MOST_PANELS]
    figure, axes = panels(len(drawn), 0)
    atoms = np.arange(weights.shape[1])
    for ax, (label, row) in zip(axes, drawn, strict=True):
        ax.vlines(atoms, 0, row, color=COLOURS[0], linewidth=0.6)
        title_panel(ax, label, "atom", "weight")
    share_heights(axes)
    described = "Each panel shows how strongly every atom speaks for a class (up) or against it (down)."
    described += left_out(len(classes), MOST_PANELS, "classes")
    return Plot("classifier-weights", f"Weights of the classifier, by class: {subject}", described, figure)


def class_pictures(model: nn.Module, image_shape: tuple[int, int, int], uses: AtomUses | None) -> Array:
    """Returns ``D w_y`` of each class as an image, ``(classes, C, H, W)``: what speaks for it.

    Args:
        model: A model with a task-driven network.
        image_shape: ``(C, H, W)``.
        uses: What its atoms are used for; not needed where the features are linear.

    Raises:
        RobustCSCError: If it has no such network.
        ValueError: If `uses` is needed and not given.
    """
    network = task_driven(model)
    weights: Tensor = network.head.weight.detach()
    projection = linear_features(model)
    if projection is not None:
        return backprojected(weights @ network.code.dictionary.detach().T, projection, image_shape)
    if uses is None:
        raise ValueError("These features are not linear: give what the atoms are used for.")
    pictures: Array = np.tensordot(weights.double().cpu().numpy(), uses.prototypes, 1)
    return pictures


def pictures_plot(pictures: Array, classes: Sequence[str], linear: bool, subject: str) -> Plot:
    """Returns the pictures of `class_pictures` side by side, each stretched to its full range."""
    way = (
        "the smallest image whose features are D w"
        if linear
        else "the sum of the atoms' average images, weighted by w, as the features cannot be taken back"
    )
    described = f"Of each class {way}; stretched to the full range. Classes: {', '.join(classes)}."
    title = f"What speaks for each class: {subject}"
    headings = classes if len(classes) <= MOST_PANELS else ()
    return sheet_plot("classifier-pictures", title, described, stretched(pictures), columns=headings, rows=[""])
