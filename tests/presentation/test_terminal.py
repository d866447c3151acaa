"""Tables fit every width of at least the longest word, and lose nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from robustcsc.presentation.csv_table import tsv_text
from robustcsc.presentation.table import Cell, Column, Estimate, Noted, Spread, Table, Worded
from robustcsc.presentation.terminal import broken, table_lines
from robustcsc.presentation.words import MISSING

ACCURACY = Estimate(0.8178, 0.8101, 0.8252, 10000)
COLUMNS = (
    Column("run"),
    Column("lambda policy"),
    Column("clean", percent=True),
    Column("mean of 4 noises", percent=True),
)
ROWS: tuple[tuple[Cell, ...], ...] = (
    ("sdnet-digits", "training lambda", ACCURACY, Estimate(0.5, 0.4, 0.6)),
    ("sdnet-digits", "adaptive lambda", None, Estimate(1.0, 0.9, 1.0)),
)
TABLE = Table("t", "t", COLUMNS, ROWS)


def shown(table: Table, width: int) -> str:
    return "\n".join(table_lines(table, width))


def test_a_table_that_fits_is_shown_as_it_is() -> None:
    assert (
        shown(TABLE, 81)
        == f"""\
run           lambda policy                   clean        mean of 4 noises
------------  ---------------  --------------------  ----------------------
sdnet-digits  training lambda  81.78 [81.01, 82.52]    50.00 [40.00, 60.00]
sdnet-digits  adaptive lambda                     {MISSING}  100.00 [90.00, 100.00]"""
    )


def test_words_that_all_rows_share_are_told_once() -> None:
    assert (
        shown(TABLE, 70)
        == f"""\
run: sdnet-digits

lambda policy                   clean        mean of 4 noises
---------------  --------------------  ----------------------
training lambda  81.78 [81.01, 82.52]    50.00 [40.00, 60.00]
adaptive lambda                     {MISSING}  100.00 [90.00, 100.00]"""
    )


def test_equal_results_stay_in_their_rows() -> None:
    columns = (Column("attack"), Column("what it is " * 4), Column("accuracy", percent=True))
    rows = (("pgd", "a", ACCURACY), ("fgsm", "b", ACCURACY))
    assert shown(Table("t", "t", columns, rows), 40).count("81.78") == 2


def test_cells_are_wrapped_between_words_and_never_within_an_interval() -> None:
    columns = (
        Column("budget"),
        Column("strongest single attack"),
        *(Column(it, percent=True) for it in ("by it", "by all")),
    )
    rows = tuple((name, f"PGD {name}, 20 steps", ACCURACY, ACCURACY) for name in ("L1", "L2", "L3", "L4", "L5"))
    assert shown(Table("t", "t", columns, rows), 54).splitlines()[:7] == [
        "budget  strongest               by it          by all",
        "        single attack",
        "------  -------------  --------------  --------------",
        "L1      PGD L1, 20              81.78           81.78",
        "        steps          [81.01, 82.52]  [81.01, 82.52]",
        "L2      PGD L2, 20              81.78           81.78",
        "        steps          [81.01, 82.52]  [81.01, 82.52]",
    ]


def test_a_line_between_rows_is_left_free_where_their_first_cells_do_not_tell_them_apart() -> None:
    def lines(*names: str) -> list[str]:
        columns = (Column("run"), Column("clean", percent=True), Column("n"))
        return table_lines(Table("t", "t", columns, tuple((it, ACCURACY, at) for at, it in enumerate(names))), 22)[2:]

    value = ["           81.78  ", "  [81.01, 82.52]"]
    assert lines("a", "b") == [f"a  {value[0]}0", f"   {value[1]}", f"b  {value[0]}1", f"   {value[1]}"]
    assert lines("an a", "b")[:3] == [f"an {value[0]}0", f"a  {value[1]}", ""]


def test_a_table_of_many_columns_is_shown_upright() -> None:
    columns = (Column("model"), *(Column(f"corruption {number}", percent=True) for number in range(19)))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *[share] * 19) for name, share in (("sdnet", 0.5), ("resnet", 0.25))
    )
    lines = table_lines(Table("t", "t", columns, rows), 80)
    assert lines[:3] == ["               sdnet  resnet", "-------------  -----  ------", "corruption 0   50.00   25.00"]
    assert len(lines) == 2 + 19


def test_what_fits_in_no_other_way_is_a_block_for_each_row_without_what_is_missing() -> None:
    assert (
        shown(TABLE, 40)
        == """\
