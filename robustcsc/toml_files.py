"""TOML files that people write, and the lines of what they say: experiments and severity tables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcsc.errors import RobustCSCError

#: Where a value is: keys, and numbers of tables in a list. A table that stands alone is number 0.
Place = tuple[str | int, ...]
#: The beginning of a table, or of a value.
_BEGUN = re.compile(r"""\s*(?:\[\[?\s*(?P<table>[^\]]+?)\s*\]|(?P<key>[\w."'-][\w."' -]*?)\s*=)""")
_FORM = 'write KEY = VALUE, with text in quotes and lists in [ ], as in KEY = ["a", "b"].'
#: What to do, by the beginning of what the parser says; `_FORM` where it says something else.
_REMEDIES = {
    "Invalid value": 'a value stands behind =, and text in quotes, as in KEY = "text".',
    "Expected '='": 'a key has a value behind =, as in KEY = "text".',
    "Expected ']": "the name of a table stands in [ ], or [[ ]] if there are several of its kind.",
    "Unclosed array": "a list ends with ], and has commas between its values.",
    "Unclosed inline table": "a table in one line ends with }, and has commas between its keys.",
    "Unterminated string": "text ends with the quote that it began with.",
    "Illegal character": "text ends with the quote that it began with, on the same line.",
    "Unescaped": "write paths with /, or in single quotes.",
    "Expected newline": "one line has one value, and text stands in quotes.",
}


@dataclass(frozen=True)
class TomlFile:
    """A file as it was read.

    Attributes:
        path: The file.
        text: What is in it.
        refused: What is raised if it is wrong.
        several: Names of the tables that may stand in a list, as ``[[sweep]]``.
    """

    path: Path
    text: str
    refused: type[RobustCSCError]
    several: Collection[str] = ()

    @classmethod
    def of(cls, path: Path, content: bytes, refused: type[RobustCSCError], several: Collection[str] = ()) -> TomlFile:
        """Returns the file at `path` that holds `content`.

        Raises:
            RobustCSCError: It is no text; as `refused`.
        """
        try:
            return cls(path, content.decode(), refused, several)
        except UnicodeDecodeError as error:
            raise refused(f"{path} is not text in UTF-8: save it as such.") from error

    def beside(self, path: str) -> Path:
        """Returns a path that the file names, which is relative to its folder."""
        return self.path.parent / Path(path).expanduser()

    def tables(self) -> dict[str, Any]:
        """Returns the TOML tables of the file.

        Raises:
            RobustCSCError: It is not valid TOML; as `refused`.

        Examples:
            >>> TomlFile(Path("mine.toml"), 'title = "mine"', RobustCSCError).tables()
            {'title': 'mine'}
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise self.refused(f"{self.path}{_toml_words(self.text, str(error), self.several)}") from error
        except RecursionError as error:
            advice = "write lists and tables without so many others"
            raise self.refused(f"{self.path} is nested too deeply: {advice}.") from error

    def line(self, place: Place) -> int:
        """Returns the line, from 1, at which a value, or the last part of its place that exists, is written.

        The beginning of a file up to some line is TOML, too, unless a value goes on behind it. So a value was begun on
        the line behind the last beginning that is TOML and lacks it.
        """
        lines = self.text.splitlines(keepends=True)
        begun, known, last = 1, 1, 0
        for number in range(1, len(lines) + 1):
            try:
                tables = tomllib.loads("".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue
            depth = _depth(tables, place)
            if depth > last:
                known, last = begun, depth
            begun = number + 1
        return known

    def error(self, place: Place, sentence: str) -> RobustCSCError:
        """Returns the error of a value, in one sentence with file, line and field."""
        return self.refused(f"{self.path}, line {self.line(place)}, {_words(place)}: {sentence}")

    @contextmanager
    def blamed(self, place: Place) -> Iterator[None]:
        """Makes errors of the block errors of a value of the file.

        Raises:
            RobustCSCError: The block raised an error that a user can put right; as `refused`.
        """
        try:
            yield
        except self.refused:
            raise
        except RobustCSCError as error:
            raise self.error(place, str(error)) from error


def _toml_words(text: str, error: str, several: Collection[str]) -> str:
    """Returns what a user is told about a file that is not valid TOML, behind its path."""
    at = re.search(r"\(at line (\d+), ", error)  # the parser has the place in its words only
    if at and error.startswith(("Cannot overwrite", "Cannot declare", "Duplicate")):
        lines = [*enumerate(text.splitlines()[: int(at[1])], 1)][::-1]
        number, begun = next((it, found) for it, line in lines if (found := _BEGUN.match(line)))
        place, name = f", line {number}", begun["key"] or begun["table"]
        if begun["key"]:
            inline = re.match(r"Duplicate inline table key '(.+)' \(", error)
            return f"{place}: the key {(inline[1] if inline else name)!r} stands there twice: keep one."
        remedy = f"write [[{name}]] above each." if name in several else "keep one."
        return f"{place}: the table [{name}] stands there twice: {remedy}"
    number = int(at[1]) if at else max(1, len(text.splitlines()))
    written = " ".join([*text.splitlines(), ""][number - 1].split())
    remedy = next((it for begun, it in _REMEDIES.items() if error.startswith(begun)), _FORM)
    return f", line {number}: {written!r} is not valid TOML: {remedy}"


def _depth(value: Any, place: Place) -> int:
    """Returns how many parts of a place exist in a value."""
    for depth, part in enumerate(place):
        if part == 0 and isinstance(value, dict):  # a table that stands alone
            continue
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(place)


def _words(place: Place) -> str:
    """Returns a place as people name it, such as ``lambda of [sweep]``."""
    table, *rest = (part for part in place if isinstance(part, str))
    if len(place) == 1:
        return table
    number = place[1] if isinstance(place[1], int) else 0
    table = f"[{table}]" + f" number {number + 1}" * (number > 0)
    return f"{'.'.join(rest)} of {table}" if rest else table
