"""A table of formatted cells, and the forms it is written in."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import rich.box
import rich.table
import rich.text

from robustcsc.report.words import MISSING

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?( \[[-+.\d]+, [-+.\d]+\])?( n=\d+)?")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "[": "{[}",  # a row that starts with a bracket would be read as an argument of the line break before it
        "]": "{]}",
        "*": "{*}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "∞": r"$\infty$",
        "λ": r"$\lambda$",
        MISSING: "--",
        **{character: f"\\{character}" for character in "&%$#_"},
    }
)
_MARKDOWN = {
    **{character: f"\\{character}" for character in "\\`*_|~#"},
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "](": "]\\(",
}
_SPECIAL = re.compile("|".join(map(re.escape, _MARKDOWN)))


@dataclass(frozen=True)
class Table:
    """A title, columns, rows of formatted cells, and notes.

    Attributes:
        name: File name without an ending; differs between the tables of one report.
        title: What is measured on what.
        columns: Headings.
        rows: Cells as text, one tuple as long as `columns` per row.
        notes: Sentences printed below.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"Every row of table {self.name!r} needs {len(self.columns)} cells.")

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Per column: whether it holds numbers (or nothing) only, and is set flush right."""
        columns = [[row[at] for row in self.rows] for at in range(len(self.columns))]
        return tuple(
            any(cell != MISSING for cell in cells) and all(_is_number(cell) for cell in cells) for cells in columns
        )

    def to_markdown(self) -> str:
        """Returns the table in GitHub's Markdown, titled with a third-level heading."""
        lines = [f"### {markdown_text(self.title)}", ""]
        lines.append(_markdown_row(self.columns))
        lines.append(f"| {' | '.join('---:' if right else '---' for right in self.numeric)} |")
        lines += [_markdown_row(row) for row in self.rows]
        for note in self.notes:
            lines += ["", markdown_text(note)]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """Returns a LaTeX table environment that needs the package booktabs."""
        alignment = "".join("r" if right else "l" for right in self.numeric)
        lines = [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "  \\centering\\small",
            f"  \\caption{{{_latex(self.title)}}}",
            f"  \\begin{{tabular}}{{{alignment}}}",
            "    \\toprule",
            f"    {_latex_row(self.columns)}",
            "    \\midrule",
            *(f"    {_latex_row(row)}" for row in self.rows),
            "    \\bottomrule",
            "  \\end{tabular}",
            *(f"  \\par\\footnotesize {_latex(note)}" for note in self.notes),
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Returns headings and rows as comma-separated values; title and notes are left out."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def to_rich(self) -> rich.table.Table:
        """Returns the table for a terminal; names in square brackets are not taken for colours."""
        shown = rich.table.Table(title=rich.text.Text(self.title), title_justify="left", box=rich.box.SIMPLE_HEAD)
        for heading, right in zip(self.columns, self.numeric, strict=True):
            shown.add_column(rich.text.Text(heading), justify="right" if right else "left")
        for row in self.rows:
            shown.add_row(*(rich.text.Text(cell) for cell in row))
        if self.notes:
            shown.caption = rich.text.Text("\n".join(self.notes))
            shown.caption_justify = "left"
        return shown


@lru_cache(maxsize=2**16)  # the cells of a report repeat: so many images, so many accuracies
def _is_number(cell: str) -> bool:
    return cell == "" or cell.startswith(MISSING) or _NUMBER.fullmatch(cell) is not None


def _one_line(text: str) -> str:
    return " ".join(text.split())


@lru_cache(maxsize=2**16)
def markdown_text(text: str) -> str:
    """Returns text on one line that Markdown shows as it is."""
    line = _one_line(text)
    if not _SPECIAL.search(line):
        return line
    # an underscore or hash inside a word means nothing to Markdown and stays readable
    escaped = _SPECIAL.sub(lambda found: _MARKDOWN[found.group()], line)
    return re.sub(r"(?<=\w)\\([_#])(?=\w)", r"\1", escaped)


def _markdown_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


@lru_cache(maxsize=2**16)
def _latex(text: str) -> str:
    # two hyphens in a row would become a dash
    return "-{}-".join(part.translate(_LATEX) for part in _one_line(text).split("--"))


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"
