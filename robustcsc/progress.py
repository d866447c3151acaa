"""How long work reports its progress: a plain callable, so that the library itself never prints."""

from collections.abc import Callable

#: Called as ``progress(description, done, total)`` whenever a piece of work is finished.
Progress = Callable[[str, int, int], None]


def silent(description: str, done: int, total: int) -> None:
    """Ignores all progress."""


#: Told a sentence that is not a result.
Note = Callable[[str], None]


def quiet(sentence: str) -> None:
    """Ignores all notes."""
