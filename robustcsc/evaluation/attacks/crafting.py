"""Adversarial images: made when first asked for, with what that cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from robustcsc.attacks.budget import Calls, counted
from robustcsc.attacks.catalog import craft
from robustcsc.attacks.sanity import check_masking
from robustcsc.data import Batch, ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.records import Cost, GradientChecks
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress

#: Images that the checks of gradients look at, evenly spaced.
CHECKED_IMAGES = 20


@dataclass(eq=False, kw_only=True)
class Crafted:
    """The adversarial images of one attack on one victim.

    Attributes:
        images: Clean images; adversarial ones are held in memory.
        victim: Whom the attack asks.
        step: The attack.
        threat: Norm and budget.
        seed: Seed of everything random.
        batch_size: Images at a time; random starts depend on it.
        standing: Which images are worth attacking, in their order; all if ``None``. The others stay as they are.
    """

    images: ImageSet
    victim: Victim
    step: AttackStep
    threat: ThreatModel
    seed: int
    batch_size: int
    standing: Sequence[bool] | None = None
    cost: Cost = field(default=Cost(attacked=0, forward_calls=0, gradient_calls=0), init=False)
    seconds: float = field(default=0.0, init=False)
    _batches: list[Batch] = field(default_factory=list, init=False)

    def stream(self, device: torch.device, progress: Progress) -> Iterator[Batch]:
        """Yields all images, the attacked ones changed, on `device`."""
        if not self._batches:
            started = time.perf_counter()
            # Measuring runs in inference mode, in which no gradient can be taken.
            with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(self.victim.model):
                self._batches = list(self._craft(device, progress))
            self.seconds = time.perf_counter() - started
        return (Batch(*(part.to(device) for part in batch)) for batch in self._batches)

    def _craft(self, device: torch.device, progress: Progress) -> Iterator[Batch]:
        seen, attacked, total = 0, 0, Calls()
        label = f"{self.step.name} {self.threat.norm} against {self.victim.name}"
        for batch in self.images.batches(self.batch_size, device=device):
            count = len(batch.labels)
            standing = [True] * count if self.standing is None else self.standing[seen : seen + count]
            rows = torch.tensor(standing, device=batch.labels.device).nonzero().flatten()
            changed = batch.images.clone()
            if len(rows):
                with counted(self.victim.model) as calls:
                    changed[rows] = craft(
                        self.step,
                        self.victim.model,
                        batch.images[rows],
                        batch.labels[rows],
                        self.threat,
                        seed=self.seed * 1_000_003 + int(batch.indices[0]),
                        averaged=self.victim.averaged,
                    )
                total.forward += calls.forward
                total.gradient += calls.gradient
            attacked += len(rows)
            seen += count
            progress(label, seen, len(self.images))
            yield Batch(*(part.cpu() for part in batch._replace(images=changed)))
        self.cost = Cost(attacked=attacked, forward_calls=total.forward, gradient_calls=total.gradient)


def check_gradients(victim: Victim, images: ImageSet, threat: ThreatModel, device: torch.device) -> GradientChecks:
    """Returns how far the gradients of a victim can be trusted, on a few evenly spaced images.

    Raises:
        AttackError: No finite gradient reaches the images.
    """
    (batch,) = evenly_spaced(images, CHECKED_IMAGES).batches(CHECKED_IMAGES, device=device)
    loss = "nll" if victim.averaged else "ce"
    with torch.inference_mode(False), torch.enable_grad():
        found = check_masking(victim.model, batch.images.clone(), batch.labels.clone(), threat, loss=loss)
    return replace(
        found,
        zero_gradients=round(found.zero_gradients, 6),
        one_step=round(found.one_step, 6),
        all_steps=round(found.all_steps, 6),
    )
