"""Locks: what one process at a time may do, and which processes use a folder.

A lock is a hidden file that goes with it. The operating system frees the locks of a process that dies, so that what it
left holds nobody up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustcsc.errors import StoreError

#: Seconds to wait for what takes others moments.
PATIENCE = 60.0
#: How often a folder is made again that others delete.
ATTEMPTS = 20


@contextmanager
def alone(path: Path, doing: str, instead: str, *, patience: float = 0.0) -> Iterator[None]:
    """Keeps other processes, and threads, from doing the same to `path` while the block runs.

    Args:
        path: A file or folder to be written, which may be missing; the folder it lies in is made.
        doing: What is done, as the others are told: ``"Run 'x' is being trained"``.
        instead: What the others can do but wait: ``"choose another --run"``.
        patience: Seconds to wait for another process.

    Raises:
        StoreError: Another process is at it, or the folder allows no lock.
    """
    place = path.with_name(f".{path.name}.lock")
    with _locked(place, patience) as free:
        if not free:
            raise StoreError(f"{doing} by {_holder(place)}: wait until that has finished, or {instead}.")
        yield


@contextmanager
def using(folder: Path) -> Iterator[Callable[[], bool]]:
    """Shows other processes that this one uses a folder while the block runs.

    Yields:
        What tells whether another one does, too; to be asked where no other one can begin to.

    Raises:
        StoreError: The folder allows no lock.
    """
    own = folder / f".{os.getpid()}-{secrets.token_hex(4)}.user"

    def others() -> bool:
        return any(_is_held(path) for path in folder.glob(".*.user") if path != own)

    with _locked(own, 0.0):
        yield others


def clear_locks(folder: Path) -> None:
    """Deletes the locks of dead processes in a folder and those below."""
    for path in [*folder.rglob(".*.lock")]:
        _is_held(path)


def _is_held(place: Path) -> bool:
    """Returns whether a process holds a lock; that of a dead one goes."""
    with _locked(place, 0.0) as free:
        return not free


@contextmanager
def _locked(place: Path, patience: float) -> Iterator[bool]:
    """Yields whether a lock could be had."""
    from filelock import FileLock, Timeout  # only what writes needs it

    lock = FileLock(place, timeout=patience)
    for attempt in reversed(range(ATTEMPTS)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            if isinstance(error, FileNotFoundError) and attempt:  # another process has just deleted the empty folder
                continue
            reason = error.strerror or str(error)
            raise StoreError(f"{place} cannot be locked ({reason}): choose a folder that you can write to.") from error
        break
    try:
        place.write_text(f"{os.getpid()}\n")
        yield True
    finally:
        place.unlink(missing_ok=True)  # who waits for it takes notice of that
        lock.release()


def _holder(place: Path) -> str:
    """Returns the process that holds a lock, in words."""
    try:
        number = place.read_text().split()[0]
    except (OSError, IndexError):  # it has just come, or just gone
        return "another process"
    return f"process {number}"
