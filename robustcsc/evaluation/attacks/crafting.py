"""Adversarial images, made when first asked for, and the smallest budget at which each image breaks, by bisection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustcsc.attacks.catalog import Calls, counted, craft
from robustcsc.attacks.guard import differentiating, outcome
from robustcsc.attacks.sanity import check_masking
from robustcsc.data import Batch, ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import PolicyError
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.layers.gradients import implicit_layers, unrolled_gradients
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, MinimalBudget
from robustcsc.measurements.records import BudgetDetails, Cost, GradientChecks
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress

#: Images that the checks of gradients look at, evenly spaced.
CHECKED_IMAGES = 10
#: The budget is divided into 2^LEVELS parts; an image that resists all of it counts as `RESISTED`.
LEVELS, RESISTED = 6, 255


@dataclass(eq=False, kw_only=True)
class Crafted:
    """The adversarial images of one attack on one victim.

    Attributes:
        images: Clean images; adversarial ones are held in memory.
        victim: Whom the attack asks.
        attack: The attack; its last step is carried out.
        batch_size: Images at a time; random starts depend on it.
        rows: The order in which images are put into batches; their own if ``None``.
        standing: Which images are worth attacking, in their order; all if ``None``. The others stay as they are.
        gradients: Within which the attack takes its gradients, anew for each use.
    """

    images: ImageSet
    victim: Victim
    attack: Attack
    batch_size: int
    rows: Tensor | None = None
    standing: Sequence[bool] | None = None
    gradients: Callable[[], AbstractContextManager[None]] = nullcontext
    cost: Cost = field(default=Cost(attacked=0, forward_calls=0, gradient_calls=0), init=False)
    seconds: float = field(default=0.0, init=False)
    _batches: list[Batch] = field(default_factory=list, init=False)

    def stream(self, device: torch.device, progress: Progress) -> Iterator[Batch]:
        """Yields all images, the attacked ones changed, on `device`."""
        if not self._batches:
            started = time.perf_counter()
            # Measuring runs in inference mode, in which no gradient can be taken.
            with (
                self.gradients(),
                differentiating(),
                evaluation_mode(self.victim.model),
                counted(self.victim.model) as calls,
            ):
                self._batches = list(self._craft(device, progress))
            attacked = (
                sum(len(batch.labels) for batch in self._batches) if self.standing is None else sum(self.standing)
            )
            self.cost = Cost(attacked=attacked, forward_calls=calls.forward, gradient_calls=calls.gradient)
            self.seconds = time.perf_counter() - started
        return (Batch(*(part.to(device) for part in batch)) for batch in self._batches)

    def _craft(self, device: torch.device, progress: Progress) -> Iterator[Batch]:
        seen = 0
        step, threat = self.attack.steps[-1], self.attack.threat
        label = f"{step.name} {threat.norm} against {self.victim.name}"
        for batch in self.images.batches(self.batch_size, order=self.rows, device=device):
            count = len(batch.labels)
            standing = [True] * count if self.standing is None else self.standing[seen : seen + count]
            rows = torch.tensor(standing, device=batch.labels.device).nonzero().flatten()
            changed = batch.images.clone()
            if len(rows):
                changed[rows] = craft(
                    step,
                    self.victim.model,
                    batch.images[rows],
                    batch.labels[rows],
                    threat,
                    seed=self.attack.seed * 1_000_003 + int(batch.indices[0]),
                    averaged=self.victim.averaged,
                )
            seen += count
            progress(label, seen, len(self.images))
            yield Batch(*(part.cpu() for part in batch._replace(images=changed)))


def check_gradients(victim: Victim, images: ImageSet, threat: ThreatModel, device: torch.device) -> GradientChecks:
    """Returns how far the gradients of a victim can be trusted, on a few evenly spaced images.

    Raises:
        AttackError: No finite gradient reaches the images.
    """
    (batch,) = evenly_spaced(images, CHECKED_IMAGES).batches(CHECKED_IMAGES, device=device)
    loss = "nll" if victim.averaged else "ce"
    with differentiating():
        return check_masking(victim.model, batch.images.clone(), batch.labels.clone(), threat, loss=loss)


def best_gradient(
    victim: Victim, threat: ThreatModel, checks: Callable[[Victim, ThreatModel], GradientChecks]
) -> AbstractContextManager[None]:
    """Returns a block in which a victim that can be differentiated in two ways is in the way that attacks prefer.

    Its `checks` decide, on a few images; no other victim is checked.
    """
    compared = checks(victim, threat).compared if threat.epsilon and implicit_layers(victim.model) else None
    return unrolled_gradients(victim.model) if compared and compared.unrolled_is_stronger else nullcontext()


def smallest_budgets(
    search: MinimalBudget,
    victim: Victim,
    images: ImageSet,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> BudgetDetails:
    """Returns the smallest budgets, up to that of the search (above 0), at which the attack breaks each image.

    The number for an image is an upper bound: a budget at which it was broken. That it resisted the next smaller budget
    that was tried proves nothing about those between.

    Raises:
        PolicyError: The victim is not the model that is scored.
        AttackError: The attack does not support the norm.
    """
    if not search.protocol.white_box or victim.averaged:
        raise PolicyError(
            f"--min-epsilon goes with the protocols plain, fixed and adaptive, not with {search.protocol}."
        )
    calls, levels = Calls(), list[int]()
    label = f"smallest {search.threat.norm} budget against {victim.name}"
    with differentiating(), evaluation_mode(victim.model):
        for batch in images.batches(batch_size, device=device):
            levels += _search(search, victim, batch.images, batch.labels, calls)
            progress(label, len(levels), len(images))
    cost = Cost(attacked=len(levels), forward_calls=calls.forward, gradient_calls=calls.gradient)
    return BudgetDetails(levels=LEVELS, minimal=bytes(levels), cost=cost)


def _search(search: MinimalBudget, victim: Victim, images: Tensor, labels: Tensor, calls: Calls) -> list[int]:
    """Returns the level of each image, by bisection."""
    broken = torch.full((len(labels),), RESISTED, device=labels.device)
    wrong, _ = outcome(victim.model, images, labels)
    broken[wrong] = 0
    resisted = torch.zeros_like(broken)
    level = torch.full_like(broken, 2**LEVELS)
    for _ in range(LEVELS + 1):
        undecided = (broken != 0) & (
            (broken == RESISTED) & (resisted == 0) | (broken - resisted > 1) & (broken != RESISTED)
        )
        for size in sorted(set(level[undecided].tolist())):
            rows = (undecided & (level == size)).nonzero().flatten()
            found = _broken(search, victim, size, images[rows], labels[rows], calls)
            broken[rows[found]], resisted[rows[~found]] = size, size
        level = (broken + resisted) // 2
    levels: list[int] = broken.tolist()
    return levels


def _broken(search: MinimalBudget, victim: Victim, level: int, images: Tensor, labels: Tensor, calls: Calls) -> Tensor:
    """Returns which images the attack breaks at a level of the budget, ``(N,)`` bool."""
    threat = ThreatModel(search.threat.norm, search.threat.epsilon * level / 2**LEVELS)
    step = search.step
    if "step_size" in step.kind.settings:
        settings = {**dict(step.settings), "step_size": threat.epsilon / 4}
        step = AttackStep.of(step.name, restarts=step.restarts, **settings)
    with counted(victim.model, calls):
        found = craft(step, victim.model, images, labels, threat, seed=search.seed)
    return outcome(victim.model, found, labels)[0]
