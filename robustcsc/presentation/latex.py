"""Tables in LaTeX, with booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from robustcsc.presentation.table import Table
from robustcsc.presentation.words import MISSING, one_line

_ESCAPED = str.maketrans(
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
        "±": r"$\pm$",
        MISSING: "--",
        **{character: f"\\{character}" for character in "&%$#_"},
    }
)


def latex_table(table: Table) -> str:
    """Returns a LaTeX table environment that needs the package booktabs."""
    alignment = "".join("r" if right else "l" for right in table.numeric)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering\\small",
        f"  \\caption{{{latex_text(table.title)}}}",
        f"  \\begin{{tabular}}{{{alignment}}}",
        "    \\toprule",
        f"    {_row(latex_text(column.heading) for column in table.columns)}",
        "    \\midrule",
        *(f"    {_row(row)}" for row in table.rendered(lambda it: [*map(latex_text, it.texts)])),
        "    \\bottomrule",
        "  \\end{tabular}",
        *(f"  \\par\\footnotesize {latex_text(note)}" for note in table.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Returns text on one line that LaTeX sets as it is."""
    # two hyphens in a row would become a dash
    return "-{}-".join(part.translate(_ESCAPED) for part in one_line(text).split("--"))


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
