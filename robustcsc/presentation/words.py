"""Words that belong to no subject: what stands for a missing number, file names, one line of text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

MISSING = "\N{EN DASH}"
"""What a missing number is written as."""


class About(NamedTuple):
    """One fact about the images of a table or chart, such as their number.

    Attributes:
        kind: What sort of fact it is.
        words: The fact.
        exact: The fact with the digest that tells it from others of the same words; ``""`` for what goes without saying
            where nothing differs.
    """

    kind: str
    words: str
    exact: str


class Title(str):
    """A title as text, which first says what is shown and then all about the images, and its two parts.

    Attributes:
        words: What is shown.
        about: The facts about the images.

    Examples:
        >>> title = Title("Attacks", (About("data", "cifar10 test", "cifar10 test"), About("seed", "seed 0", "seed 0")))
        >>> title, title.words
        ('Attacks: cifar10 test, seed 0', 'Attacks')
    """

    words: str
    about: tuple[About, ...]

    def __new__(cls, words: str, about: tuple[About, ...]) -> Title:
        """Returns the title of the two parts."""
        title = super().__new__(cls, f"{words}: {', '.join(it.exact for it in about if it.exact)}")
        title.words, title.about = words, about
        return title


def told_apart(about: Iterable[About], others: Iterable[About]) -> str:
    """Returns those facts in words that `others` have other facts of the same kind beside; with digests if need be.

    Examples:
        >>> few = About("images", "500 images", "500 images (3f)")
        >>> told_apart([few], [About("images", "1,000 images", "1000 images (9a)")]), told_apart([few], [few])
        ('500 images', '')
        >>> told_apart([few], [few, few._replace(exact="500 images (77)")])
        '500 images (3f)'
    """
    known = set(others)
    alike = {it: {other for other in known if other.kind == it.kind} - {it} for it in about}
    return ", ".join(
        it.exact if any(other.words == it.words for other in of) else it.words for it, of in alike.items() if of
    )


def slug(*parts: str, key: tuple[str, ...] = ()) -> str:
    """Returns a short file name: the readable `parts`, and six hex digits over them and `key` that tell names apart."""
    readable = re.sub(r"[^a-z0-9_]+", "-", "-".join(filter(None, parts)).lower()).strip("-")[:80]
    return f"{readable}-{hashlib.sha256(repr((parts, key)).encode()).hexdigest()[:6]}"


def one_line(text: str) -> str:
    """Returns text with every run of spaces and line breaks as one space."""
    return " ".join(text.split())


def enumerated(words: Iterable[str], *, last: str = "and") -> str:
    """Returns words as a sentence lists them.

    Examples:
        >>> enumerated(["a"]), enumerated(["a", "b"], last="or"), enumerated("abc")
        ('a', 'a or b', 'a, b and c')
    """
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end


def duration_words(seconds: float) -> str:
    """Returns a time in words, rounded so that two digits tell it.

    Examples:
        >>> duration_words(0.2), duration_words(89), duration_words(600), duration_words(7200), duration_words(3e5)
        ('1 s', '89 s', '10 min', '2.0 h', '3.5 days')
    """
    for unit, size, most, digits in (("s", 1, 90, 0), ("min", 60, 5400, 0), ("h", 3600, 172800, 1)):
        if seconds < most:
            return f"{max(seconds, 1) / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"
