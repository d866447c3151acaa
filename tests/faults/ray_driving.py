"""A command that measures on a Ray cluster, and what happens in the middle of it: its first argument.

`2 worker` kills a worker with SIGKILL once two jobs are over; `2 driver` kills this process; `2 127.0.0.3` stops the
worker on that node, prints `now` and waits for a line of standard input, until which the node is gone; `0 nothing`
leaves it alone.
"""

import os
import signal
import sys
from typing import Any

import torch

from robustcsc.cli.main import main
from robustcsc.evaluation.engines.ray import RayEngine


def disturb(after: int, what: str) -> None:
    """Lets something happen once some jobs are over."""
    following, assign, over = RayEngine.next, RayEngine._assign, [0]
    workers: dict[str, int] = {}  # process of the worker on each node

    def assigned(engine: RayEngine) -> None:
        """Holds the first jobs back until all workers are ready: a slow one would have none when something happens."""
        if not workers and not all(it.ready for it in engine._workers):
            early = [it for it in engine._workers if it.ready]
            for worker in early:
                worker.ready = False
            assign(engine)
            for worker in early:
                worker.ready = True
            return
        if not workers and engine._workers:
            asked = [it.actor.__ray_call__.remote(lambda _: os.getpid()) for it in engine._workers]
            workers.update(zip([it.node for it in engine._workers], engine._ray.get(asked), strict=True))
        assign(engine)

    def disturbed(engine: RayEngine) -> Any:
        found = following(engine)
        over[0] += 1
        if over[0] == after:
            happen(what, workers)
        return found

    setattr(RayEngine, "next", disturbed)  # noqa: B010
    setattr(RayEngine, "_assign", assigned)  # noqa: B010


def happen(what: str, workers: dict[str, int]) -> None:
    """Lets it happen."""
    if what == "driver":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "worker":
        os.kill(next(iter(workers.values())), signal.SIGKILL)
    else:
        # A worker outlives its node for a moment, in which it could measure all that is left.
        os.kill(workers[what], signal.SIGSTOP)
        sys.stdout.write("now\n")
        sys.stdout.flush()
        sys.stdin.readline()
        os.kill(workers[what], signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    after, what = sys.argv[1].split()
    disturb(int(after), what)
    sys.exit(main(sys.argv[2:]))
