"""Adversarial images of one attack on one target: made when first asked for, with what that cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from robustcsc.attacks.budget import Calls, counted
from robustcsc.attacks.catalog import Chosen
from robustcsc.attacks.sanity import Checks, check_masking
from robustcsc.measurements.threats import ThreatModel
from robustcsc.data import Batch, ImageSet
from robustcsc.evaluation.protocols import Target
from robustcsc.evaluation.subject import Subject
from robustcsc.layers.modes import evaluation_mode
from robustcsc.progress import Progress, silent
from robustcsc.measurements.store import ResultStore

#: Images that the checks look at, evenly spaced.
CHECKED_IMAGES = 20


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is attacked and how it is kept: everything that all attacks of one command share.

    Attributes:
        subject: The model.
        images: Clean test images; adversarial ones are held in memory, those of one target at a time.
        store: Where records are kept.
        seed: Seed of everything random.
        batch_size: Images at a time; random starts depend on it.
        remeasure: Whether to measure again what the store has.
        checks: Whether records say if gradients can be trusted.
        progress: Told after each batch.
    """

    subject: Subject
    images: ImageSet
    store: ResultStore
    seed: int = 0
    batch_size: int = 250
    remeasure: bool = False
    checks: bool = True
    progress: Progress = silent


class Crafted:
    """The adversarial images of one attack.

    Args:
        bench: The model and its images.
        target: What is attacked.
        attack: The attack.
        threat: Norm and budget.
        standing: Which images are worth attacking, in their order; all if ``None``. The others are left as they are.
    """

    def __init__(
        self, bench: Bench, target: Target, attack: Chosen, threat: ThreatModel, standing: list[bool] | None = None
    ) -> None:
        self._bench, self._target, self._attack, self._threat = bench, target, attack, threat
        self.standing = standing
        self.calls = Calls()
        self.attacked = 0
        self.seconds = 0.0
        self._batches: list[Batch] = []

    def stream(self) -> Iterator[Batch]:
        """Yields all images, the attacked ones changed, on the device of the model."""
        if not self._batches:
            started = time.perf_counter()
            # Measuring runs in inference mode, in which no gradient can be taken.
            with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(self._target.victim):
                self._batches = list(self._craft())
            self.seconds = time.perf_counter() - started
        device = self._bench.subject.device
        return (Batch(*(part.to(device) for part in batch)) for batch in self._batches)

    def _craft(self) -> Iterator[Batch]:
        bench, seen = self._bench, 0
        label = f"{self._attack.label} {self._threat.norm} against {self._target.name}"
        for batch in bench.images.batches(bench.batch_size, device=bench.subject.device):
            standing = (
                [True] * len(batch.labels) if self.standing is None else self.standing[seen : seen + len(batch.labels)]
            )
            rows = torch.tensor(standing, device=batch.labels.device).nonzero().flatten()
            changed = batch.images.clone()
            if len(rows):
                with counted(self._target.victim) as calls:
                    changed[rows] = self._attack.craft(
                        self._target.victim,
                        batch.images[rows],
                        batch.labels[rows],
                        self._threat,
                        seed=bench.seed * 1_000_003 + int(batch.indices[0]),
                        averaged=self._target.averaged,
                    )
                self.calls.forward += calls.forward
                self.calls.gradient += calls.gradient
            self.attacked += len(rows)
            seen += len(batch.labels)
            bench.progress(label, seen, len(bench.images))
            yield Batch(*(part.cpu() for part in batch._replace(images=changed)))

    def costs(self) -> dict[str, object]:
        """Returns what records tell about the attack."""
        return {
            "attacked": self.attacked,
            "forward_calls": self.calls.forward,
            "gradient_calls": self.calls.gradient,
        }


class Workshop:
    """What attacks of one command can share: images crafted on a victim, and the checks of that victim.

    Args:
        bench: The model and its images.
        threat: Norm and budget.
    """

    def __init__(self, bench: Bench, threat: ThreatModel) -> None:
        self.bench, self.threat = bench, threat
        self._victim = ""
        self._crafted: dict[str, Crafted] = {}
        self._checks: dict[str, Checks] = {}

    def crafted(self, target: Target, attack: Chosen, standing: list[bool] | None) -> Crafted:
        """Returns the images of an attack, those of an equal attack on an equal victim if there are any."""
        if standing is not None:
            return Crafted(self.bench, target, attack, self.threat, standing)
        if self._victim != target.name:
            self._victim, self._crafted = target.name, {}
        label = attack.full_label
        if label not in self._crafted:
            self._crafted[label] = Crafted(self.bench, target, attack, self.threat)
        return self._crafted[label]

    def checks(self, target: Target) -> dict[str, object]:
        """Returns what records tell about the gradients of a victim, and the flags that it raises."""
        known = target.white_box or target.protocol == "static"  # there the gradients are those of the model, too
        if not (self.bench.checks and known and self.threat.epsilon > 0):
            return {"flags": []}
        if target.name not in self._checks:
            images = self.bench.images
            count = min(CHECKED_IMAGES, len(images))
            chosen = images.subset(torch.arange(count) * len(images) // count)
            (batch,) = chosen.batches(count, device=self.bench.subject.device)
            loss = "nll" if target.averaged else "ce"
            with torch.inference_mode(False), torch.enable_grad():
                self._checks[target.name] = check_masking(
                    target.victim, batch.images.clone(), batch.labels.clone(), self.threat, loss=loss
                )
        found = self._checks[target.name]
        return {"checks": {name: _rounded(value) for name, value in asdict(found).items()}, "flags": list(found.flags)}


def _rounded(value: float) -> float:
    return round(value, 6) if isinstance(value, float) else value
