"""Image sets of a folder that are decoded when their pixels are first asked for, and then kept in memory."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from robustcsc.data.cache import PixelCache
from robustcsc.data.decode import UnreadableImageError, as_array, decode, evaluation_view
from robustcsc.data.images import Batch, checked_rows
from robustcsc.data.jpeg import LARGEST_FILE, jpeg_decoder
from robustcsc.data.memory import MemoryImages
from robustcsc.errors import DataError
from robustcsc.measurements.records import Location

_CHUNK = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodedImages:
    """An `ImageSet` that reads its files when its pixels are first asked for: parts of it read only theirs.

    Attributes:
        root: Folder that `files` are relative to. The attributes not listed here are those of `ImageSet`.
        crop: Whether images of another size are resized and cropped (`decode.evaluation_view`); if not, they are an
            error.
        readers: Threads that decode; at least one does.

    Examples:
        >>> import numpy as np, tempfile, torch
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp()) / "dark"
        >>> folder.mkdir()
        >>> for level in range(3):
        ...     Image.new("L", (1, 1), level).save(folder / f"{level}.png")
        >>> images = DecodedImages(
        ...     name="levels",
        ...     split="test",
        ...     classes=("dark",),
        ...     root=folder,
        ...     files=("0.png", "1.png", "2.png"),
        ...     labels=torch.zeros(3, dtype=torch.int64),
        ...     positions=torch.arange(3),
        ...     image_shape=(1, 1, 1),
        ...     crop=False,
        ... )
        >>> images.subset(torch.tensor([2])).in_memory.pixels.item()
        2
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
    logits: tuple[int, ...] = ()
    location: Location = field(default_factory=Location)
    # The set this is a part of and its rows there, whose pixels serve if they are decoded already.
    _whole: tuple[DecodedImages, Tensor] | None = None
    _damaged: set[str] = field(default_factory=set)

    def __getstate__(self) -> dict[str, object]:
        """Leaves the pixels behind: other processes read the files themselves."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"_whole": None}

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Paths of the files that could not be decoded so far; they stay in `len` but are in no batch."""
        return tuple(str(self.root / file) for file in sorted(self._damaged))

    @cached_property
    def in_memory(self) -> MemoryImages:
        """The readable images of this set.

        Raises:
            DataError: No file is readable, or an image has another size or more channels than the set.
        """
        pixels, readable = self._decoded
        rows = readable.nonzero().flatten()
        if not len(rows) and len(self):
            raise DataError(f"None of the {len(self)} images that were asked for in {self.root} can be read.")
        whole = len(rows) == len(self)
        return MemoryImages(
            name=self.name,
            split=self.split,
            classes=self.classes,
            pixels=pixels if whole else pixels[rows],
            labels=self.labels[rows],
            positions=self.positions[rows],
            files=self.files if whole else tuple(self.files[row] for row in rows.tolist()),
            unreadable=self.unreadable,
            logits=self.logits,
            location=self.location,
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the pixels of the readable images and what `fingerprint_of` adds to them."""
        return self.in_memory.fingerprint

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, indices: Tensor) -> DecodedImages:
        """As `ImageSet.subset`."""
        rows = checked_rows(indices, len(self))
        return replace(
            self,
            files=tuple(self.files[row] for row in rows.tolist()),
            labels=self.labels[rows],
            positions=self.positions[rows],
            _whole=(self, rows),
        )

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        device: str | torch.device = "cpu",
        as_bytes: bool = False,
    ) -> Iterator[Batch]:
        """As `ImageSet.batches`; unreadable images are left out before batches are made."""
        rows = torch.arange(len(self)) if order is None else checked_rows(order, len(self))
        readable = self._decoded[1]
        order = (readable.cumsum(0) - 1)[rows[readable[rows]]]
        return self.in_memory.batches(batch_size, order=order, device=device, as_bytes=as_bytes)

    @cached_property
    def _decoded(self) -> tuple[Tensor, Tensor]:
        """Pixels (N, C, H, W), and which of them could be read (N,)."""
        known = self._known(torch.arange(len(self))) if self._whole else None
        if known is not None:
            return known
        pixels, readable = _Reader(self.root, self.files, self.image_shape, self.crop).read(max(self.readers, 1))
        self._damaged.update(self.files[row] for row in np.flatnonzero(~readable))
        return torch.from_numpy(pixels), torch.from_numpy(readable)

    def _known(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Returns pixels of some rows if this set, or one that it is a part of, is decoded."""
        if "_decoded" in self.__dict__:
            return self._decoded[0][rows], self._decoded[1][rows]
        return None if self._whole is None else self._whole[0]._known(self._whole[1][rows])


def differing(root: Path, *sizes: Sequence[int]) -> str:
    """Returns what to do about images of two sizes (height, width)."""
    both = " and ".join(f"{width}x{height}" for height, width in sizes)
    return (
        f"The images in {root} differ in size ({both} pixels): "
        "add --image-size, the size they should be resized to, for example 224."
    )


def _content(path: str) -> bytes:
    """Returns the content of a file, nothing if it cannot be read; `open` takes twice as long for a small one."""
    pieces = []
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            while piece := os.read(file, 2**16):
                pieces.append(piece)
        finally:
            os.close(file)
    except OSError:
        return b""
    return b"".join(pieces)


class _Reader:
    """Reads files into one array: from the cache, or else by decoding them."""

    def __init__(self, root: Path, files: tuple[str, ...], shape: tuple[int, int, int], crop: bool) -> None:
        self.root, self.files, self.crop = root, files, crop
        self.cache = PixelCache(shape, crop)
        self.pixels = np.zeros((len(files), *shape), np.uint8)
        self.digests = [b""] * len(files)

    def read(self, threads: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Returns (N, C, H, W) pixels, zeros for an unreadable file, and which files are readable."""
        readable = np.ones(len(self.files), bool)
        pool = ThreadPoolExecutor(threads)
        new: list[int] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks about metadata
                for decoded, damaged in pool.map(self._chunk, range(0, len(self.files), _CHUNK)):
                    new += decoded
                    readable[damaged] = False
        finally:
            pool.shutdown(cancel_futures=True)
        self.cache.keep(self.digests, self.pixels, new)
        return self.pixels, readable

    def _chunk(self, start: int) -> tuple[list[int], list[int]]:
        """Reads some files, and returns the rows that had to be decoded and those that could not be."""
        decoded, damaged = [], []
        contents = [_content(os.path.join(self.root, file)) for file in self.files[start : start + _CHUNK]]
        rows = slice(start, start + len(contents))
        self.digests[rows] = [hashlib.sha256(content).digest() for content in contents]
        found = self.cache.find(self.digests[rows], self.pixels[rows])
        for row, (content, known) in enumerate(zip(contents, found, strict=True), start):
            if known:
                continue
            try:
                self.pixels[row] = self._view(content, self.root / self.files[row])  # grey fills all three channels
                decoded.append(row)
            except UnreadableImageError:
                self.pixels[row] = 0
                damaged.append(row)
        return decoded, damaged

    def _view(self, content: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """Returns (C, H, W) or (1, H, W) pixels of the set's height and width."""
        channels, height, width = self.pixels.shape[1:]
        pixels = self._decode(content, path)
        if self.crop and pixels.shape[1:] != (height, width):
            stored = pixels.transpose(1, 2, 0)
            image = Image.fromarray(np.ascontiguousarray(stored[:, :, 0] if len(pixels) == 1 else stored))
            pixels = as_array(evaluation_view(image, height)).transpose(2, 0, 1)
        if pixels.shape[1:] != (height, width):
            raise DataError(differing(self.root, (height, width), pixels.shape[1:]))
        if len(pixels) > channels:
            raise DataError(f"{path} has colours, but the images in {self.root} were grey: start the command again.")
        return pixels

    def _decode(self, content: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """Returns (C, H, W) pixels, one channel for a grey image; the same as `decode` gives."""
        if content.startswith(b"\xff\xd8") and len(content) <= LARGEST_FILE and (decoder := jpeg_decoder()):
            with suppress(RuntimeError):
                return decoder(content)
        return as_array(decode(path, content)).transpose(2, 0, 1)
