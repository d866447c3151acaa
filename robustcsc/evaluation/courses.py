"""Cells of a plan that are measured in turn, and what they wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from robustcsc.evaluation.jobs import Answer, Failed, Job
from robustcsc.evaluation.shards import Steps
from robustcsc.measurements.records import Record


@dataclass(eq=False)
class Course:
    """Cells that are measured in turn, some of them at once.

    Attributes:
        after: Courses that have to be over before this one begins.
        steps: Makes their jobs, and takes the answers.
        records: Records of cells that nobody has asked for yet, by the identity of the cell.
        asked: Jobs that it waits for, with what came of them.
        effort: How much work the cells are that are measured now.
        shares: How much of it these and earlier jobs have done.
        over: Whether nothing comes any more.
    """

    after: tuple[Course, ...]
    steps: Steps[None] = field(init=False)
    records: dict[int, list[Record]] = field(default_factory=dict)
    asked: dict[Job, Answer | Failed | None] = field(default_factory=dict)
    effort: float = 0.0
    shares: dict[Job, float] = field(default_factory=dict)
    over: bool = False

    @property
    def may_begin(self) -> bool:
        """Whether nothing has to be over first."""
        return all(it.over for it in self.after)

    @property
    def error(self) -> Exception | None:
        """Why what it waits for cannot be measured; ``None`` if nothing is known against it."""
        return next((it.error for it in self.asked.values() if isinstance(it, Failed)), None)

    def advanced(self) -> Sequence[Job]:
        """Takes the answers that it waited for, and returns the jobs that it waits for now; none once it is over.

        Raises:
            Exception: What it waited for cannot be measured, and there is no other way.
        """
        answers = [it for it in self.asked.values() if isinstance(it, Answer)]
        jobs: Sequence[Job] = ()
        try:
            if self.error is not None:
                jobs = self.steps.throw(self.error)
            else:
                jobs = self.steps.send(answers) if answers else next(self.steps)
        except StopIteration:
            self.over = True
        self.asked = dict.fromkeys(jobs)
        return jobs


def startable(coming: Iterator[Course], waiting: list[Course]) -> Course | None:
    """Returns the next course that may begin; those that have to wait are put with those that do."""
    if (first := next((it for it in waiting if it.may_begin), None)) is not None:
        waiting.remove(first)
        return first
    for course in coming:
        if course.may_begin:
            return course
        waiting.append(course)
    return None
