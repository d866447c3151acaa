"""One row of the speed table: two ways to do one thing, timed in turn in one process."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Seconds of two pieces of work that were called in turn (A B A B ...), so that a slow machine slows both."""

    ours: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours over the other, pair by pair."""
        return [a / b for a, b in zip(self.ours, self.other, strict=True)]


@dataclass(frozen=True)
class Row:
    """What the speed table says of one thing a user waits for."""

    part: str
    """The module of this folder that measured it."""
    what: str
    """The thing, in words: sizes, batch, threads."""
    other: str
    """What ours is compared with: a peer with its version, a floor, the textbook form."""
    unit: Literal["s of CPU", "s", "MiB", "forward passes"]
    ours: float
    """Median, in the unit."""
    theirs: float
    """Median, in the unit."""
    ratio: float
    """Median of ours / theirs."""
    lowest: float
    highest: float
    at_most: float | None
    """The target: the ratio is to be no larger; none where the row only informs."""
    note: str = ""
    """Say, the largest difference of the results."""

    @property
    def holds(self) -> str:
        """Returns whether the target is reached: ``yes``, ``no``, or nothing without a target."""
        return "" if self.at_most is None else "yes" if self.ratio <= self.at_most else "no"

    @classmethod
    def timed(
        cls, part: str, what: str, other: str, timing: Timing, at_most: float | None, wall: bool = False, note: str = ""
    ) -> Row:
        """Returns the row of two pieces of work that were timed in turn."""
        ratios = timing.ratios
        unit: Literal["s of CPU", "s"] = "s" if wall else "s of CPU"
        middle = median(timing.ours), median(timing.other), median(ratios)
        return cls(part, what, other, unit, *middle, min(ratios), max(ratios), at_most, note)


def in_turn(ours: Work, other: Work, repeats: int = 9, clock: Clock = time.process_time) -> Timing:
    """Times two pieces of work in turn, after two calls of each that are not counted."""
    for work in (ours, other, ours, other):  # caches, choice of kernels, memory
        work()
    pairs = [(_seconds(ours, clock), _seconds(other, clock)) for _ in range(repeats)]
    return Timing(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def _seconds(work: Work, clock: Clock) -> float:
    started = clock()
    work()
    return clock() - started


def children_cpu() -> float:
    """Returns the CPU seconds of all processes that were started and have ended, as a clock for ``in_turn``."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command(*words: str, cwd: str | None = None, env: dict[str, str] | None = None) -> Work:
    """Returns a call of the command line of this tree, or of Python if the first word is ``-c``."""
    line: Sequence[str] = words if words[0] == "-c" else ("-m", "robustcsc.cli.main", *words)
    return lambda: subprocess.run([sys.executable, *line], cwd=cwd, env=env, check=False, capture_output=True)