run: sdnet-digits

training lambda
  clean             81.78 [81.01, 82.52]
  mean of 4 noises  50.00 [40.00, 60.00]

adaptive lambda
  mean of 4 noises  100.00
                    [90.00, 100.00]"""
    )


def test_wide_characters_take_two_columns() -> None:
    table = Table("t", "t", (Column("运行"), Column("n")), (("模型甲", 5), ("a", 6)))
    assert table_lines(table, 80) == ["运行    n", "------  -", "模型甲  5", "a       6"]


def test_a_row_without_words_at_its_left_has_no_heading() -> None:
    table = Table(
        "t", "t", (Column("rank"), Column("model"), Column("runs")), ((1, "sdnet", "sdnet-0, sdnet-1, sdnet-2"),)
    )
    for width in (24, 10):  # upright, and as a block
        first, *others = table_lines(table, width)
        assert first.split() == ["rank", "1"] and others[0].split() == ["model", "sdnet"] and all(others)


def test_a_table_without_rows_has_its_headings() -> None:
    table = Table("t", "t", (Column("run"), Column("accuracy")), ())
    assert table_lines(table, 80) == ["run  accuracy", "---  --------"]
    assert table_lines(table, 8)


def test_tabs_are_a_table_of_plain_numbers() -> None:
    table = Table("t", "t", (Column("run"), Column("acc", percent=True)), (("a\tb\nc", ACCURACY), ("d", None)))
    assert tsv_text(table) == (
        "run\tacc (%)\tacc low (%)\tacc high (%)\tacc n\na b c\t81.78\t81.01\t82.52\t10000\nd\t\t\t\t\n"
    )


def words_of(most: int) -> st.SearchStrategy[str]:
    return st.lists(st.text("abλ模-", min_size=1, max_size=12), min_size=1, max_size=most).map(" ".join)


words = words_of(6)
numbers = st.floats(0, 1)
cells = st.one_of(
    words,
    st.booleans(),
    st.integers(0, 10**6),
    numbers,
    st.builds(Estimate, numbers, numbers, numbers),
    st.builds(Spread, numbers, numbers),
    st.builds(Worded, numbers, words),
    st.builds(Noted, numbers, st.just("3 of 5")),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    headings = draw(st.lists(words_of(3), min_size=1, max_size=7))  # a heading and a value fit into 100 columns
    rows = draw(st.lists(st.tuples(*[cells] * len(headings)), max_size=5))
    percent = draw(st.booleans())
    return Table("t", "t", tuple(Column(heading, percent=percent) for heading in headings), tuple(rows))


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(100, 200))
def test_no_line_is_longer_than_the_width_and_no_word_is_lost(table: Table, width: int) -> None:
    lines = table_lines(table, width)
    assert max(map(cell_len, lines)) <= width
    told = " ".join(lines).replace(";", " ").replace(",", " ").replace(":", " ").split()
    numeric = [column.heading for column, it in zip(table.columns, table.numeric, strict=True) if it]
    for text in (*numeric, *(text for row in table.texts for text in row)):
        for word in text.replace(",", " ").split():
            assert word in told


@given(st.lists(st.text("ab", min_size=1, max_size=9)), st.integers(1, 30))
def test_only_a_word_longer_than_the_width_is_longer(pieces: list[str], width: int) -> None:
    lines = broken(pieces, width)
    assert " ".join(lines).split() == pieces
    assert all(len(line) <= width or " " not in line for line in lines)
