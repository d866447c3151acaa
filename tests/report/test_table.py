import csv
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from robustcsc.report import Table

NASTY = r"<b>50%_a & b$|[red]*{x}\~^#`"
TABLE = Table(
    name="t",
    title=f"Title {NASTY}",
    columns=("run", "acc"),
    rows=((NASTY, "81.78 [81.01, 82.52]"), ("[plain", "–")),  # noqa: RUF001
    notes=("λ at L∞",),
)


def test_rows_of_another_length_than_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 cells"):
        Table("t", "t", ("a", "b"), (("1",),))


def test_csv_gives_back_the_cells() -> None:
    assert list(csv.reader(io.StringIO(TABLE.to_csv()))) == [list(TABLE.columns), *map(list, TABLE.rows)]


def test_latex_escapes_every_special_character() -> None:
    latex = TABLE.to_latex()
    escaped = (
        r"\textless{}b\textgreater{}50\%\_a \& b\$\textbar{}{[}red{]}{*}\{x\}"
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\#`"
    )
    assert f"    {escaped} & 81.78 {{[}}81.01, 82.52{{]}} \\\\" in latex
    assert f"\\caption{{Title {escaped}}}" in latex
    assert r"    {[}plain & -- \\" in latex  # a bare bracket would be an argument of the line break above
    assert r"$\lambda$ at L$\infty$" in latex
    assert latex.index("\\toprule") < latex.index("\\midrule") < latex.index("\\bottomrule")
    assert latex.count("{") == latex.count("}")


def test_markdown_keeps_cells_apart_and_tags_harmless() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[3] == "| --- | ---: |"
    row = lines[4].replace("\\\\", "").replace(r"\|", "")
    assert row.count("|") == 3
    assert "<b>" not in TABLE.to_markdown()
    assert r"&lt;b&gt;50%\_a &amp; b$" in lines[4]
    assert "x_y" in Table("t", "x_y", ("a",), ()).to_markdown()  # inside a word an underscore means nothing


def test_a_run_named_like_a_link_is_no_link() -> None:
    text = Table("t", "t", ("a",), (("[here](javascript:x)",),)).to_markdown()
    assert "](" not in text


def test_line_breaks_in_names_do_not_break_rows() -> None:
    table = Table("t", "t", ("a",), (("x\ny",),))
    assert "| x y |" in table.to_markdown()
    assert r"x y \\" in table.to_latex()


def test_the_terminal_shows_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    with console.capture() as shown:
        console.print(TABLE.to_rich())
    assert NASTY in shown.get()
    assert "81.78 [81.01, 82.52]" in shown.get()


@pytest.mark.parametrize("render", [Table.to_markdown, Table.to_latex, Table.to_csv])
def test_a_table_without_rows_still_has_its_columns(render: Callable[[Table], str]) -> None:
    assert "accuracy" in render(Table("t", "t", ("run", "accuracy"), ()))
