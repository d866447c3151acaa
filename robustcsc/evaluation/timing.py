"""About how long a plan takes, from a few batches of its images through the model on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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

#: How often a batch is timed at most, and after how many seconds no more.
_TIMES, _ENOUGH = 4, 0.5


@reproducible()
def timing(pieces: Sequence[Piece], model: LoadedModel, inputs: Inputs, batch_size: BatchSize) -> Timing | None:
    """Returns about how long pieces of a plan take; ``None`` if nothing is to be done.

    Each kind of pass is timed, and each corruption at its first severity.
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

    with evaluation_mode(model.model), torch.inference_mode():
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

    return Timing(fastest=seconds(min), slowest=seconds(max), images=len(batch.labels), device=device_words(device))


def _read(inputs: Inputs, corruption: Corruption, size: int, device: torch.device) -> None:
    for _ in corrupted_batches(inputs, corruption, size, device):
        pass
