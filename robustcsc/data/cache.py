"""Decoded pixels that are kept between commands, found by the content of the file that they were decoded from.

A folder of the cache holds the images of one shape, decoded by one version of the decoders. Each file in it is written
once and then only read: n SHA-256 digests of image files, sorted; n checksums of digest and pixels; and the n images.
Nothing in it is trusted: what is missing, cut short or changed fails its checksum and is decoded again. So no lock is
needed, and any file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from robustcsc.roots import cache_folder

#: Bytes that all files may take together; those that were used last stay. No image set in memory is half as large.
MOST_BYTES = 4 * 2**30

#: Bytes of pixels below which a file is not worth it: some 300 images of CIFAR-10 are decoded in 0.02 s.
FEWEST_BYTES = 2**20

#: Bytes that stay free on the disk.
SPARE_BYTES = 2**30

#: Rises when another release decodes or crops the same file to other pixels.
_VERSION = 1
_DIGEST, _CHECKSUM = 32, 4

Pixels = npt.NDArray[np.uint8]


class _Kept:
    """A file of the cache."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Raises OSError or ValueError if it is gone or cut short."""
        self.path, self.used = path, False
        row = _DIGEST + _CHECKSUM + int(np.prod(shape))
        count, rest = divmod(path.stat().st_size, row)
        if rest or not count:
            raise ValueError(f"{path} was cut short.")
        whole: Pixels = np.memmap(path, np.uint8, "r")[: count * row].view(np.ndarray)
        digests, checksums, pixels = np.split(whole, np.cumsum([_DIGEST * count, _CHECKSUM * count]))
        self.digests = digests.reshape(count, _DIGEST)
        self.starts = _starts(self.digests)
        self.checksums = checksums.view("<u4")
        self.pixels = pixels.reshape(count, *shape)

    def rows_of(self, digests: Pixels) -> npt.NDArray[np.int64]:
        """Returns the row of each of n digests (n, 32), -1 for one that is not here."""
        rows = np.minimum(np.searchsorted(self.starts, _starts(digests)), len(self.starts) - 1)
        return np.where((self.digests[rows] == digests).all(1), rows, -1)


def _starts(digests: Pixels) -> npt.NDArray[np.uint64]:
    """Returns the first 8 bytes of digests as numbers of the same order."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)


class PixelCache:
    """The images of one shape that are kept, and what is added to them.

    Attributes:
        folder: Where they lie; ``None`` if nothing is kept.
    """

    def __init__(self, shape: tuple[int, int, int], crop: bool) -> None:
        """Opens the images of a shape.

        Args:
            shape: Channels, height and width.
            crop: Whether images of another size are resized and cropped.
        """
        root = cache_folder()
        versions = [features.version(name) for name in ("jpg", "webp", "libtiff")]
        kind = hashlib.sha256(json.dumps([_VERSION, PIL.__version__, versions, shape, crop]).encode()).hexdigest()
        self.folder = root / "pixels" / kind[:16] if root else None
        self._files: list[_Kept] = []
        for path in sorted(self.folder.glob("*.pixels")) if self.folder else ():
            with suppress(OSError, ValueError):
                self._files.append(_Kept(path, shape))

    def find(self, digests: Sequence[bytes], pixels: Pixels) -> list[bool]:
        """Copies the images that are kept and whole, and tells which were.

        Args:
            digests: SHA-256 of the content of n image files.
            pixels: (n, C, H, W), contiguous, to be filled; anything may stand where the answer is no.
        """
        found, asked = np.zeros(len(digests), bool), np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST)
        for file in self._files:
            places = file.rows_of(asked)
            rows = np.flatnonzero((places >= 0) & ~found)
            pixels[rows] = file.pixels[places[rows]]
            checksums = file.checksums[places[rows]].tolist()
            whole = [
                _checksum(digests[row], pixels[row]) == it for row, it in zip(rows.tolist(), checksums, strict=True)
            ]
            found[rows[whole]] = True
            file.used |= any(whole)
        return found.tolist()

    def keep(self, digests: Sequence[bytes], pixels: Pixels, rows: Sequence[int]) -> None:
        """Adds images, unless they are few or the disk is full, and forgets those that were used least recently.

        Args:
            digests: SHA-256 of the content of each image file.
            pixels: (N, C, H, W).
            rows: Which of them to add.
        """
        if self.folder is None:
            return
        with suppress(OSError):
            for file in self._files:
                if file.used:
                    os.utime(file.path)
        new = dict(sorted((digests[row], row) for row in rows))
        size = len(new) * pixels[:1].nbytes
        if not FEWEST_BYTES <= size <= MOST_BYTES:
            return
        # Processes that decode the same images at once end up with one file.
        path = self.folder / f"{hashlib.sha256(b''.join(new)).hexdigest()[:32]}.pixels"
        partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < size + SPARE_BYTES:
                return
            _write(partial, new, pixels)
            partial.replace(path)
            forget(self.folder.parent.glob("*/*"), MOST_BYTES)
        except OSError:
            return
        finally:
            with suppress(OSError):
                partial.unlink()


def _write(path: Path, new: dict[bytes, int], pixels: Pixels) -> None:
    with path.open("wb") as file:
        file.write(b"".join(new))
        file.write(np.array([_checksum(digest, pixels[row]) for digest, row in new.items()], "<u4").tobytes())
        for row in new.values():
            file.write(pixels[row].data)


def _checksum(digest: bytes, pixels: Pixels) -> int:
    """Returns the CRC-32 of both: the pixels are whole, and those of this file."""
    return zlib.crc32(pixels.data, zlib.crc32(digest))


def forget(files: Iterable[Path], most: int) -> None:
    """Deletes the files that were used least recently, also unfinished ones, until the others take `most` bytes."""
    facts = sorted(((path.stat(), path) for path in files), key=lambda fact: fact[0].st_mtime_ns)
    total = sum(fact.st_size for fact, _ in facts)
    for fact, path in facts:
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= fact.st_size
