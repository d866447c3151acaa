"""Writing files that are whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the block a path beside `path` to write to, which takes its name in one step when the block ends.

    Whatever happens, `path` has its old content or all of the new one, and no other file stays.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)
