"""How many threads a command computes with: as many as there are processors that nobody else keeps busy.

PyTorch takes a thread for each processor, and its threads wait for each other by spinning. Where another program runs,
a thread that spins takes the processor from the very thread it waits for: an attack on digits in two threads, beside a
busy process on each of two processors, takes 4 to 30 times as long as in one. So the load is measured while torch is
imported, which takes a second or more, and no thread is started for a processor that is taken.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from robustcsc.cli.console import note
from robustcsc.cli.signals import stopped_at_once

#: Variables with which a user says how many threads there are to be.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
#: Seconds below which the load is not known: the kernel counts in hundredths.
LEAST_WINDOW = 0.2
#: Columns of /proc/stat, see proc(5).
_USER, _NICE, _IDLE, _IOWAIT, _STEAL = 0, 1, 3, 4, 7


@dataclass(frozen=True)
class Usage:
    """How much was computed up to a moment.

    Attributes:
        moment: Seconds of a clock.
        busy: Seconds that the processors of this process were busy, all together.
        own: Seconds of them for this process.
    """

    moment: float
    busy: float
    own: float

    @classmethod
    def now(cls, stat: Path = Path("/proc/stat")) -> Self | None:
        """Returns the usage up to now, ``None`` where it is not told (not on Linux)."""
        try:
            lines = stat.read_text().splitlines()
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError):
            return None
        columns = [[*map(int, counts)] for name, *counts in map(str.split, lines) if name in mine]
        # What waits for the disk takes no processor; what was started with `nice` gives way, unless this was, too.
        left_out = {_IDLE, _IOWAIT} | (set() if os.nice(0) > 0 else {_NICE})
        busy = sum(row[at] for row in columns for at in range(_STEAL + 1) if at not in left_out)
        return cls(time.monotonic(), busy / ticks, time.process_time())

    def taken_since(self, earlier: Usage) -> float | None:
        """Returns how many processors others kept busy in the meantime, ``None`` if it was too short to tell."""
        window = self.moment - earlier.moment
        if window < LEAST_WINDOW:
            return None
        return max(0.0, (self.busy - earlier.busy - self.own + earlier.own) / window)


def start_torch(asked: int | None) -> None:
    """Imports torch, and sets how many threads it computes with; to be called before anything else imports it.

    They are those of `--threads`, or of the environment (``OMP_NUM_THREADS``), or one for each free processor. A note
    tells if they are fewer than there are processors. What is set later, by a user's own module, holds.

    Args:
        asked: What `--threads` says.
    """
    before = Usage.now()
    with stopped_at_once():
        import torch

    if asked is not None:
        torch.set_num_threads(asked)
    elif not any(map(os.environ.get, VARIABLES)):
        after, most = Usage.now(), torch.get_num_threads()
        taken = after.taken_since(before) if before and after else None
        threads = free_threads(most, taken or 0.0)
        if threads < most:
            torch.set_num_threads(threads)
            chosen = "1 thread" if threads == 1 else f"{threads} threads"
            load = f"Other programs keep {taken:.1f} of {most} processors busy"
            note(f"{load}: computing in {chosen}, unless --threads says more.")


def free_threads(processors: int, taken: float) -> int:
    """Returns how many threads to start where others keep `taken` of the processors busy; at least one."""
    return max(1, processors - round(taken))
