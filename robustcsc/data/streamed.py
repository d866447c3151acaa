"""Image sets that other processes read from their files, batch by batch."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustcsc.data.decode import UnreadableImageError, as_array, decode, evaluation_view, training_view
from robustcsc.data.images import Batch, batch_of, batched_rows, checked_rows, fingerprint_of
from robustcsc.data.index import FolderIndex, stamp
from robustcsc.data.shards import Place, Shards
from robustcsc.errors import DataError
from robustcsc.measurements.records import Location

#: First entries of the seeds, so that the order of an epoch and an image's crop never share a random stream.
_ORDER_STREAM, _VIEW_STREAM = 1, 2

#: Threads that hash files (reading waits for the disk, and hashing releases the interpreter), and files each takes.
_HASHING_THREADS, _HASHED_TOGETHER = 8, 64


class _Request(NamedTuple):
    """One image to read; `entropy` seeds its random crop, and is empty for the evaluation view."""

    row: int
    path: str
    entropy: tuple[int, ...]
    place: Place


class _Loaded(NamedTuple):
    """What a reader returns for one batch: plain arrays, which need no shared memory."""

    rows: list[int]
    pixels: npt.NDArray[np.uint8]  # (n, C, H, W)
    unreadable: list[int]
    misfit: str


class _Reader(Dataset[_Loaded]):
    """Reads the requested images; this is all the state of a process."""

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
                    return _Loaded(
                        [], np.empty((0, *self.image_shape), np.uint8), [], f"{request.path} has {_size(image.shape)}"
                    )
                rows.append(request.row)
                images.append(image)
        pixels = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
        return _Loaded(rows, pixels, unreadable, "")

    def _view(self, request: _Request) -> npt.NDArray[np.uint8]:
        channels, height, width = self.image_shape
        image = decode(Path(request.path), request.place.read())
        if channels == 3:
            image = image.convert("RGB")
        if request.entropy:
            image = training_view(image, height, width, np.random.default_rng(request.entropy))
        elif self.crop:
            image = evaluation_view(image, height)
        return as_array(image).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamedImages:
    """An `ImageSet` that holds file names only; it takes the memory of a few batches.

    Attributes:
        root: Folder that `files` are relative to. The attributes not listed here are those of `ImageSet`.
        crop: Whether `batches` resizes and centre-crops to `image_shape` (`decode.evaluation_view`); if not, every
            file must have that shape.
        readers: Processes, each of which reads one batch at a time; 0 reads in the calling process.
        shards: Where the images lie, if they are not files of their own.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    root: Path
    files: tuple[str, ...]
    labels: Tensor
    positions: Tensor
    image_shape: tuple[int, int, int]
    crop: bool
    readers: int = 2
    shards: Shards | None = None
    logits: tuple[int, ...] = ()
    location: Location = field(default_factory=Location)
    # Shared by a set and its subsets, so that a damaged file is reported once and every file is hashed once.
    _damaged: set[str] = field(default_factory=set)
    _digests: dict[str, bytes] = field(default_factory=dict)
    _index: FolderIndex | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leaves the digests of files behind, but not the fingerprint that they made."""
        return self.__dict__ | {"_digests": {}}

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Paths of the files that could not be decoded so far; they stay in `len` but are in no batch."""
        return tuple(str(self.root / file) for file in sorted(self._damaged))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the bytes of the files, whether they are cropped, and what `fingerprint_of` adds to them.

        The bytes stand for the pixels, which would take many times as long to decode. The first call reads every file
        that a large folder did not have, or had otherwise, the last time (`FolderIndex`).
        """
        new = [row for row, file in enumerate(self.files) if file not in self._digests]
        chunks = [new[start : start + _HASHED_TOGETHER] for start in range(0, len(new), _HASHED_TOGETHER)]
        with ThreadPoolExecutor(_HASHING_THREADS) as pool:
            for chunk, digests in zip(chunks, pool.map(self._hashed, chunks), strict=True):
                self._digests.update(zip((self.files[row] for row in chunk), digests, strict=True))
        if self._index is not None:
            self._index.keep()
        return fingerprint_of(self, f"files, crop={self.crop}", (self._digests[file] for file in self.files))

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, indices: Tensor) -> StreamedImages:
        """As `ImageSet.subset`."""
        rows = checked_rows(indices, len(self))
        return replace(
            self,
            files=tuple(self.files[row] for row in rows.tolist()),
            labels=self.labels[rows],
            positions=self.positions[rows],
            shards=self.shards and Shards(self.shards.paths, self.shards.places[rows]),
        )

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        device: str | torch.device = "cpu",
        as_bytes: bool = False,
    ) -> Iterator[Batch]:
        """As `ImageSet.batches`; the images do not depend on the number of readers either.

        Raises:
            DataError: Also if an image does not have the set's shape.
        """
        return self._read(batched_rows(len(self), batch_size, order), (), device, as_bytes)

    def training_batches(
        self, batch_size: int, *, epoch: int, seed: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[Batch]:
        """Yields the images in random order, each randomly cropped, resized and mirrored (`decode.training_view`).

        The order depends on (seed, epoch) only, an image's crop on (seed, epoch, position) only: both are the same for
        any batch size and any number of readers.

        Args:
            batch_size: Images in a batch; the last one, and one with unreadable files, may have fewer.
            epoch: Number of the pass over the data, at least 0.
            seed: Seed of the run, at least 0.
            order: (n,), int64, the rows to return instead, such as one process's share of them.
            device: Where the batch's tensors lie.

        Raises:
            DataError: No image could be read, or the epoch, the seed or a row is out of range.
        """
        if epoch < 0 or seed < 0:
            raise DataError(f"Epoch {epoch} and seed {seed} must not be negative.")
        if order is None:
            rng = np.random.default_rng((_ORDER_STREAM, seed, epoch))
            order = torch.from_numpy(rng.permutation(len(self)))
        return self._read(batched_rows(len(self), batch_size, order), (_VIEW_STREAM, seed, epoch), device)

    def _place(self, row: int) -> Place:
        return self.shards[row] if self.shards else Place(os.path.join(self.root, self.files[row]))

    def _hashed(self, rows: Sequence[int]) -> list[bytes]:
        """Returns the digest of the content of each image; one that cannot be read counts as empty."""
        digests = []
        for row in rows:
            place, file = self._place(row), self.files[row]
            before = stamp(place.path) if self._index else b""
            digest = self._index.digest(file, before) if self._index else None
            if digest is None:
                digest = hashlib.sha256(place.read()).digest()
                if self._index:
                    self._index.learn(file, before, digest)
            digests.append(digest)
        return digests

    def _read(
        self, batches: Iterable[Tensor], entropy: tuple[int, ...], device: str | torch.device, as_bytes: bool = False
    ) -> Iterator[Batch]:
        """Yields the readable images of each batch of rows, and remembers the unreadable files."""
        asked, read = 0, 0
        for loaded in self._loader(self._requests(rows, entropy) for rows in batches):
            asked += 1
            read += len(loaded.rows)
            if loaded.misfit:
                raise DataError(f"{loaded.misfit}, but the images in {self.root} should be {_size(self.image_shape)}.")
            self._damaged.update(self.files[row] for row in loaded.unreadable)
            if loaded.rows:
                rows = torch.tensor(loaded.rows)
                pixels = torch.from_numpy(loaded.pixels)
                yield batch_of(pixels, self.labels[rows], self.positions[rows], device, as_bytes)
        if asked and not read:
            raise DataError(f"None of the images that were asked for in {self.root} can be read.")

    def _requests(self, rows: Tensor, entropy: tuple[int, ...]) -> list[_Request]:
        """Returns the requests of one batch, without the files that are known to be damaged."""
        return [
            _Request(row, str(self.root / self.files[row]), (*entropy, position) if entropy else (), self._place(row))
            for row, position in zip(rows.tolist(), self.positions[rows].tolist(), strict=True)
            if self.files[row] not in self._damaged
        ]

    def _loader(self, requests: Iterable[list[_Request]]) -> Iterator[_Loaded]:
        """Starts the readers and returns what they read, one item per batch of requests, in the same order."""
        with warnings.catch_warnings():
            # Python 3.12 and later warn about fork in a process with threads; the readers only use Pillow and NumPy.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            reader = DataLoader(
                _Reader(self.image_shape, self.crop),
                batch_size=None,
                sampler=requests,
                num_workers=min(self.readers, _usable_cpus()),
                collate_fn=_unchanged,
                generator=torch.Generator(),  # leaves the global random state alone
            )
            loaded: Iterator[_Loaded] = iter(reader)
        return loaded


def _usable_cpus() -> int:
    """Returns the number of CPUs this process may use; DataLoader warns about more readers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{width}x{height} pixels with {channels} channel{'' if channels == 1 else 's'}"


def _unchanged(loaded: Any) -> Any:
    """Keeps DataLoader from converting the arrays to tensors, which would need shared memory."""
    return loaded
