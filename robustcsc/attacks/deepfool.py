"""DeepFool for batches of images: a short path to the nearest decision boundary.

Every step linearises the classifier. With logits ``f_k`` and the class ``c`` of the clean image, it moves to the
nearest boundary ``f_k = f_c``: ``r <- r + |f_k - f_c| / ||w_k||^2 w_k`` for the class k that minimises
``|f_k - f_c| / ||w_k||``, where ``w_k = grad f_k - grad f_c``. Logits and gradients are those at
``x + (1 + overshoot) r``. An image stops when its class changes.

torchattacks runs DeepFool image by image. Here all images of a batch take a step together: one forward pass, and one
backward pass per candidate class, without the images whose class has changed.

Differences from the paper: as in the authors' code, only the classes of the largest logits of the clean image are
candidates. A step is at least 1e-6 long (in pixel units of [0, 1]), so that an image on a boundary leaves it; the
authors' code adds 1e-4 to every step, so that the perturbation of an affine classifier is not minimal.

Source: Moosavi-Dezfooli, Fawzi & Frossard, "DeepFool: a simple and accurate method to fool deep neural networks",
CVPR 2016, algorithm 2 (arXiv:1511.04599).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustcsc.attacks.guard import check_counts, differentiating
from robustcsc.attacks.losses import require_classes
from robustcsc.attacks.threat import check_images
from robustcsc.errors import AttackError
from robustcsc.layers.logits import checked_logits, refuse_not_finite
from robustcsc.layers.modes import evaluation_mode

#: The settings of the authors' code.
NUM_CLASSES, OVERSHOOT, MAX_STEPS = 10, 0.02, 50
_SHORTEST_STEP = 1e-6


class Minimal(NamedTuple):
    """The result of DeepFool.

    Attributes:
        perturbations: (N, C, H, W), to be added to the images; overshoot included.
        fooled: (N,) bool, whether the class has changed.
        steps: (N,) int64, steps taken by each image.
    """

    perturbations: Tensor
    fooled: Tensor
    steps: Tensor


def deepfool(
    model: nn.Module,
    images: Tensor,
    *,
    num_classes: int = NUM_CLASSES,
    overshoot: float = OVERSHOOT,
    max_steps: int = MAX_STEPS,
    reselect: bool = True,
) -> Minimal:
    """Returns small l2 perturbations that change the prediction of `model` for each image.

    Perturbed images may leave [0, 1]. The model runs in evaluation mode; its modes, weights and gradients are restored
    afterwards.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable.
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        num_classes: Number of candidate classes, those of the largest logits, the image's own included; at least 2.
        overshoot: Distance beyond the boundary relative to the distance to it, at least 0.
        max_steps: Largest number of steps, at least 1.
        reselect: Whether every step chooses the nearest class anew, as in the paper. If not, the class nearest to the
            clean image is kept, and further steps take one backward pass each.

    Raises:
        AttackError: Images or settings are invalid, there are fewer than two classes, or no finite gradient reaches
            the images.
        ModelError: The model does not return finite logits (N, K).
    """
    check_images(images, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    check_counts(max_steps=max_steps)
    if num_classes < 2:
        raise AttackError(f"num_classes must be at least 2, not {num_classes}: a boundary lies between two classes.")
    if not (math.isfinite(overshoot) and overshoot >= 0):
        raise AttackError(f"overshoot must be a number of at least 0, not {overshoot}.")
    with differentiating(), evaluation_mode(model):
        clean = images.detach().clone()
        return search_boundary(
            model, clean, num_classes=num_classes, overshoot=overshoot, max_steps=max_steps, reselect=reselect
        )


def search_boundary(
    model: nn.Module, clean: Tensor, *, num_classes: int, overshoot: float, max_steps: int, reselect: bool
) -> Minimal:
    """As `deepfool`, for settings and images that are known to be valid, and a model in evaluation mode."""
    way = torch.zeros_like(clean)
    fooled = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
    steps = torch.zeros(len(clean), dtype=torch.int64, device=clean.device)
    candidates = torch.empty(0, dtype=torch.int64, device=clean.device)
    active = torch.arange(len(clean), device=clean.device)
    for step in range(max_steps + 1):
        if len(active) == 0:  # all have changed their class or have no gradient
            break
        inputs = torch.add(clean[active], way[active], alpha=1 + overshoot).requires_grad_()
        logits = checked_logits(model(inputs), len(inputs))
        require_classes("DeepFool", logits, 2)
        if step == 0:
            candidates = logits.detach().sort(dim=1, descending=True, stable=True).indices[:, :num_classes]
        own = candidates[active]
        changed = logits.argmax(dim=1) != own[:, 0]
        fooled[active] = changed
        bad = logits.detach().isfinite().all(dim=1).logical_not()
        not_finite, standing = torch.stack((bad.sum(), (~changed).sum())).tolist()  # a read that a GPU is waited for
        refuse_not_finite(not_finite, len(inputs))
        if not logits.requires_grad:
            raise AttackError("No gradient reaches the images through the model: make it differentiable.")
        if step == max_steps or not standing:
            break
        distances, directions, nearest = _nearest_boundary(logits, own, inputs)
        if step == 0 and not reselect:
            candidates = torch.stack([own[:, 0], nearest], dim=1)
        moved = (~changed & distances.isfinite()).nonzero().flatten()  # without a gradient there is no direction
        active = active[moved]
        way[active] += directions[moved] * distances[moved].clamp_min(_SHORTEST_STEP).view(-1, 1, 1, 1)
        steps[active] += 1
    return Minimal((1 + overshoot) * way, fooled, steps)


def _nearest_boundary(logits: Tensor, candidates: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns each image's distance to the nearest linearised boundary, the unit vector to it, and its class.

    The distance is infinite where the differences of the logits have zero gradients for all classes.
    """
    gaps = logits.gather(1, candidates[:, 1:]) - logits.gather(1, candidates[:, :1])
    nearest = torch.full((len(inputs),), math.inf, dtype=inputs.dtype, device=inputs.device)
    directions = torch.zeros_like(inputs, requires_grad=False)
    classes = candidates[:, 1].clone()
    finite = torch.ones((), dtype=torch.bool, device=inputs.device)
    for column in range(gaps.shape[1]):
        last = column + 1 == gaps.shape[1]
        (normal,) = torch.autograd.grad(gaps[:, column].sum(), inputs, retain_graph=not last, allow_unused=True)
        if normal is None:
            raise AttackError("No gradient reaches the images through the model: make it differentiable.")
        lengths = torch.linalg.vector_norm(normal, dim=(1, 2, 3), dtype=torch.float64)
        finite &= lengths.isfinite().all()
        distances = (gaps[:, column].detach().abs() / lengths).to(inputs.dtype)
        nearer = (lengths > 0) & (distances < nearest)
        nearest = torch.where(nearer, distances, nearest)
        every = lengths.view(-1, 1, 1, 1)
        directions = torch.where(nearer.view_as(every), (normal / every).to(inputs.dtype), directions)
        classes = torch.where(nearer, candidates[:, column + 1], classes)
    if not bool(finite):  # read once in each step, not for each class
        raise AttackError("The gradient of the model is not finite: check its weights and its inputs.")
    return nearest, directions, classes
