"""The engine that measures jobs in this process, one after the other."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from robustcsc.evaluation.jobs import Failed, Job, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.progress import Progress


@dataclass(eq=False)
class Here:
    """One worker: this process.

    Attributes:
        evaluator: What it measures with.
        slots: As for `robustcsc.evaluation.jobs.Engine`.
    """

    evaluator: Evaluator
    slots: int = 1
    _jobs: deque[tuple[Job, Progress]] = field(default_factory=deque, init=False)

    def submit(self, job: Job, progress: Progress) -> None:
        """As `Engine.submit`."""
        self._jobs.append((job, progress))

    def next(self) -> list[tuple[Job, Outcome]]:
        """As `Engine.next`; it is one job."""
        job, progress = self._jobs.popleft()
        before, self.evaluator.progress = self.evaluator.progress, progress
        try:
            return [(job, self.evaluator.measure(job))]
        except Exception as error:
            return [(job, Failed(error))]
        finally:
            self.evaluator.progress = before
