"""How long work reports its progress: a plain callable, so that the library itself never prints."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise

#: Called as ``progress(description, done, total)`` whenever a piece of work is finished: what is being done, and how
#: much of the whole is done, in any unit.
Progress = Callable[[str, float, float], None]


def silent(description: str, done: float, total: float) -> None:
    """Ignores all progress."""


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
    ends = [*accumulate(sizes, initial=0)]
    return [partial(_told, progress, start, end, ends[-1]) for start, end in pairwise(ends)]


def _told(
    progress: Progress, start: float, end: float, whole: float, description: str, done: float, total: float
) -> None:
    progress(description, start + (end - start) * done / total, whole)


#: Told a sentence that is not a result.
Note = Callable[[str], None]


def quiet(sentence: str) -> None:
    """Ignores all notes."""
