from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from collections.abc import Callable

import pytest

from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.latex import latex_table
from robustcsc.presentation.markdown import markdown_table
from robustcsc.presentation.table import Cell, Column, Estimate, Noted, Spread, Table, Worded
from robustcsc.presentation.terminal import table_lines

NASTY = r"<b>50%_a & b$|[red]*{x}\~^#`"
ACCURACY = Estimate(0.8178, 0.8101, 0.8252, 10000)
TABLE = Table(
    name="t",
    title=f"Title {NASTY}",
    columns=(Column("run"), Column("acc", percent=True)),
    rows=((NASTY, ACCURACY), ("[plain", None)),
    notes=("λ at L∞",),
)


def one_column(column: Column, *cells: Cell) -> Table:
    return Table("t", "t", (column,), tuple((cell,) for cell in cells))


def read_csv(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(table))))


def test_rows_of_another_length_than_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 cells"):
        Table("t", "t", (Column("a"), Column("b")), ((1,),))


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [
        (Column("a"), "words", "words"),
        (Column("a"), True, "yes"),
        (Column("a", percent=True), 10000, "10000"),  # a count, whatever the others are
        (Column("a"), 0.1, "0.1"),
        (Column("a"), None, "–"),  # noqa: RUF001
        (Column("a"), math.nan, "–"),  # noqa: RUF001
        (Column("a", percent=True), 0.123456, "12.35"),
        (Column("a", percent=True, digits=1), 0.123456, "12.3"),
        (Column("a", significant=2), 0.000123, "0.00012"),
        (Column("a", percent=True, signed=True), -0.00001, "+0.00"),
        (Column("a", percent=True), Estimate(0.5), "50.00"),
        (Column("a", digits=4), Estimate(0.5, 0.25, 0.75, 8), "0.5000 [0.2500, 0.7500]"),
        (Column("a", percent=True, show_n=True), ACCURACY, "81.78 [81.01, 82.52] n=10000"),
        (Column("a", percent=True, signed=True), Estimate(0.02, -0.01, 0.05), "+2.00 [-1.00, +5.00]"),
        (Column("a", percent=True), Spread(0.9, 0.012, 3), "90.00 ± 1.20"),
        (Column("a", percent=True, signed=True, show_seeds=True), Spread(0.9, 0.01, 3), "+90.00 ± 1.00 (3 seeds)"),
        (Column("a", percent=True), Noted(None, "3 of 5"), "– (3 of 5)"),  # noqa: RUF001
        (Column("a", percent=True), Worded(8 / 255, "8/255"), "8/255"),
        (Column("a", percent=True), Noted(ACCURACY, "3 attacks"), "81.78 [81.01, 82.52] (3 attacks)"),
    ],
)
def test_a_cell_is_written_as_its_column_says(column: Column, cell: Cell, text: str) -> None:
    assert column.text(cell) == text


def test_what_is_no_cell_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        Column("a").text(1j)  # type: ignore[arg-type]


def test_csv_has_one_plain_number_a_field_at_full_precision() -> None:
    third = 1 / 3
    (row,) = read_csv(one_column(Column("AUC"), Estimate(third, third / 3, 0.1 + 0.2, 7)))
    assert list(row) == ["AUC", "AUC low", "AUC high", "AUC n"]
    assert [float(row[name]) for name in ("AUC", "AUC low", "AUC high")] == [third, third / 3, 0.1 + 0.2]
    assert row["AUC n"] == "7"


def test_csv_percentages_say_so_and_have_no_binary_noise() -> None:
    table = one_column(Column("clean", percent=True), ACCURACY, Spread(0.07, 1 / 3, 5), None, Noted(None, "3 of 5"))
    found = read_csv(table)
    heads = ["clean (%)", "clean low (%)", "clean high (%)", "clean n", "clean std (%)", "clean seeds", "clean note"]
    assert list(found[0]) == heads
    assert list(found[0].values()) == ["81.78", "81.01", "82.52", "10000", "", "", ""]
    assert list(found[1].values()) == ["7.0", "", "", "", "33.3333333333", "5", ""]
    assert set(found[2].values()) == {""}
    assert list(found[3].values()) == ["", "", "", "", "", "", "3 of 5"]


def test_csv_headings_repeat_no_unit_and_mixed_columns_claim_none() -> None:
    (row,) = read_csv(one_column(Column("zeros (%)", percent=True), Estimate(0.5, 0.25, 0.75)))
    assert list(row) == ["zeros (%)", "zeros low (%)", "zeros high (%)"]
    rows = read_csv(one_column(Column("model", percent=True), 0.5, 270000, Worded(12.5, "12")))
    assert [row["model"] for row in rows] == ["50.0", "270000", "12.5"]


def test_csv_keeps_words_and_remarks_out_of_numbers() -> None:
    table = one_column(Column("eps"), Worded(8 / 255, "8/255"), Worded(None, "not measured"), Noted(0.5, "3 attacks"))
    found = read_csv(table)
    assert float(found[0]["eps"]) == 8 / 255
    assert (found[0]["eps note"], found[1], found[2]["eps note"]) == (
        "", {"eps": "", "eps note": "not measured"}, "3 attacks",
    )  # fmt: skip


