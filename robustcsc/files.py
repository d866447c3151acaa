"""Writing files that are whole or not there."""

import glob
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robustcsc.errors import StoreError

#: Ending of the names of files and folders that are not whole yet.
PARTIAL = ".partial"


def check_writable(path: Path, name: str, *, folder: bool) -> None:
    """Refuses a place that cannot be written to, before any work is done; makes nothing.

    What a killed process did not finish of the file goes.

    Args:
        path: A file in an existing folder; or a folder, which may be missing with those above it.
        name: What the user calls it, such as an option.
        folder: Which of the two.

    Raises:
        StoreError: It is of the other kind, lies below a file or in a missing folder, or nothing can be made there.
    """
    place = path if folder else path.parent
    while folder and not os.path.exists(place) and place != place.parent:
        place = place.parent
    try:
        if not folder and path.is_dir():
            reason = "it is a folder"
        elif not os.path.exists(place):
            reason = f"there is no folder {place}"
        elif not place.is_dir():
            reason = f"{place} is a file"
        else:
            with tempfile.TemporaryFile(dir=place):
                _clear_parts(path)
                return
    except OSError as error:
        reason = error.strerror or str(error)
    raise StoreError(f"{name} {path} cannot be written to ({reason}): choose another {'folder' if folder else 'file'}.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the block a path beside `path` to write to, which takes its name in one step when the block ends.

    Whatever happens, `path` has its old content or all of the new one. No other file stays, unless the process is
    killed: then `clear_partial` finds it. Of processes that write at the same time the last one wins.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _clear_parts(path: Path) -> None:
    """Deletes what dead processes did not finish of a file."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*-*{PARTIAL}"):
        number = part.name.removeprefix(f"{path.name}.").partition("-")[0]
        if number.isdecimal() and not _is_alive(int(number)):
            part.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def clear_partial(folder: Path) -> None:
    """Deletes what killed processes did not finish in a folder and those below; no other may be writing there."""
    for path in [*folder.rglob(f"*{PARTIAL}")]:
        if path.is_file():
            path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def no_formula(text: str) -> str:
    """Returns a text as a cell of a CSV file that no spreadsheet takes for a formula; numbers stay what they are.

    Source: OWASP, "CSV Injection": an apostrophe before ``=``, ``+``, ``-``, ``@``, a tab and a line break.

    Examples:
        >>> no_formula("=1+1"), no_formula("-0.5"), no_formula("sdnet")
        ("'=1+1", '-0.5', 'sdnet')
    """
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")
