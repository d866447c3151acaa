"""About how long a plan takes, from a few batches of its images through the model on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch

from robustcsc.adaptive.residuals import layer_residuals
from robustcsc.attacks.guard import differentiating
from robustcsc.data.splits import evenly_spaced
from robustcsc.evaluation.models import LoadedModel, device_words
from robustcsc.evaluation.plan import BatchSize
from robustcsc.evaluation.room import CACHE_BYTES, FEWEST, image_bytes, room_for
from robustcsc.evaluation.sources import Inputs, corrupted_batches
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.precision import reproducible
from robustcsc.measurements.passes import Passes, Piece, Timing
from robustcsc.measurements.perturbations import Corruption, Source

#: Seconds that workers take to start, and Ray before them if it is not up; measured on two idle cores.
STARTING, STARTING_RAY = 3.0, 15.0
#: Seconds that a cell takes until the disk has it, measured; workers do not share them.
STORING = 0.02
#: How often a batch is timed at most, and after how many seconds no more.
_TIMES, _ENOUGH = 4, 0.5


@dataclass(frozen=True, kw_only=True)
class Team:
    """Who shares the work.

    Attributes:
        workers: How many processes.
        alone: Share of the work, in [0, 1], that one of them has to do.
        starting: Seconds until they are there.
        one_thread: Whether each computes in one CPU thread, as on a Ray cluster; else those of this process are shared.
    """

    workers: int
    alone: float = 0.0
    starting: float = 0.0
    one_thread: bool = False

    @property
    def threads(self) -> int:
        """CPU threads of each."""
        return 1 if self.one_thread else max(1, torch.get_num_threads() // self.workers)


ALONE = Team(workers=1)


@reproducible()
def timing(
    pieces: Sequence[Piece], model: LoadedModel, inputs: Inputs, batch_size: BatchSize, team: Team = ALONE
) -> Timing | None:
    """Returns about how long pieces of a plan take; ``None`` if nothing is to be done.

    Each kind of pass is timed, with the threads of one worker, and each corruption at its first severity. Several
    workers are taken to share evenly what they can share; on GPUs each needs one of its own to be of use.
    """
    asked = sum((it.passes for it in pieces), Passes())
    if not asked.total:
        return None
    images, device = inputs.images, model.device
    size = min(room_for(model, images, batch_size).size, len(images))
    if device.type == "cpu":  # more are no faster
        size = min(size, max(FEWEST, CACHE_BYTES // image_bytes(images)))
    part = evenly_spaced(images, size)
    (batch,) = part.batches(size, device=device)

    def paces(work: Callable[[], object]) -> list[float]:
        """Returns the seconds for one image, each time; the first time is left out, as caches fill."""
        times: list[float] = []
        while len(times) < _TIMES and sum(times) < _ENOUGH:
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
        return [it / len(batch.labels) for it in times[1:] or times]

    def differentiated() -> None:
        with differentiating():
            seen = batch.images.clone().requires_grad_()
            torch.autograd.grad(model.model(seen).sum(), seen)

    with evaluation_mode(model.model), torch.inference_mode(), _threads(team.threads):
        forward = paces(lambda: model.model(batch.images))
        residual = paces(lambda: layer_residuals(model.model, batch.images)) if asked.residual else [0.0]
        both = paces(differentiated) if asked.gradient else forward
        gradient = [max(0.0, it - min(forward)) for it in both]
        read = {"": paces(lambda: list(part.batches(size, device=device)))}
        few = replace(inputs, images=part)
        for it in pieces:
            if isinstance(made := it.what, Corruption) and made.source is Source.GENERATED and made.name not in read:
                read[made.name] = paces(partial(_read, few, made, size, device))

    def seconds(choose: Callable[[Sequence[float]], float]) -> float:
        reading = sum(
            it.perturbed * choose(read.get(it.what.name if isinstance(it.what, Corruption) else "", read[""]))
            for it in pieces
        )
        passes = asked.forward * choose(forward) + asked.residual * choose(residual) + asked.gradient * choose(gradient)
        return reading + passes

    workers = min(team.workers, max(1, torch.cuda.device_count())) if device.type == "cuda" else team.workers
    share = max(1 / workers, team.alone)
    fixed = team.starting + STORING * sum(bool(it.missing) for it in pieces)
    return Timing(
        fastest=fixed + share * seconds(min),
        slowest=fixed + share * seconds(max),
        images=len(batch.labels),
        device=device_words(device),
        workers=workers,
        threads=team.threads,
        starting=team.starting,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(inputs: Inputs, corruption: Corruption, size: int, device: torch.device) -> None:
    for _ in corrupted_batches(inputs, corruption, size, device):
        pass
