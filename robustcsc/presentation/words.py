"""Words that belong to no subject: what stands for a missing number, file names, one line of text."""

from __future__ import annotations

import hashlib
import re

MISSING = "\N{EN DASH}"
"""What a missing number is written as."""


def slug(*parts: str, key: tuple[str, ...] = ()) -> str:
    """Returns a short file name: the readable `parts`, and six hex digits over them and `key` that tell names apart."""
    readable = re.sub(r"[^a-z0-9_]+", "-", "-".join(filter(None, parts)).lower()).strip("-")[:80]
    return f"{readable}-{hashlib.sha256(repr((parts, key)).encode()).hexdigest()[:6]}"


def one_line(text: str) -> str:
    """Returns text with every run of spaces and line breaks as one space."""
    return " ".join(text.split())
