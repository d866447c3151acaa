"""Random noise of a given energy, and random controls for universal perturbations.

These are no attacks: they show how much of a fooling rate is due to the size of the change alone.

Source of the noise: Tang, Chouzenoux, Pesquet & Krim, "Deep transform and metric learning network: wedding deep
dictionary learning and neural network" (DeTraMe-Net), section 5.3.2 and figure 4.

Differences from the paper: it does not say whether noisy images are clamped. Here they are clamped to [0, 1], the range
of all images; and ``||x||^2`` is in pixel units of [0, 1], before the model normalises.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robustcsc.attacks.universal import project
from robustcsc.corruptions.draws import image_seeds, normal, uniform
from robustcsc.measurements.perturbations import Control
from robustcsc.measurements.threats import ThreatModel, check_rho


def relative_noise(images: Tensor, rho: float, *, seed: int, indices: Tensor) -> Tensor:
    """Returns zero-mean Gaussian noise v with ``E ||v||^2 = rho ||x||^2`` for each image x, not clamped.

    Every value of an image gets the standard deviation ``sqrt(rho ||x||^2 / d)`` for d values. The draws depend on
    `seed` and the image's position in its data set (`indices`, (N,) int64) only: the noise of an image is the same in
    any batch, and another rho only scales it.

    Raises:
        AttackError: rho is negative, above 1 or not finite.
    """
    check_rho(rho)
    draws = normal(image_seeds(seed, "random-noise", 0, indices), images.shape[1:])
    if len(images) == 0:
        return torch.zeros_like(images)
    # Image by image: the last bit of a sum over a batch may depend on the batch.
    energies = torch.stack([image.contiguous().double().square().sum() for image in images])
    deviations = (rho * energies / images[0].numel()).sqrt().to(images.dtype)
    return draws.to(images.dtype) * deviations.view(-1, 1, 1, 1)


def random_signs(shape: tuple[int, int, int], threat: ThreatModel, seed: int) -> Tensor:
    """Returns a perturbation on the surface of the ball whose values differ in sign only; for linf the longest one."""
    signs = torch.where(uniform(_seeds(seed, "random-sign"), shape)[0] < 0.5, -1.0, 1.0)
    size = threat.epsilon if threat.norm == "linf" else threat.epsilon / math.sqrt(signs.numel())
    return project(signs * size, threat)


def gaussian_direction(shape: tuple[int, int, int], threat: ThreatModel, seed: int) -> Tensor:
    """Returns a Gaussian perturbation on the surface of the ball.

    For l2 it is scaled to the radius. For linf its standard deviation is the radius and its values are clamped to it:
    scaled by its largest value instead, it would have too little energy for a control.
    """
    draws = normal(_seeds(seed, "gaussian"), shape)[0]
    scale = 1.0 if threat.norm == "linf" else 1.001 / float(torch.linalg.vector_norm(draws))
    return project(draws * (scale * threat.epsilon), threat)


#: The controls for a universal perturbation: random perturbations of the same norm, by name; ``(shape, threat, seed)``
#: with the shape (C, H, W) to float32 on the CPU.
CONTROLS: dict[Control, Callable[[tuple[int, int, int], ThreatModel, int], Tensor]] = {
    "random-sign": random_signs,
    "gaussian": gaussian_direction,
}


def _seeds(seed: int, name: str) -> Tensor:
    """Returns the (1,) seed of a draw that all images share."""
    return image_seeds(seed, f"uap-control/{name}", 0, torch.zeros(1, dtype=torch.int64))
