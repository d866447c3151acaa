"""What the atoms of a task-driven model stand for, as pictures (ours; Tirer and Giryes, EUSIPCO 2018, shows none).

Atoms live among features. Where these are linear, Z x, a vector d of features is shown as the smallest image that has
them: ``Z^+ d``, with the pseudo-inverse of Z. Features of a network cannot be taken back: there an atom is shown as the
average of the images that it is used for, weighted by the size of its coefficient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import watch
from robustcsc.inspection.sheets import Array, draw_sheet, stretched
from robustcsc.layers.coding import CodingLayer
from robustcsc.layers.normalize import Normalize, UnitNorm
from robustcsc.models.tddl import TaskDriven
from robustcsc.presentation.drawing import Drawing

#: Atoms in one figure: those that are used most.
MOST_ATOMS = 400


@dataclass(frozen=True)
class AtomUses:
    """What the atoms of a task-driven dictionary are used for.

    Attributes:
        images: Number of images.
        uses: In how many of them an atom is active, ``(atoms,)``.
        prototypes: Average of the images, weighted by the size of an atom's coefficient, ``(atoms, C, H, W)``, in
            [0, 1]; 0 for an atom that is never active.
    """

    images: int
    uses: Array
    prototypes: Array


def task_driven(model: nn.Module) -> TaskDriven:
    """Returns the task-driven network in a model.

    Raises:
        RobustCSCError: If there is none.
    """
    found = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if found is None:
        raise RobustCSCError("This is no task-driven model, whose classifier could be shown: use a tddl model.")
    return found


def linear_features(model: nn.Module) -> Tensor | None:
    """Returns Z ``(m, C H W)`` if the features of a task-driven network are linear in the normalised image.

    ``None`` if they are not, or there is no such network. A bias only shifts the features and does not matter.
    """
    network = next((module for module in model.modules() if isinstance(module, TaskDriven)), None)
    if network is None or not isinstance(network.features, nn.Sequential | nn.Linear):
        return None
    modules = [network.features] if isinstance(network.features, nn.Linear) else list(network.features)
    harmless = (UnitNorm, Normalize, nn.Flatten, nn.Identity)
    rest = [module for module in modules if not isinstance(module, harmless)]
    if len(rest) != 1 or not isinstance(rest[0], nn.Linear):
        return None
    return rest[0].weight.detach()


def backprojected(vectors: Tensor, projection: Tensor, image_shape: tuple[int, int, int]) -> Array:
    """Returns the smallest images with some features, or features closest to them: ``Z^+ d``, ``(n, C, H, W)``.

    Args:
        vectors: d, ``(n, m)``.
        projection: Z, ``(m, C H W)``.
        image_shape: ``(C, H, W)``.
    """
    pictures: Array = (vectors.double() @ torch.linalg.pinv(projection.double()).T).cpu().numpy()
    return pictures.reshape(-1, *image_shape)


def study_atoms(model: nn.Module, layer: CodingLayer, batches: Iterable[Tensor]) -> AtomUses:
    """Returns which images the atoms of a layer are used for.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits.
        layer: A layer in it.
        batches: The images, on the device of the model.

    Raises:
        RobustCSCError: If there are no images.
    """
    count = 0
    totals: tuple[Tensor, ...] | None = None
    codes: list[Tensor] = []

    def summed() -> Iterable[Tensor]:
        nonlocal count, totals
        for images in batches:
            yield images
            found, pixels = codes.pop().double(), images.cpu().double()
            count += len(images)
            products = torch.einsum("np,nchw->pchw", found.abs(), pixels)
            parts = ((found != 0).sum(0).double(), found.abs().sum(0), products)
            totals = parts if totals is None else tuple(map(torch.add, totals, parts))

    watch(model, {"code": layer}, summed(), lambda name, features, found: codes.append(found.cpu()))
    assert totals is not None
    uses, sizes, sums = totals
    prototypes = sums / sizes.clamp_min(1e-12)[:, None, None, None]
    return AtomUses(count, uses.numpy(), prototypes.numpy())


def draw_uses(study: AtomUses, name: str, title: str) -> Drawing:
    """Returns what the atoms stand for: for each, the average of the images it is active in, most used atoms first."""
    order = np.argsort(-study.uses, kind="stable")[:MOST_ATOMS]
    described = (
        f"Averages of {study.images} images, weighted by the size of an atom's coefficient; the {len(order)} atoms "
        "that are used most, in the order of reading, each stretched to its full range."
    )
    return draw_sheet(name, title, described, stretched(study.prototypes[order]))


def draw_backprojected(
    atoms: Tensor, projection: Tensor, image_shape: tuple[int, int, int], name: str, title: str
) -> Drawing:
    """Returns the first atoms ``(p, m)`` as pictures, each the smallest image that has these features."""
    pictures = backprojected(atoms[:MOST_ATOMS], projection, image_shape)
    described = (
        f"{len(pictures)} of {len(atoms)} atoms in the order of reading, each as the smallest image that has its "
        "features, stretched to its full range."
    )
    return draw_sheet(name, title, described, stretched(pictures))


def draw_projection(projection: Tensor, image_shape: tuple[int, int, int], subject: str) -> Drawing:
    """Returns the first rows of Z ``(m, C H W)`` as pictures: what each feature looks for."""
    rows: Array = projection[:MOST_ATOMS].double().cpu().numpy()
    described = (
        f"{len(rows)} of the {len(projection)} rows of Z in the order of reading, each as an image, stretched to its "
        "full range."
    )
    pictures = stretched(rows.reshape(-1, *image_shape))
    return draw_sheet("projection", f"The learned projection: {subject}", described, pictures)
