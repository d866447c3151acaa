"""The engine that measures jobs in several processes on this machine.

A worker that dies loses its job and nothing else: it is told, and the next job gets a new process. Workers end when
their engine does, and also if the process that started them is killed.

Processes are spawned, not forked, as torch and CUDA want it. So a script that measures with several workers keeps what
it does behind ``if __name__ == "__main__":``, as each worker imports it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from robustcsc.allocator import keep_freed_memory
from robustcsc.errors import EngineError
from robustcsc.evaluation.engines.local import Here
from robustcsc.evaluation.jobs import Answer, Failed, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.packing import packed, portable, unpacked
from robustcsc.progress import Progress

#: How many workers in a row may end as they start.
STARTS = 3


@dataclass(eq=False)
class _Worker:
    """A process, what it is at, and whom it tells.

    Attributes:
        number: Its number, from 1; a process that takes the place of a dead one has that of it.
        process: The process.
        connection: Jobs go there; progress, outcomes and first of all `None`, once it is ready, come from there.
        job: What it is at, or will be at once it is ready.
        progress: Who is told of it.
        ready: Whether it takes jobs.
    """

    number: int
    process: SpawnProcess
    connection: Connection
    job: Job | None = None
    progress: Progress | None = None
    ready: bool = False

    def give(self) -> None:
        """Sends the job, if there is one and the worker takes it; of a dead worker `heard` tells."""
        if self.ready and self.job is not None:
            with suppress(OSError):
                self.connection.send(self.job)

    def heard(self) -> Outcome | None:
        """Returns what came of the job, as far as the next message says that."""
        try:
            message = self.connection.recv()
        except (OSError, EOFError):
            self.process.join()
            return Lost(f"worker {self.number} {_end(self.process.exitcode or 0)}")
        match message:
            case None:
                self.ready = True
                self.give()
            case Answer() | Failed():
                return message
            case (description, done, total) if self.progress is not None:
                self.progress(description, done, total)
        return None

    def end(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.join()
        self.connection.close()


@dataclass(eq=False)
class Processes:
    """Workers in processes of their own, which start when there are jobs for them.

    CPU threads are divided among them; on a machine with several GPUs each has one of its own, in turn.

    Attributes:
        evaluator: What they measure with.
        slots: How many workers there are at most.

    Raises:
        EngineError: It is below 1.
    """

    evaluator: Evaluator
    slots: int
    _workers: list[_Worker] = field(default_factory=list, init=False)
    _failed_starts: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise EngineError(f"--workers is {self.slots}: at least one process has to measure.")

    @cached_property
    def _packed(self) -> bytes:
        return packed(self.evaluator)

    def submit(self, job: Job, progress: Progress) -> None:
        """As `Engine.submit`."""
        worker = next((it for it in self._workers if it.job is None), None) or self._started()
        worker.job, worker.progress = job, progress
        worker.give()

    def next(self) -> list[tuple[Job, Outcome]]:
        """As `Engine.next`.

        Raises:
            EngineError: Workers end as they start; told once all that was measured by then was returned.
        """
        found: list[tuple[Job, Outcome]] = []
        while not found:
            heard = wait([it.connection for it in self._workers])
            for worker in [it for it in self._workers if it.connection in heard]:
                outcome = worker.heard()
                if isinstance(outcome, Lost):
                    self._workers.remove(worker)
                    worker.end()
                if worker.ready:
                    self._failed_starts.clear()
                elif isinstance(outcome, Lost):
                    self._failed_starts.append(outcome.words)
                if outcome is not None and worker.job is not None:
                    found.append((worker.job, outcome))
                    worker.job = None
            if len(self._failed_starts) >= STARTS and all(isinstance(it, Lost) for _, it in found):
                raise EngineError(
                    f"{STARTS} workers in a row ended as they started, the last time {self._failed_starts[-1]}: a "
                    'script keeps what it does behind `if __name__ == "__main__":`, as each worker imports it.'
                )
        return found

    def close(self) -> None:
        """Ends the workers, whatever they are at."""
        while self._workers:
            self._workers.pop().end()

    def _started(self) -> _Worker:
        """Starts a worker; what it needs is sent while others work."""
        number = min({*range(1, self.slots + 1)} - {it.number for it in self._workers})
        device = self.evaluator.model.device
        if device.type == "cuda":
            device = torch.device("cuda", (number - 1) % torch.cuda.device_count())
        threads = max(1, torch.get_num_threads() // self.slots)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, device, threads), name=f"robustcsc worker {number}")
        with _not_interrupted():
            process.start()
        there.close()  # so that the end of the process closes the last one
        worker = _Worker(number, process, here)
        self._workers.append(worker)
        threading.Thread(target=partial(_send, here, self._packed), daemon=True).start()
        return worker


def _send(connection: Connection, content: bytes) -> None:
    """Sends bytes, which waits until the other side reads them."""
    with suppress(OSError):
        connection.send_bytes(content)


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Keeps Ctrl-C from processes that are started in the block: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting a process starts this one first, which lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(code: int) -> str:
    """Returns how a process ended, in words."""
    if code == -signal.SIGKILL:
        return "was killed (if memory ran out, choose fewer --workers or a smaller --batch-size)"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _work(connection: Connection, device: torch.device, threads: int) -> None:
    """What a worker does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        here = Here(unpacked(connection.recv_bytes(), device))
    except EngineError as error:
        connection.send(Failed(error))
        return
    connection.send(None)
    with suppress(EOFError):  # no more jobs
        while True:
            here.submit(connection.recv(), lambda *told: connection.send(told))
            ((_, outcome),) = here.next()
            connection.send(Failed(portable(outcome.error)) if isinstance(outcome, Failed) else outcome)


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, however that was."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
