"""What a task-driven model has learned: which atoms speak for a class, what atoms stand for, how sparse codes are.

Source: Tirer and Giryes, EUSIPCO 2018, figure 2 (the classifier's weights); the other figures are ours. Atoms live
among features, which cannot be shown; so an atom is shown as the average image that it is used for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from robustcsc.errors import RobustCSCError
from robustcsc.report.figures import COLOURS, Plot, panels, share_heights, title_panel
from robustcsc.report.table import Table
from robustcsc.report.words import slug

if TYPE_CHECKING:  # reports need no torch
    import torch
    from torch import nn

    from robustcsc.data import ImageSet

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Atoms in one figure: those that are used most.
MOST_ATOMS = 400


@dataclass(frozen=True)
class DictionaryStudy:
    """What a task-driven model does with some images.

    Attributes:
        name: Name of the run.
        images: Name of the images.
        classes: Names of the classes.
        counts: Images of each class, ``(classes,)``.
        weights: W', ``(classes, atoms)``.
        active: Number of active atoms, summed over the images of each class, ``(classes,)``.
        uses: In how many images of each class an atom is active, ``(classes, atoms)``.
        prototypes: Average of the images, weighted by the size of an atom's coefficient, ``(atoms, C, H, W)``, in
            [0, 1]; 0 for an atom that is never active.
    """

    name: str
    images: str
    classes: tuple[str, ...]
    counts: Array
    weights: Array
    active: Array
    uses: Array
    prototypes: Array


def study_dictionary(
    model: nn.Module,
    images: ImageSet,
    *,
    name: str,
    batch_size: int = 250,
    device: str | torch.device = "cpu",
) -> DictionaryStudy:
    """Returns what a task-driven model does with some images.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits, with a task-driven network inside.
        images: The images.
        name: Name of the run.
        batch_size: Images at a time.
        device: Where the model is.

    Raises:
        RobustCSCError: If the model has no task-driven network.
    """
    import torch

    from robustcsc.layers.modes import evaluation_mode
    from robustcsc.models.tddl import TaskDriven

    network = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if network is None:
        raise RobustCSCError(f"{name} is no task-driven model, so it has no dictionary to show: use a tddl model.")
    classes, atoms = network.head.weight.shape
    counts, uses = torch.zeros(classes), torch.zeros(classes, atoms, dtype=torch.float64)
    sums, sizes = torch.zeros(atoms, *images.image_shape), torch.zeros(atoms)
    found: list[torch.Tensor] = []
    handle = network.code.register_forward_hook(lambda module, inputs, codes: found.append(codes.cpu()))
    try:
        with evaluation_mode(model), torch.no_grad():
            for batch in images.batches(batch_size, device=device):
                model(batch.images)
                codes, labels = found.pop(), batch.labels.cpu()
                counts += torch.bincount(labels, minlength=classes)
                uses.index_add_(0, labels, (codes != 0).double())
                sums += torch.einsum("np,nchw->pchw", codes.abs(), batch.images.cpu())
                sizes += codes.abs().sum(0)
    finally:
        handle.remove()
    return DictionaryStudy(
        name=name,
        images=f"{images.name} {images.split}",
        classes=tuple(images.classes),
        counts=counts.double().numpy(),
        weights=network.head.weight.detach().cpu().double().numpy(),
        active=uses.sum(1).numpy(),
        uses=uses.numpy(),
        prototypes=(sums / sizes.clamp_min(1e-12)[:, None, None, None]).double().numpy(),
    )


def sparsity_table(study: DictionaryStudy) -> Table:
    """Returns how many atoms are active in the images of each class, on average, and how many are used at all."""
    rows = [
        (label, f"{count:.0f}", f"{active / count:.1f}" if count else "", str(int((used > 0).sum())))
        for label, count, active, used in zip(study.classes, study.counts, study.active, study.uses, strict=True)
    ]
    total = max(study.counts.sum(), 1)
    rows.append(
        ("all", f"{study.counts.sum():.0f}", f"{study.active.sum() / total:.1f}", str(int(study.uses.any(0).sum())))
    )
    return Table(
        name=slug("sparsity", study.name),
        title=f"Sparsity of the codes of {study.name} on {study.images}",
        columns=("class", "images", "active atoms per image", "atoms ever active"),
        rows=tuple(rows),
        notes=(f"Of {study.weights.shape[1]} atoms.",),
    )


def classifier_plot(study: DictionaryStudy) -> Plot:
    """Returns the classifier's weights over the atoms, one panel per class (figure 2)."""
    figure, axes = panels(len(study.classes), 0)
    atoms = np.arange(study.weights.shape[1])
    for ax, label, weights in zip(axes, study.classes, study.weights, strict=True):
        ax.vlines(atoms, 0, weights, color=COLOURS[0], linewidth=0.6)
        title_panel(ax, label, "atom", "weight")
    share_heights(axes)
    return Plot(
        name=slug("classifier", study.name),
        title=f"Weights of the classifier of {study.name}, by class",
        description="Each panel shows how strongly every atom speaks for a class (up) or against it (down).",
        figure=figure,
    )


def atoms_plot(study: DictionaryStudy) -> Plot:
    """Returns what the atoms stand for: for each, the average of the images it is active in, most used atoms first."""
    order = np.argsort(-study.uses.sum(0), kind="stable")[:MOST_ATOMS]
    sheet = _sheet(study.prototypes[order])
    figure = Figure(figsize=(6.4, 6.4 * sheet.shape[0] / sheet.shape[1]), layout="constrained", facecolor="white")
    ax = figure.add_subplot()
    ax.imshow(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    return Plot(
        name=slug("atoms", study.name),
        title=f"What the atoms of {study.name} stand for on {study.images}",
        description=f"Averages of the images, weighted by the size of an atom's coefficient; the {len(order)} atoms "
        "that are used most, in the order of reading, each stretched to its full range.",
        figure=figure,
    )


def _sheet(pictures: Array) -> Array:
    """Returns pictures ``(n, C, H, W)`` side by side as one image ``(rows, columns, C)``, each from 0 to 1."""
    count, channels, height, width = pictures.shape
    low, high = pictures.min((1, 2, 3), keepdims=True), pictures.max((1, 2, 3), keepdims=True)
    stretched = (pictures - low) / np.maximum(high - low, 1e-12)
    columns = ceil(sqrt(count))
    rows = ceil(count / columns)
    cells = np.ones((rows * columns, height + 1, width + 1, channels))
    cells[:count, :height, :width] = stretched.transpose(0, 2, 3, 1)
    grid = cells.reshape(rows, columns, height + 1, width + 1, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * (height + 1), columns * (width + 1), channels)
