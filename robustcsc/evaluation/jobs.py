"""What an engine carries: jobs to workers, and what came of them back.

A job is a pure description that any worker with the same `Evaluator` can carry out. Engines know workers and nothing of
what is measured; `robustcsc.evaluation.driver` knows what is to be measured, and nothing of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from robustcsc.evaluation.plan import Cell
from robustcsc.evaluation.predictions import Predictions
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, MinimalBudget
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Outcomes, Record
from robustcsc.progress import Progress


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """Work for one worker, the same whoever does it; two jobs are never equal.

    Attributes:
        cells: What to measure, at least one cell; several share crafted images.
        standing: The images that earlier attacks of a chain left; all if ``None``.
        right: Which clean images are classified as labelled, by policy, as far as it is known.
        rows: The images to look at, for a shard of a cell that `robustcsc.evaluation.shards.cuttable` knows; all if
            ``None``.
    """

    cells: tuple[Cell, ...]
    standing: Outcomes | None = None
    right: Mapping[Policy, Outcomes] = field(default_factory=dict)
    rows: range | None = None

    @property
    def words(self) -> str:
        """What is measured, for people."""
        which = "" if self.rows is None else f" (images {self.rows.start + 1} to {self.rows.stop})"
        return f"{', '.join(dict.fromkeys(map(_words, self.cells)))}{which}"


def _words(cell: Cell) -> str:
    match cell.perturbation:
        case Clean():
            return "clean images"
        case Corruption(name=name, severity=severity):
            return f"{name} {severity}"
        case Attack(steps=(*_, step), threat=threat, protocol=protocol):
            return f"{step.name} {threat.norm} {threat.epsilon:g} ({protocol})"
        case MinimalBudget(step=step, threat=threat, protocol=protocol):
            return f"the smallest {threat.norm} budget of {step.name} ({protocol})"
        case other:
            return type(other).__name__.lower()


@dataclass(frozen=True)
class Part:
    """What a shard gave under one policy.

    Attributes:
        found: What was predicted; nothing yet under a policy that chooses lambda by the residuals of all shards.
        provenance: How it came about.
        residuals: These residuals, one for each image.
    """

    found: Predictions
    provenance: Provenance
    residuals: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a job.

    Attributes:
        records: A record of every measurement that counts any image; none for a shard.
        parts: What a shard gave, by policy; the oracle and the like are many policies here.
        unreadable: Paths of files that could not be decoded.
    """

    records: tuple[Record, ...] = ()
    parts: Mapping[Policy, Part] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """What is measured cannot be: every worker would fail alike."""

    error: Exception


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and another one may do the job.

    Attributes:
        words: What happened to whom, such as ``"worker 3 was killed by signal 9"``.
    """

    words: str


Outcome = Answer | Failed | Lost


class Engine(Protocol):
    """Carries out jobs, in any order, wherever its workers are."""

    @property
    def slots(self) -> int:
        """How many jobs it takes at once, at least one; the driver keeps the others."""

    def submit(self, job: Job, progress: Progress) -> None:
        """Takes a job; returns at once. `progress` may be told of it, from `next` only."""

    def next(self) -> Sequence[tuple[Job, Outcome]]:
        """Waits until a job that was submitted is over, and returns all that are by then, with what came of them."""
