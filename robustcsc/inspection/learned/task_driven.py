"""Pictures of the atoms of a task-driven model (ours; Tirer and Giryes, EUSIPCO 2018, has none).

Atoms are vectors of features. If the features are linear, Z x, a vector d is shown as the smallest image with these
features: ``Z^+ d``, with the pseudo-inverse of Z. Features of a network cannot be inverted; an atom is then shown as
the average of the images it is used for, weighted by the size of its coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.data.images import Batch
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import watch
from robustcsc.inspection.sheets import Array, draw_sheet, stretched
from robustcsc.inspection.specimen import Specimen
from robustcsc.layers.coding import CodingLayer
from robustcsc.layers.normalize import Normalize, UnitNorm
from robustcsc.models.tddl import TaskDriven
from robustcsc.presentation.drawing import Drawing

#: Largest number of atoms in one figure; the most used ones are shown.
MOST_ATOMS = 400


@dataclass(frozen=True)
class AtomUses:
    """The images for which the atoms of a task-driven dictionary are used.

    Attributes:
        images: Number of images.
        uses: Number of images in which an atom is active, ``(atoms,)``.
        prototypes: Average of the images, weighted by the size of an atom's coefficient, ``(atoms, C, H, W)``, in
            [0, 1]; 0 for an atom that is never active.
    """

    images: int
    uses: Array
    prototypes: Array


def task_driven(model: nn.Module) -> TaskDriven:
    """Returns the task-driven network in a model.

    Raises:
        RobustCSCError: If the model has none.
    """
    found = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if found is None:
        raise RobustCSCError(
            "This model is not task-driven and has no classifier of codes: choose a tddl model with --run."
        )
    return found


def linear_features(model: nn.Module) -> Tensor | None:
    """Returns Z ``(m, C H W)`` if the features of a task-driven network are linear in the normalised image.

    ``None`` if they are not, or if there is no such network. A bias only shifts the features and is ignored.
    """
    network = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if network is None:
        return None
    modules = network.features if isinstance(network.features, nn.Sequential) else [network.features]
    harmless = (UnitNorm, Normalize, nn.Flatten, nn.Identity)
    match [module for module in modules if not isinstance(module, harmless)]:
        case [nn.Linear(weight=weight)]:
            return weight.detach()
    return None


def backprojected(vectors: Tensor, projection: Tensor, image_shape: tuple[int, int, int]) -> Array:
    """Returns the smallest images whose features are closest to given ones: ``Z^+ d``, ``(n, C, H, W)``.

    Args:
        vectors: d, ``(n, m)``.
        projection: Z, ``(m, C H W)``.
        image_shape: ``(C, H, W)``.
    """
    pictures: Array = (vectors.double() @ torch.linalg.pinv(projection.double()).T).cpu().numpy()
    return pictures.reshape(-1, *image_shape)


def study_atoms(specimen: Specimen, layer: CodingLayer) -> AtomUses:
    """Returns which images the atoms of a layer of a model are used for.

    Raises:
        RobustCSCError: If there are no images.
    """
    count = 0
    uses = sizes = sums = torch.zeros((), dtype=torch.float64)

    def add(name: str, batch: Batch, features: Tensor, codes: Tensor) -> None:
        nonlocal count, uses, sizes, sums
        found, pixels = codes.cpu().double(), batch.images.cpu().double()
        count += len(pixels)
        uses = uses + (found != 0).sum(0)
        sizes = sizes + found.abs().sum(0)
        sums = sums + torch.einsum("np,nchw->pchw", found.abs(), pixels)

    watch(specimen, {"code": layer}, add)
    prototypes = sums / sizes.clamp_min(1e-12)[:, None, None, None]
    return AtomUses(count, uses.numpy(), prototypes.numpy())


def draw_uses(study: AtomUses, name: str, title: str) -> Drawing:
    """Returns what the atoms stand for: for each, the average of the images it is active in, most used atoms first."""
    order = np.argsort(-study.uses, kind="stable")[:MOST_ATOMS]
    described = (
        f"Averages of {study.images} images, weighted by the size of an atom's coefficient; the {len(order)} most used "
        "atoms in reading order, each stretched to its full range."
    )
    return draw_sheet(name, title, described, stretched(study.prototypes[order]))


def draw_backprojected(
    atoms: Tensor, projection: Tensor, image_shape: tuple[int, int, int], name: str, title: str
) -> Drawing:
    """Returns the first atoms ``(p, m)`` as pictures, each the smallest image that has these features."""
    pictures = backprojected(atoms[:MOST_ATOMS], projection, image_shape)
    described = (
        f"{len(pictures)} of {len(atoms)} atoms in reading order, each as the smallest image with its features, "
        "stretched to its full range."
    )
    return draw_sheet(name, title, described, stretched(pictures))


def draw_projection(projection: Tensor, image_shape: tuple[int, int, int], subject: str) -> Drawing:
    """Returns the first rows of Z ``(m, C H W)`` as pictures: what each feature looks for."""
    rows: Array = projection[:MOST_ATOMS].double().cpu().numpy()
    described = (
        f"{len(rows)} of the {len(projection)} rows of Z in reading order, each as an image, stretched to its full "
        "range."
    )
    pictures = stretched(rows.reshape(-1, *image_shape))
    return draw_sheet("projection", f"The learned projection: {subject}", described, pictures)
