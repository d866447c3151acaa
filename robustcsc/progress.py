"""How long work reports its progress: a plain callable, so that the library itself never prints."""

from collections.abc import Callable, Sequence

#: Called as ``progress(description, done, total)`` whenever a piece of work is finished: what is being done, and how
#: much of the whole is done, in any unit.
Progress = Callable[[str, float, float], None]


def silent(description: str, done: float, total: float) -> None:
    """Ignores all progress."""


class Whole:
    """Work in pieces, one after the other, each of which tells its progress as that of the whole.

    Args:
        progress: Told of the whole.
        size: How much work that is, in any unit.
    """

    def __init__(self, progress: Progress, size: float) -> None:
        self._progress, self._size, self._begun = progress, size, 0.0

    def part(self, size: float) -> Progress:
        """Returns what the next piece of work reports to."""
        begun, self._begun = self._begun, self._begun + size

        def tell(description: str, done: float, total: float) -> None:
            self._progress(description, begun + size * done / total, self._size)

        return tell

    def drop(self, size: float) -> None:
        """Leaves out a piece of work that turns out to be done already, or not to be needed.

        Taken for work that was done in no time, it would make what is left look short.
        """
        self._size -= size


def parts(progress: Progress, sizes: Sequence[float]) -> list[Progress]:
    """Returns what pieces of work report to, one after the other, so that `progress` is told of the whole.

    Args:
        progress: Told of the whole.
        sizes: How much work each piece is, in one unit.

    Examples:
        >>> first, second = parts(print, [1, 3])
        >>> first("clean", 50, 100)
        clean 0.5 4
        >>> second("fog", 100, 100)
        fog 4.0 4
    """
    whole = Whole(progress, sum(sizes))
    return [whole.part(size) for size in sizes]


#: Told a sentence that is not a result.
Note = Callable[[str], None]


def quiet(sentence: str) -> None:
    """Ignores all notes."""
