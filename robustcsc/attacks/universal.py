"""Universal adversarial perturbations: a single small change that changes the predictions of most images.

Starts from v = 0. For every image whose prediction v does not change yet, DeepFool finds a small further change r of
``x + v`` that does, and ``v <- P(v + r)``, where P projects onto the ball of radius xi. Crafting ends once a share of
at least ``1 - delta`` of the images is fooled, or after a number of passes over them.

Differences from the paper and its authors' code:

- *Batches.* The reference takes one image after the other. Here the images of a batch that v does not fool yet take
  their DeepFool steps together, at the same v, and v moves by the sum of the steps: ``v <- P(v + sum_i r_i)``. To first
  order this is what the images would add one by one. DeepFool keeps the class that is nearest at first (`deepfool`,
  ``reselect=False``), which gave the same fooling rates for 0.6 times the work.
- *Which v.* The fooling rate of v fluctuates during crafting, image by image even more than in batches. In batches,
  fooled images are therefore counted six times per pass, the best v is kept, and crafting also ends when a whole pass
  of images has not improved it. Image by image they are counted after each pass, as in the reference. The best v is
  returned in both cases; the authors' code returns the last.
- How these rules were chosen: a perceptron for digits, 150 crafting images, batches of 25, fooling rates in percent of
  500 other images, mean over three to six orders of the images. Image by image is the best of five passes.

  | rule | linf 0.15 | l2 0.9 |
  |---|---|---|
  | image by image | 34 | 56 |
  | sum, counted six times a pass | 42 | 61 |
  | sum, counted three times a pass | 41 | 57 |
  | sum / square root of the pass, counted three times | 39 | 55 |
  | sum / square root of the number of images, counted once | 40 | 47 |
  | one after the other, projected each time, counted once | 35 | 56 |

- A batch size of 1 gives the published order and rule, except for the v that is returned.
- *The box.* Perturbed images are clamped to [0, 1] whenever they are classified, in crafting and in scoring. The
  authors' code adds v to images of 0 to 255 without clamping, and so counts images that no file can hold.

xi is in pixel units of [0, 1]. The authors' values are for pixels of 0 to 255 (linf 10, so 10/255 here; l2 2000 on
224x224 images, so 2000/255). A xi for images normalised by a standard deviation s is ``s * xi`` here. The DeTraMe-Net
paper (5e-2 on CIFAR, 2e-4 on SVHN in its table 6) states neither norm nor unit; CIFAR images are normalised there, SVHN
images are in [0, 1]. As a linf radius of normalised CIFAR images, 5e-2 is 0.01 here (s is about 0.2).

Source: Moosavi-Dezfooli, Fawzi, Fawzi & Frossard, "Universal adversarial perturbations", CVPR 2017, algorithm 1
(arXiv:1610.08401).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcsc.attacks.deepfool import deepfool
from robustcsc.attacks.threat import check_images
from robustcsc.data import ImageSet
from robustcsc.errors import AttackError
from robustcsc.layers.logits import finite_logits
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.threats import ThreatModel, check_crafting
from robustcsc.progress import Progress, silent

#: Largest number of DeepFool steps per image, as in the authors' code.
INNER_STEPS = 10
#: How often the fooled images are counted per pass when crafting in batches.
COUNTED = 6
_COUNTING_BATCH = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class UniversalPerturbation:
    """A perturbation and how it was made.

    Attributes:
        values: (C, H, W) float32 on the CPU, inside the ball exactly.
        threat: Norm and radius xi in pixel units of [0, 1].
        images: Number of crafting images.
        fooled: Number of crafting images whose prediction it changes (perturbed images are clamped to [0, 1]).
        converged: Whether their share is at least ``1 - delta``.
        passes: Passes over the crafting images, counting one that was stopped early.
        seconds: Wall-clock time.
    """

    values: Tensor
    threat: ThreatModel
    images: int
    fooled: int
    converged: bool
    passes: int
    seconds: float


# The settings of algorithm 1 by their names in the paper, and where and how it runs.
def universal_perturbation(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    delta: float = 0.2,
    passes: int = 10,
    batch_size: int = 25,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> UniversalPerturbation:
    """Returns one perturbation within `threat` that changes the prediction of as many images as possible.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K), differentiable, on `device`.
        images: The crafting images, usually of the training split; their labels are not used.
        threat: Norm and radius xi in pixel units of [0, 1], above 0.
        delta: Crafting ends once a share of at least ``1 - delta`` is fooled; in [0, 1).
        passes: Largest number of passes over the images, at least 1.
        batch_size: Images whose minimal perturbations are added at once; 1 is the published rule.
        seed: Seed of the order of the images, which changes with every pass.
        device: Where to compute.
        progress: Called after each batch.

    Raises:
        AttackError: Images or settings are invalid, or no finite gradient reaches the images.
    """
    check_crafting(threat, delta, passes, batch_size)
    if len(images) == 0:
        raise AttackError("There are no images to craft a universal perturbation on: give at least one.")
    started = time.perf_counter()
    together = batch_size > 1
    current = torch.zeros(images.image_shape, device=device)
    generator = torch.Generator().manual_seed(seed)
    with evaluation_mode(model):
        crafting = _Crafting(model, images, batch_size, torch.device(device), delta)
        done = idle = 0  # passes begun, images since the best perturbation
        while done < passes and not crafting.converged and not (together and idle >= len(crafting)):
            done, seen, counted = done + 1, 0, 0
            for batch, clean in crafting.batches(torch.randperm(len(images), generator=generator)):
                current = _moved(model, batch, clean, current, threat, reselect=not together)
                seen, idle = seen + len(batch), idle + len(batch)
                progress(f"UAP {threat.norm} {threat.epsilon:g}, pass {done}", seen, len(crafting))
                share = seen * (COUNTED if together else 1) // len(crafting)
                if share > counted:
                    idle = 0 if crafting.count(current) else idle
                    counted = share
                if crafting.converged or (together and idle >= len(crafting)):
                    break
    return UniversalPerturbation(
        values=crafting.best.cpu(),
        threat=threat,
        images=len(crafting),
        fooled=crafting.most,
        converged=crafting.converged,
        passes=done,
        seconds=time.perf_counter() - started,
    )


def perturbed(images: Tensor, perturbation: Tensor) -> Tensor:
    """Returns images (N, C, H, W) with a perturbation (C, H, W) added, clamped to [0, 1]."""
    return (images + perturbation).clamp_(0, 1)


@torch.no_grad()
def project(perturbation: Tensor, threat: ThreatModel) -> Tensor:
    """Returns the perturbation projected onto the ball of `threat`: per pixel (linf) or along the ray (l2).

    Pixels that rounding would move out of the ball are rounded towards 0, so that the returned numbers, evaluated in
    float64, lie in the ball exactly. The perturbation is (C, H, W), finite, of any sign.
    """
    exact = perturbation.double()
    if threat.norm == "linf":
        exact = exact.clamp(-threat.epsilon, threat.epsilon)
    else:
        length = float(torch.linalg.vector_norm(exact))
        if length <= threat.epsilon:
            return perturbation
        exact = exact * (threat.epsilon * (1 - 1e-12) / length)  # a margin for the rounding of this product
    rounded = exact.to(perturbation.dtype)
    inwards = torch.nextafter(rounded, torch.zeros_like(rounded))
    return torch.where(rounded.double().abs() > exact.abs(), inwards, rounded)


class _Crafting:
    """The crafting images with the model's clean predictions, and the best perturbation so far."""

    def __init__(self, model: nn.Module, images: ImageSet, batch_size: int, device: torch.device, delta: float) -> None:
        self.most, self.best = -1, torch.zeros(images.image_shape)
        self._delta = delta
        self._model, self._images, self._batch_size, self._device = model, images, batch_size, device
        self._clean = torch.full((int(images.positions.max()) + 1,), -1, device=device)
        self._count = 0
        for batch in images.batches(max(batch_size, _COUNTING_BATCH), device=device):
            check_images(batch.images, batch.labels)
            self._clean[batch.indices] = predictions(model, batch.images)
            self._count += len(batch.images)

    def __len__(self) -> int:
        """Returns the number of readable images."""
        return self._count

    def batches(self, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and their clean predictions: rows of `order` to craft on, or all in large batches to count."""
        size = self._batch_size if order is not None else max(self._batch_size, _COUNTING_BATCH)
        for batch in self._images.batches(size, order=order, device=self._device):
            yield batch.images, self._clean[batch.indices]

    @property
    def converged(self) -> bool:
        """Whether the best perturbation fools a share of at least ``1 - delta``."""
        return self.most >= (1 - self._delta) * len(self) - 1e-9

    def count(self, perturbation: Tensor) -> bool:
        """Counts the predictions that the perturbation changes; returns whether it is the best, and keeps it then."""
        changed = (
            predictions(self._model, perturbed(images, perturbation)) != clean for images, clean in self.batches()
        )
        fooled = sum(int(each.sum()) for each in changed)
        better = fooled > self.most
        if better:
            self.most, self.best = fooled, perturbation
        return better


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the predicted classes, (N,) int64.

    Raises:
        ModelError: The model does not return finite logits (N, K).
    """
    return finite_logits(model(images), len(images)).argmax(dim=1)


def _moved(
    model: nn.Module, images: Tensor, clean: Tensor, current: Tensor, threat: ThreatModel, *, reselect: bool
) -> Tensor:
    """Returns the perturbation after one batch: the DeepFool steps of the images it does not fool are added to it."""
    shown = perturbed(images, current)
    resisting = shown[predictions(model, shown) == clean]
    if len(resisting) == 0:
        return current
    found = deepfool(model, resisting, max_steps=INNER_STEPS, reselect=reselect)
    return project(current + found.perturbations[found.fooled].sum(dim=0), threat)
