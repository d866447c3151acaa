"""The engine that measures on a Ray cluster: one actor for each worker, on whatever node has room.

The extra ``robustcsc[ray]`` has what it needs. Ray starts workers, carries what they need through its object store, and
tells who died; what is measured, and how often a job is tried, is the driver's business.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from robustcsc.errors import EngineError, is_installed
from robustcsc.evaluation.engines.cluster import RayCluster
from robustcsc.evaluation.engines.connection import connected
from robustcsc.evaluation.jobs import Failed, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.packing import packed
from robustcsc.progress import Note, Progress

#: How many workers in a row may die as they start.
STARTS = 3
#: Seconds between two looks at the nodes, while no worker is there.
_LOOK = 5.0


@dataclass(eq=False)
class _Worker:
    """An actor, and what is known of it.

    Attributes:
        actor: The handle of Ray.
        node: Address of its node; ``""`` until it has told.
        job: What it measures, with its progress; `None` while it starts, or has nothing to do.
        ready: Whether it can measure.
    """

    actor: Any
    node: str = ""
    job: tuple[Job, Progress] | None = None
    ready: bool = False


@dataclass(eq=False, kw_only=True)
class RayEngine:
    """Workers that are actors of Ray. They start with the first jobs: if there are none, Ray is left alone.

    Attributes:
        cluster: Where they are.
        evaluator: What they measure with.
        most: How many workers there are at most; as many as the nodes have room for if ``None``.
        note: Told once of each worker that dies at a job.
        slots: As for `robustcsc.evaluation.jobs.Engine`; it is known once there is a job.
    """

    cluster: RayCluster
    evaluator: Evaluator
    most: int | None
    note: Note
    slots: int = field(default=1, init=False)
    _ray: Any = field(default=None, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _jobs: deque[tuple[Job, Progress]] = field(default_factory=deque, init=False)
    _workers: list[_Worker] = field(default_factory=list, init=False)
    #: What is waited for: an answer to a greeting, an opened worker, or a measured job.
    _asked: dict[Any, _Worker] = field(default_factory=dict, init=False)
    #: By node, the first look at the images there, which the other workers of the node wait for.
    _looks: dict[str, Any] = field(default_factory=dict, init=False)
    _failed_starts: int = field(default=0, init=False)
    _wrong: EngineError | None = field(default=None, init=False)

    def submit(self, job: Job, progress: Progress) -> None:
        """As `Engine.submit`.

        Raises:
            EngineError: The cluster cannot be reached, or has too little room.
        """
        if self._ray is None:
            self._connect()
        self._jobs.append((job, progress))

    def next(self) -> list[tuple[Job, Outcome]]:
        """As `Engine.next`.

        Raises:
            EngineError: A node has another version or other images, workers die as they start, or no node is left; told
                once all that was measured by then was returned.
        """
        found: list[tuple[Job, Outcome]] = []
        while not found:
            if self._wrong is not None:
                raise self._wrong
            self._assign()
            done, _ = self._ray.wait([*self._asked], timeout=_LOOK)
            if done:
                done, _ = self._ray.wait([*self._asked], num_returns=len(self._asked), timeout=0)
            elif not any(it.ready for it in self._workers) and not self.cluster.room(self._ray):
                raise EngineError("No node of the Ray cluster is left to measure on; what was finished is kept.")
            for answer in done:
                try:
                    over = self._answered(answer, self._asked.pop(answer))
                except EngineError as error:
                    self._wrong = self._wrong or error
                else:
                    found += [over] if over is not None else []
        return found

    def close(self) -> None:
        """Ends the workers, whatever they are at, and a cluster that was started for them."""
        with self._stack:
            while self._workers:
                self._ray.kill(self._workers.pop().actor)

    def _connect(self) -> None:
        """Connects with the cluster, and sends what workers need to its object store, once."""
        address, modules = self.cluster.chosen_address, own_modules(self.evaluator)
        self.cluster.check()
        ray = self._stack.enter_context(connected(address, modules))
        self.slots = self.cluster.slots(ray, self.most)
        self._content = ray.put(packed(self.evaluator))
        gpus = self.cluster.gpus_per_worker or 0
        options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(**options)(_worker_class())
        self._ray = ray

    def _assign(self) -> None:
        """Gives jobs to workers that have none, and starts workers as long as there is work for more."""
        busy = [it for it in self._workers if it.job is not None]
        for _ in range(len(self._workers), min(self.slots, len(busy) + len(self._jobs))):
            worker = _Worker(self._actor.remote())
            self._workers.append(worker)
            self._asked[worker.actor.greet.remote()] = worker
        for worker in self._workers:
            if worker.ready and worker.job is None and self._jobs:
                worker.job = self._jobs.popleft()
                self._asked[worker.actor.measure.remote(worker.job[0])] = worker

    def _answered(self, answer: Any, worker: _Worker) -> tuple[Job, Outcome] | None:
        """Takes what came from a worker; returns what came of its job, if it had one."""
        try:
            found = self._ray.get(answer)
        except self._ray.exceptions.RayActorError:
            return self._lost(worker)
        except self._ray.exceptions.RayError as error:  # of Ray's runtime environment, object store or serialisation
            raise EngineError(f"A worker of the Ray cluster failed ({_first_line(error)}).") from error
        if worker.job is not None:
            (job, _), worker.job = worker.job, None
            return job, found
        if isinstance(found, Failed):
            raise EngineError(f"Node {worker.node} of the Ray cluster: {found.error}") from found.error
        if not worker.node:
            self._greeted(worker, found)
        else:
            worker.ready, self._failed_starts = True, 0
        return None

    def _greeted(self, worker: _Worker, told: Mapping[str, str]) -> None:
        """Lets a worker that told its versions take what it needs.

        Raises:
            EngineError: They are not those of the driver.
        """
        worker.node = told["node"]
        own = _worker_class()().versions()
        for name, version in own.items():
            if told[name] != version:
                its = f"{name} {told[name]}" if told[name] else f"no {name}"
                raise EngineError(
                    f"Node {worker.node} of the Ray cluster has {its}, and this machine {version}: install the "
                    "same version on all."
                )
        look = self._looks.get(worker.node)
        fingerprint = self.evaluator.inputs.images.fingerprint if look is None else None
        on_gpu = bool(self.cluster.gpus_per_worker)
        opened = worker.actor.open.remote(self._content, os.getcwd(), on_gpu, fingerprint, look)
        self._looks.setdefault(worker.node, opened)
        self._asked[opened] = worker

    def _lost(self, worker: _Worker) -> tuple[Job, Outcome] | None:
        """Puts another worker in the place of one that died; returns its job as lost, if it had one."""
        where = f"the worker on node {worker.node}" if worker.node else "a worker"
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # if it was out of reach only
        if not worker.ready:
            self._looks.pop(worker.node, None)  # which it may have been at
            self._failed_starts += 1
            if self._failed_starts == STARTS:
                raise EngineError(
                    f"{STARTS} workers in a row died as they started, the last was {where}: look into Ray's logs there "
                    "(/tmp/ray/session_latest/logs); too little memory is a usual reason."
                )
        if worker.job is None:
            return None
        self.note(f"{where[0].upper()}{where[1:]} died; what it measured is measured by another one.")
        return worker.job[0], Lost(f"{where} died")


def _worker_class() -> type[Any]:
    """Returns the class of the actors: defined in a function, so that Ray sends its code and not its name.

    So a node with another version of robustcsc, or without any, can still say so.
    """

    class Worker:
        def versions(self) -> dict[str, str]:
            """Returns the versions that have to be the same everywhere."""
            from importlib import import_module

            found = {}
            for name in ("robustcsc", "torch", "torchvision"):
                try:
                    version = str(import_module(name).__version__)
                except ImportError:
                    version = ""
                found[name] = version.partition("+")[0]  # the build may differ: one for a GPU, another for none
            return found

        def greet(self) -> dict[str, str]:
            """Returns the versions, and where this is."""
            import ray

            return {**self.versions(), "node": ray.util.get_node_ip_address()}

        def open(self, content: bytes, folder: str, on_gpu: bool, fingerprint: str | None, look: None = None) -> Any:
            """Takes what is needed to measure; looks at images in files if nobody of this node has.

            Paths that were typed relative to the driver's folder mean the same here, if there is such a folder.
            """
            import os
            from contextlib import suppress

            import torch

            from robustcsc.allocator import keep_freed_memory
            from robustcsc.errors import DataError, RobustCSCError
            from robustcsc.evaluation.jobs import Failed
            from robustcsc.evaluation.packing import check_images, unpacked

            keep_freed_memory()  # as the command line does
            torch.set_num_threads(1)
            with suppress(OSError):
                os.chdir(folder)
            try:
                self._evaluator = unpacked(content, torch.device("cuda" if on_gpu else "cpu"))
                inputs = self._evaluator.inputs
                if inputs.corrupted_root is not None and not inputs.corrupted_root.expanduser().is_dir():
                    raise DataError(f"There is no folder {inputs.corrupted_root}: copy the images there, or share it.")
                if fingerprint is not None:
                    check_images(inputs.images, fingerprint)
            except RobustCSCError as error:
                return Failed(error)
            return look

        def measure(self, job: Any) -> Any:
            """Returns what comes of a job."""
            from robustcsc.evaluation.jobs import Failed
            from robustcsc.evaluation.packing import portable

            try:
                return self._evaluator.measure(job)
            except Exception as error:
                return Failed(portable(error))

    return Worker


def own_modules(evaluator: Evaluator) -> list[ModuleType]:
    """Returns the top-level modules of the user's own that the classes of the models lie in.

    Nodes get these modules, if they are packages all that is in them, and nothing else of the folders they lie in.
    """
    surrogate = evaluator.inputs.surrogate
    models: list[nn.Module] = [evaluator.model.model, *([surrogate.model] if surrogate else [])]
    names = {type(it).__module__.partition(".")[0] for model in models for it in model.modules()}
    modules = [sys.modules[name] for name in sorted(names - {"__main__", "builtins", "robustcsc"})]
    return [it for it in modules if not is_installed(_place(it))]


def _place(module: ModuleType) -> Path:
    """Returns the file of a module, or the folder of a package without one of its own."""
    return Path(module.__file__ or next(iter(module.__path__)))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
