"""Commands that measure on a Ray cluster, with `then` between them, and what happens in the middle: the first argument.

`2 worker` kills a worker with SIGKILL once two jobs are over; `2 driver` kills this process; `2 interrupt` prints the
processes of the workers and sends this one what Ctrl-C sends; `2 127.0.0.3` stops the worker on that node, prints `now`
and waits for a line of standard input, until which the node is gone; `0 nothing` leaves it alone.
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
        """Holds the first jobs back until two workers are ready: a slow one would have none when something happens.

        A node that was lost just now may still count as room for a third worker, which then waits for it.
        """
        early = [it for it in engine._workers if it.ready]
        if not workers and len(early) < min(2, len(engine._workers)):
            for worker in early:
                worker.ready = False
            assign(engine)
            for worker in early:
                worker.ready = True
            return
        if not workers and early:
            asked = [it.actor.__ray_call__.remote(lambda _: os.getpid()) for it in early]
            workers.update(zip([it.node for it in early], engine._ray.get(asked), strict=True))
        assign(engine)

    def disturbed(engine: RayEngine) -> Any:
        found, before = following(engine), over[0]
        over[0] += len(found)
        if before < after <= over[0]:
            happen(what, workers)
        return found

    setattr(RayEngine, "next", disturbed)  # noqa: B010
    setattr(RayEngine, "_assign", assigned)  # noqa: B010


def happen(what: str, workers: dict[str, int]) -> None:
    """Lets it happen."""
    if what == "driver":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "interrupt":
        say(" ".join(map(str, workers.values())))
        os.kill(os.getpid(), signal.SIGINT)
    elif what == "worker":
        os.kill(next(iter(workers.values())), signal.SIGKILL)
    else:
        # A worker outlives its node for a moment, in which it could measure all that is left.
        os.kill(workers[what], signal.SIGSTOP)
        say("now")
        sys.stdin.readline()
        os.kill(workers[what], signal.SIGKILL)


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    after, what = sys.argv[1].split()
    disturb(int(after), what)
    sys.exit(max(main(it.split()) for it in " ".join(sys.argv[2:]).split(" then ")))
