"""A command that measures on a Ray cluster, and what happens in the middle of it: its first argument.

`2 worker` kills a worker with SIGKILL once two jobs are over; `2 driver` kills this process; `2 node` prints `now` and
waits for a line of standard input, until which the other node is gone; `0 nothing` leaves it alone.
"""

import os
import signal
import sys
from typing import Any

import torch

from robustcsc.cli.main import main
from robustcsc.evaluation.engines.ray import RayEngine


def disturb(after: int, whom: str) -> None:
    """Lets something happen once some jobs are over."""
    following, assign, over, first = RayEngine.next, RayEngine._assign, [0], [0]

    def assigned(engine: RayEngine) -> None:
        """Holds the first jobs back until all workers are ready: a slow one would have none when something happens."""
        all_there = over[0] > 0 or all(it.ready for it in engine._workers)
        early = [] if all_there else [it for it in engine._workers if it.ready]
        for worker in early:
            worker.ready = False
        assign(engine)
        for worker in early:
            worker.ready = True

    def disturbed(engine: RayEngine) -> Any:
        found = following(engine)
        over[0] += 1
        if over[0] == 1:  # then one worker at least can be asked
            worker = next(it.actor for it in engine._workers if it.ready)
            first[0] = engine._ray.get(worker.__ray_call__.remote(lambda _: os.getpid()))
        if over[0] == after:
            happen(whom, first[0])
        return found

    setattr(RayEngine, "next", disturbed)  # noqa: B010
    setattr(RayEngine, "_assign", assigned)  # noqa: B010


def happen(whom: str, worker: int) -> None:
    """Lets it happen."""
    match whom:
        case "driver":
            os.kill(os.getpid(), signal.SIGKILL)
        case "worker":
            os.kill(worker, signal.SIGKILL)
        case "node":
            sys.stdout.write("now\n")
            sys.stdout.flush()
            sys.stdin.readline()


if __name__ == "__main__":
    torch.set_num_threads(1)
    after, whom = sys.argv[1].split()
    disturb(int(after), whom)
    sys.exit(main(sys.argv[2:]))
