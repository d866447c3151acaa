"""Sets of images that are read from their files whenever they are needed, by worker processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustcsc.data.decode import UnreadableImageError, as_array, decode, evaluation_view, training_view
from robustcsc.data.images import Batch, as_floats, batched_rows, checked_rows, fingerprint_of
from robustcsc.errors import DataError

#: First entries of the random streams, so that the order of an epoch and an image's crop never share one.
_ORDER_STREAM, _VIEW_STREAM = 1, 2


class _Request(NamedTuple):
    """One image to read; `entropy` seeds its random crop, and is empty for the evaluation view."""

    row: int
    path: str
    entropy: tuple[int, ...]


class _Loaded(NamedTuple):
    """What a worker hands back for one batch; plain arrays, so that nothing needs shared memory."""

    rows: list[int]
    pixels: npt.NDArray[np.uint8]  # (n, C, H, W)
    unreadable: list[int]
    misfit: str


class _Reader(Dataset[_Loaded]):
    """Reads the requested images; all the state that a worker process needs."""

    def __init__(self, image_shape: tuple[int, int, int], crop: bool) -> None:
        self.image_shape = image_shape
        self.crop = crop

    def __getitem__(self, requests: list[_Request]) -> _Loaded:
        rows, images, unreadable = [], [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about metadata
            for request in requests:
                try:
                    image = self._view(request)
                except UnreadableImageError:
                    unreadable.append(request.row)
                    continue
                if image.shape != self.image_shape:
                    return _Loaded([], np.empty((0, *self.image_shape), np.uint8), [], _misfit(request.path, image))
                rows.append(request.row)
                images.append(image)
        pixels = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
        return _Loaded(rows, pixels, unreadable, "")

    def _view(self, request: _Request) -> npt.NDArray[np.uint8]:
        channels, height, width = self.image_shape
        image = decode(Path(request.path))
        if channels == 3:
            image = image.convert("RGB")
        if request.entropy:
            image = training_view(image, height, width, np.random.default_rng(request.entropy))
        elif self.crop:
            image = evaluation_view(image, height)
        return as_array(image).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamedImages:
    """An `ImageSet` that holds file names only; memory stays bounded by a few batches.

    Attributes:
        name: Name of the data set.
        split: ``"train"`` or ``"test"``.
        classes: Names of the classes in label order.
        root: Folder that `files` are relative to.
        files: Every row's file, relative to `root`.
        file_sizes: (N,), int64: bytes of every file, for the fingerprint.
        labels: (N,), int64, on the CPU.
        positions: (N,), int64: each image's position in the whole split.
        image_shape: Channels, height and width of every image in a batch.
        crop: Whether `batches` resizes and centre-crops to `image_shape` (`decode.evaluation_view`); without it every
            file must have that shape.
        workers: Worker processes that read a batch each; 0 reads in the calling process.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    root: Path
    files: tuple[str, ...]
    file_sizes: Tensor
    labels: Tensor
    positions: Tensor
    image_shape: tuple[int, int, int]
    crop: bool
    workers: int = 2
    # Files found unreadable, shared by a set and its subsets: a damaged file is met and reported once.
    _damaged: set[str] = field(default_factory=set)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Paths of the files that could not be decoded so far; they stay in `len` but are in no batch."""
        return tuple(str(self.root / file) for file in sorted(self._damaged))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over name, split, classes, labels, positions, file names and file sizes."""
        names = (os.fsencode(file) + b"\0" for file in self.files)
        return fingerprint_of(self, chain(names, [self.file_sizes.numpy().data]))

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, indices: Tensor) -> StreamedImages:
        """Returns the images of the given rows, in that order; they keep their positions.

        Args:
            indices: (n,), int64, rows of this set.

        Raises:
            DataError: A row is out of range.
        """
        rows = checked_rows(indices, len(self))
        return replace(
            self,
            files=tuple(self.files[row] for row in rows.tolist()),
            file_sizes=self.file_sizes[rows],
            labels=self.labels[rows],
            positions=self.positions[rows],
        )

    def batches(
        self, batch_size: int, *, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[Batch]:
        """Yields the images in batches; which images come does not depend on the batch size or the workers.

        Args:
            batch_size: Images in a batch; the last one, and one with unreadable files, may have fewer.
            order: (n,), int64, the rows to visit; all in their order by default.
            device: Where the batch's tensors lie.

        Raises:
            DataError: A row is out of range, no image could be read, or an image does not have the set's shape.
        """
        return self._read(batched_rows(len(self), batch_size, order), (), device)

    def training_batches(
        self,
        batch_size: int,
        *,
        epoch: int,
        seed: int,
        order: Tensor | None = None,
        device: str | torch.device = "cpu",
    ) -> Iterator[Batch]:
        """Yields the images in random order, each randomly resized, cropped and mirrored.

        The order depends on (seed, epoch), an image's crop on (seed, epoch, position) only: both are the same for any
        batch size and worker count. See `decode.training_view` for the distribution.

        Args:
            batch_size: Images in a batch; the last one, and one with unreadable files, may have fewer.
            epoch: Which pass over the data, 0 or more.
            seed: Seed of the run, 0 or more.
            order: (n,), int64, the rows to visit instead, such as one process's share of them.
            device: Where the batch's tensors lie.

        Raises:
            DataError: No image could be read, or a number or row is out of range.
        """
        if epoch < 0 or seed < 0:
            raise DataError(f"Epoch {epoch} and seed {seed} must not be negative.")
        if order is None:
            rng = np.random.default_rng((_ORDER_STREAM, seed, epoch))
            order = torch.from_numpy(rng.permutation(len(self)))
        return self._read(batched_rows(len(self), batch_size, order), (_VIEW_STREAM, seed, epoch), device)

    def _read(self, batches: Iterable[Tensor], entropy: tuple[int, ...], device: str | torch.device) -> Iterator[Batch]:
        """Yields what could be read of each batch of rows, and remembers the files that could not."""
        asked, read = 0, 0
        for loaded in self._loader(self._requests(rows, entropy) for rows in batches):
            asked += 1
            read += len(loaded.rows)
            if loaded.misfit:
                raise DataError(f"{loaded.misfit}, but {self._expectation()}.")
            self._damaged.update(self.files[row] for row in loaded.unreadable)
            if loaded.rows:
                rows = torch.tensor(loaded.rows)
                yield Batch(
                    as_floats(torch.from_numpy(loaded.pixels), device),
                    self.labels[rows].to(device),
                    self.positions[rows].to(device),
                )
        if asked and not read:
            raise DataError(f"None of the images that were asked for in {self.root} can be read.")

    def _requests(self, rows: Tensor, entropy: tuple[int, ...]) -> list[_Request]:
        """Returns what a worker must read for one batch; files already known to be damaged are not tried again."""
        return [
            _Request(row, str(self.root / self.files[row]), (*entropy, position) if entropy else ())
            for row, position in zip(rows.tolist(), self.positions[rows].tolist(), strict=True)
            if self.files[row] not in self._damaged
        ]

    def _loader(self, requests: Iterable[list[_Request]]) -> Iterator[_Loaded]:
        """Starts the workers and returns what they read, one item for each batch of requests, in that order."""
        with warnings.catch_warnings():
            # Python 3.12 and later warn about fork in a process with threads; the workers only use Pillow and NumPy.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            reader = DataLoader(
                _Reader(self.image_shape, self.crop),
                batch_size=None,
                sampler=requests,
                num_workers=min(self.workers, _usable_cpus()),
                collate_fn=_unchanged,
                generator=torch.Generator(),  # leaves the global random state alone
            )
            loaded: Iterator[_Loaded] = iter(reader)
        return loaded

    def _expectation(self) -> str:
        """Returns what the files of this set must look like, for an error message."""
        channels, height, width = self.image_shape
        return f"the images in {self.root} should be {width}x{height} pixels with {_channel_text(channels)}"


def _usable_cpus() -> int:
    """Returns how many processes can run at once; more workers than that make DataLoader warn."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _misfit(path: str, image: npt.NDArray[np.uint8]) -> str:
    channels, height, width = image.shape
    return f"{path} has {width}x{height} pixels with {_channel_text(channels)}"


def _channel_text(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _unchanged(loaded: Any) -> Any:
    """Keeps DataLoader from turning the arrays into tensors, which would travel through shared memory."""
    return loaded
