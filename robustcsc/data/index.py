"""What is known of a large image folder from the last time: its files, and the SHA-256 of each.

A folder is listed again if it, or one below it, has another time of change than it had; a file is hashed again if its
size, its number in the file system, its time of modification or of change is another one; a shard is read again as a
whole. The time of change is set by the system alone, so that neither editing a file in place nor giving it back its old
time goes unnoticed. What changed within two seconds before it was looked at is not remembered, as it may change again
within one tick of the clock.

The index lies in the cache, one file for each image folder. It is written in one step, begins with its SHA-256, and may
be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

from robustcsc.data.cache import forget
from robustcsc.data.shards import Sample, read_shard
from robustcsc.data.tree import image_folders
from robustcsc.files import write_whole
from robustcsc.roots import cache_folder

#: Images below which a folder is listed and hashed each time: that takes less than a second.
FEWEST_FILES = 10_000
#: Bytes that all indices may take together; those that were used last stay. That of ImageNet has some 130 MB.
MOST_BYTES = 2**30
#: Nanoseconds for which a change is too recent to be remembered.
_RECENT = 2 * 10**9
#: Rises with the form of the file.
_VERSION = 1
_DIGEST = 32
#: Size, time of modification, time of change, number in the file system.
_STAMP = struct.Struct("<4q")


class _Class(msgspec.Struct):
    """The files of a class folder, or the images of a shard, and the stamps of all places that they were found in."""

    folders: dict[str, bytes]
    files: list[str]
    samples: list[Sample] = []


class _Kept(msgspec.Struct):
    """The content of the file: stamps and digests are those of the files of all classes, one after the other."""

    version: int
    classes: dict[str, _Class]
    stamps: bytes
    digests: bytes


def stamp(path: str | Path, looked: int | None = None) -> bytes:
    """Returns what changes with a file or folder; nothing if it is missing, or has changed just now.

    Args:
        path: The file or folder.
        looked: When it was begun to look at what is in it, in nanoseconds since 1970; now if ``None``.
    """
    try:
        it = os.stat(path)
    except OSError:
        return b""
    if max(it.st_mtime_ns, it.st_ctime_ns) > (time.time_ns() if looked is None else looked) - _RECENT:
        return b""
    return _STAMP.pack(it.st_size, it.st_mtime_ns, it.st_ctime_ns, it.st_ino % 2**63)


class FolderIndex:
    """What is known of the class folders, or the shards, in one folder.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "cat").mkdir()
        >>> _ = (folder / "cat" / "0.png").write_bytes(b"")
        >>> FolderIndex(folder).files("cat")
        ['cat/0.png']
    """

    def __init__(self, folder: Path, part: str = "") -> None:
        """Opens the index of a folder; nothing is known if it is missing or damaged, or if there is no cache.

        Args:
            folder: The folder.
            part: What is listed of it, if not all.
        """
        self.folder, root = folder, cache_folder()
        name = hashlib.sha256(os.fsencode(f"{os.path.abspath(folder)}\0{part}")).hexdigest()[:32]
        self.path = root / "index" / f"{name}.index" if root else None
        self._kept = _read(self.path) or _Kept(_VERSION, {}, b"", b"")
        kept_files = chain.from_iterable(it.files for it in self._kept.classes.values())
        self._rows = {file: row for row, file in enumerate(kept_files)}
        self._listed: dict[str, _Class] = {}
        self._new: dict[str, tuple[bytes, bytes]] = {}

    def files(self, name: str) -> list[str]:
        """Returns ``"<name>/<image>"`` for the images below a class folder, sorted."""
        known = self._kept.classes.get(name)
        if known is None or self._changed(known):
            folders, files, began = {}, [], time.time_ns()
            for place, inside in image_folders(self.folder, name):
                folders[place] = stamp(self.folder / place, began)  # files may come while others are listed
                files += inside
            known = _Class(folders, sorted(files))
        self._listed[name] = known
        return known.files

    def samples(self, name: str) -> list[Sample]:
        """Returns the samples of a shard, as `read_shard` does."""
        known = self._kept.classes.get(name)
        if known is None or self._changed(known):
            before = stamp(self.folder / name)
            samples = read_shard(str(self.folder / name))
            known = _Class({name: before}, [f"{name}/{it.file}" for it in samples], samples)
        self._listed[name] = known
        return known.samples

    def _changed(self, known: _Class) -> bool:
        return not all(was and stamp(self.folder / place) == was for place, was in known.folders.items())

    def digest(self, file: str, now: bytes) -> bytes | None:
        """Returns the SHA-256 of a file that has the stamp `now`, ``None`` if it is not known."""
        if file in self._new:
            was, digest = self._new[file]
        else:
            was, digest = self._row(file)
        return digest if now and was == now else None

    def _row(self, file: str) -> tuple[bytes, bytes]:
        """Returns stamp and digest as they were kept; nothing and anything if they were not."""
        row = self._rows.get(file)
        if row is None:
            return b"", b""
        was = self._kept.stamps[row * _STAMP.size : (row + 1) * _STAMP.size]
        return was if any(was) else b"", self._kept.digests[row * _DIGEST : (row + 1) * _DIGEST]

    def learn(self, file: str, before: bytes, digest: bytes) -> None:
        """Remembers the SHA-256 of a file, and the stamp that it had before it was read."""
        self._new[file] = before, digest

    def keep(self) -> None:
        """Writes what is known, unless the folder is small, nothing is new, or the disk is full."""
        files = [*chain.from_iterable(it.files for it in self._listed.values())]
        if self.path is None or len(files) < FEWEST_FILES:
            return
        if not self._new and self._listed == self._kept.classes:
            with suppress(OSError):
                os.utime(self.path)
            return
        known = [self._new.get(file) or self._row(file) for file in files]
        stamps = b"".join(was or bytes(_STAMP.size) for was, _ in known)
        digests = b"".join(digest or bytes(_DIGEST) for _, digest in known)
        with suppress(OSError, UnicodeEncodeError):  # a full disk, or a name that is no text
            content = msgspec.msgpack.encode(_Kept(_VERSION, self._listed, stamps, digests))
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.path, hashlib.sha256(content).digest() + content)
            forget(self.path.parent.glob("*"), MOST_BYTES)


def _read(path: Path | None) -> _Kept | None:
    """Returns what is kept, ``None`` if there is nothing, or nothing that is whole."""
    if path is None:
        return None
    with suppress(OSError, msgspec.MsgspecError):
        whole = path.read_bytes()
        content = memoryview(whole)[_DIGEST:]
        if hashlib.sha256(content).digest() == whole[:_DIGEST]:
            kept = msgspec.msgpack.decode(content, type=_Kept)
            return kept if kept.version == _VERSION else None
    return None
