"""How many images are corrupted and classified at once, so that memory is bounded whatever the number of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from robustcsc.data import ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import BatchSize
from robustcsc.layers.modes import evaluation_mode

T = TypeVar("T")
#: Bytes of float32 pixels that are corrupted and classified at once, whatever the batch, where nobody measures how much
#: memory there is.
SLICE_BYTES = 2**24
#: Bytes of pixels that are fastest on a CPU, as more leave its caches (85 images of 32 pixels), and how few images are
#: not worth a step.
CACHE_BYTES, FEWEST = 2**20, 8
#: What corruptions and networks need for what lies in between, in bytes for each byte of pixels.
BETWEEN = 10
#: Share of the free memory of a GPU that images are chosen for: the rest is for what takes more than was measured.
BUDGET = 0.5


@dataclass
class Room:
    """How many images the memory has room for at a time.

    Attributes:
        size: The number; it is halved when the memory of a GPU runs out, and stays so.
        fixed: Whether it is a user's, and not to be halved.
    """

    size: int
    fixed: bool = False

    def used(self, work: Callable[[int], T]) -> T:
        """Returns what `work` makes of the number of images, from the beginning with half as many if they are too many.

        Raises:
            OutOfMemoryError: There is no room for one image, or for as many as a user said.
        """
        while True:
            try:
                return work(self.size)
            except torch.OutOfMemoryError:
                if self.fixed or self.size == 1:
                    raise
            self.size //= 2  # here, as the error holds on to what was computed
            torch.cuda.empty_cache()


def slice_size(images: ImageSet) -> int:
    """Returns how many images of a set have at most `SLICE_BYTES`, at least one."""
    return max(1, SLICE_BYTES // image_bytes(images))


def room_for(model: LoadedModel, images: ImageSet, asked: BatchSize) -> Room:
    """Returns the room for a model and images.

    On a CPU this is `slice_size`, or the number that a user asked for if that is smaller; ``"auto"`` are `CACHE_BYTES`,
    and `FEWEST` images at least. On a GPU it is that number; for ``"auto"`` one slice is classified first, and then
    there are as many images as `BUDGET` of the free memory holds by what each took, or by `BETWEEN` times its pixels if
    that is more.
    """
    most, on_gpu = slice_size(images), model.device.type == "cuda"
    if asked != "auto":
        return Room(asked if on_gpu else min(asked, most), fixed=True)
    room = Room(min(most if on_gpu else max(FEWEST, CACHE_BYTES // image_bytes(images)), len(images)))
    if on_gpu:
        each = room.used(lambda size: _taken(model, images, size))
        room.size = max(1, int(BUDGET * _free(model.device) / max(each, BETWEEN * image_bytes(images))))
    return room


def image_bytes(images: ImageSet) -> int:
    """Returns the size of one image in float32."""
    return 4 * math.prod(images.image_shape)


def _taken(model: LoadedModel, images: ImageSet, size: int) -> float:
    """Returns the bytes that each of `size` images takes on a GPU while it is classified."""
    device = model.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    (batch,) = evenly_spaced(images, min(size, len(images))).batches(size, device=device)
    with evaluation_mode(model.model), torch.inference_mode():
        model.model(batch.images)
    return (torch.cuda.max_memory_allocated(device) - before) / len(batch.labels)


def _free(device: torch.device) -> int:
    """Returns the bytes of a GPU that are free, or that PyTorch keeps for itself and does not use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
