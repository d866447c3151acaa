"""Adversarial training, the baseline for defences: every batch is attacked before the step.

Source:
    Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018: PGD with seven steps of
    2/255 from a random start, on CIFAR-10.
    Wong, Rice & Kolter, "Fast is better than free", ICLR 2020: one step of 1.25 times the budget from a random start.

Differences from the papers: images are attacked in evaluation mode, so that the running statistics of batch
normalisation see each batch once, as it is trained on. Where the attack lowers the loss, the clean image is kept. Step
sizes scale with the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from robustcsc.attacks.gradient import pgd
from robustcsc.errors import RobustCSCError
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel

Adversary = Literal["pgd-7", "fgsm"]
#: Number of steps, and their size as a share of the budget.
STEPS: dict[Adversary, tuple[int, float]] = {"pgd-7": (7, 1 / 4), "fgsm": (1, 5 / 4)}


@dataclass(frozen=True)
class AdversarialTraining:
    """The attack on the training images.

    Attributes:
        adversary: ``"pgd-7"``, or ``"fgsm"`` with one gradient step instead of seven. Training with FGSM can collapse:
            the model then resists single steps only. Evaluate it with PGD.
        epsilon: Budget in the maximum norm, in pixel units of [0, 1]; above 0, at most 1.

    Raises:
        RobustCSCError: The adversary is unknown, or the budget is 0.
        AttackError: The budget is outside its range.
    """

    adversary: Adversary
    epsilon: float = DEFAULT_EPSILON["linf"]

    def __post_init__(self) -> None:
        if self.adversary not in STEPS:
            raise RobustCSCError(f"Adversarial training knows {' and '.join(STEPS)}, not {self.adversary!r}.")
        if ThreatModel("linf", self.epsilon).epsilon == 0:
            raise RobustCSCError(
                "Adversarial training with a budget of 0 is ordinary training: leave --adversarial out."
            )

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Returns the attacked images; modes, weights and gradients of `model` do not change.

        Args:
            model: Images to logits (N, K).
            images: (N, C, H, W) in [0, 1].
            labels: (N,) int64.
            seed: Seed of the random start.
        """
        steps, share = STEPS[self.adversary]
        threat = ThreatModel("linf", self.epsilon)
        attacked = pgd(model, images, labels, threat, steps=steps, step_size=share * self.epsilon, seed=seed)
        return attacked.contiguous(memory_format=torch.channels_last)
