"""Tables in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from robustcsc.presentation.table import Table
from robustcsc.presentation.words import one_line

_ESCAPED = {
    **{character: f"\\{character}" for character in "\\`*_|~#"},
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "](": "]\\(",
}
_SPECIAL = re.compile("|".join(map(re.escape, _ESCAPED)))


def markdown_table(table: Table) -> str:
    """Returns the table in GitHub's Markdown, titled with a third-level heading."""
    lines = [f"### {markdown_text(table.title)}", ""]
    lines.append(_row(markdown_text(column.heading) for column in table.columns))
    lines.append(f"| {' | '.join('---:' if right else '---' for right in table.numeric)} |")
    lines += map(_row, table.rendered(lambda it: [*map(markdown_text, it.texts)]))
    for note in table.notes:
        lines += ["", markdown_text(note)]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Returns text on one line that Markdown shows as it is."""
    line = one_line(text)
    if not _SPECIAL.search(line):
        return line
    # an underscore or hash inside a word means nothing to Markdown and stays readable
    escaped = _SPECIAL.sub(lambda found: _ESCAPED[found.group()], line)
    return re.sub(r"(?<=\w)\\([_#])(?=\w)", r"\1", escaped)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