def test_csv_gives_back_words_and_leaves_gaps_empty() -> None:
    table = Table("t", "t", (Column("a,b"), Column("c")), ((NASTY, 'say "x",\ny'), (None, False)))
    assert list(csv.reader(io.StringIO(csv_text(table)))) == [["a,b", "c"], [NASTY, 'say "x",\ny'], ["", "False"]]


def test_columns_of_numbers_and_gaps_are_flush_right() -> None:
    mixed: list[tuple[tuple[Cell, ...], bool]] = [
        ((1, None, ""), True),
        ((ACCURACY, Noted(None, "3 of 5")), True),
        ((Worded(8 / 255, "8/255"), Worded(None, "not measured")), True),
        ((None, None), False),
        ((1, "one"), False),
        ((True, False), False),
        (("81.78", "2"), False),  # words that look like numbers are words
    ]
    for cells, right in mixed:
        assert one_column(Column("a"), *cells).numeric == (right,)


def test_cells_sort_by_the_number_that_is_shown() -> None:
    column = Column("a", percent=True)
    assert column.sort_value(Noted(ACCURACY, "x")) == pytest.approx(81.78)
    assert (column.sort_value(3), column.sort_value(Worded(8 / 255, "8/255"))) == (3, 8 / 255)
    assert [column.sort_value(cell) for cell in (None, "8", True, math.nan, Noted(None, "1 of 2"))] == [None] * 5


def test_columns_can_be_left_out() -> None:
    kept = TABLE.keep(lambda column: column.heading != "run")
    assert (kept.columns, kept.rows) == (TABLE.columns[1:], ((ACCURACY,), (None,)))


def test_latex_escapes_every_special_character() -> None:
    latex = latex_table(TABLE)
    escaped = (
        r"\textless{}b\textgreater{}50\%\_a \& b\$\textbar{}{[}red{]}{*}\{x\}"
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\#`"
    )
    assert f"    {escaped} & 81.78 {{[}}81.01, 82.52{{]}} \\\\" in latex
    assert f"\\caption{{Title {escaped}}}" in latex
    assert r"    {[}plain & -- \\" in latex  # a bare bracket would be an argument of the line break above
    assert r"$\lambda$ at L$\infty$" in latex
    assert r"90.00 $\pm$ 1.00" in latex_table(one_column(Column("a", percent=True), Spread(0.9, 0.01)))
    assert latex.index("\\toprule") < latex.index("\\midrule") < latex.index("\\bottomrule")
    assert latex.count("{") == latex.count("}")


def test_markdown_keeps_cells_apart_and_tags_harmless() -> None:
    lines = markdown_table(TABLE).splitlines()
    assert lines[3] == "| --- | ---: |"
    row = lines[4].replace("\\\\", "").replace(r"\|", "")
    assert row.count("|") == 3
    assert "<b>" not in markdown_table(TABLE)
    assert r"&lt;b&gt;50%\_a &amp; b$" in lines[4]
    assert "x_y" in markdown_table(Table("t", "x_y", (Column("a"),), ()))  # inside a word an underscore means nothing


def test_a_run_named_like_a_link_is_no_link() -> None:
    assert "](" not in markdown_table(one_column(Column("a"), "[here](javascript:x)"))


def test_line_breaks_in_names_do_not_break_rows() -> None:
    table = one_column(Column("a"), "x\ny")
    assert "| x y |" in markdown_table(table)
    assert r"x y \\" in latex_table(table)


def test_the_terminal_shows_brackets_as_they_are() -> None:
    (_, _, first, *_) = table_lines(TABLE, 80)
    assert first == f"{NASTY}  81.78 [81.01, 82.52]"


@pytest.mark.parametrize("render", [markdown_table, latex_table, csv_text])
def test_a_table_without_rows_still_has_its_columns(render: Callable[[Table], str]) -> None:
    assert "accuracy" in render(Table("t", "t", (Column("run"), Column("accuracy")), ()))


def test_tables_load_nothing_heavy() -> None:
    parts = ("table", "words", "chart", "csv_table", "markdown", "latex", "html_table", "picture", "interactive")
    imports = "; ".join(f"import robustcsc.presentation.{part}" for part in parts)
    code = f"import sys; {imports}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "pandas", "numpy", "plotly", "rich"} & set(found.stdout.split())


@pytest.mark.parametrize("text", ["=1+1", "+a", "-2+3", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
def test_a_name_is_no_formula_of_a_spreadsheet(text: str) -> None:
    assert [row["run"] for row in read_csv(one_column(Column("run"), text))] == [f"'{text}"]


def test_numbers_in_a_csv_file_stay_numbers() -> None:
    assert csv_text(one_column(Column("gain"), -0.25, -1e-9, 3)) == "gain\n-0.25\n-1e-09\n3\n"
