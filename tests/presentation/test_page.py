"""Tables and charts as a page gets them, and what its scripts make of them (with node, where there is one)."""

from __future__ import annotations

import base64
import gzip
import json
import math
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from robustcsc.presentation.chart import Chart, Line, Panel, Series, numbered_series
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.html_table import html_table, packed_table
from robustcsc.presentation.interactive import chart_data
from robustcsc.presentation.picture import data_address
from robustcsc.presentation.table import Cell, Column, Estimate, Noted, Table, Worded

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node here: install the system's package nodejs")

NASTY = '<b title="x">&, "q"</b>'
ROWS: tuple[tuple[Cell, ...], ...] = (
    (NASTY, Estimate(0.5, 0.4, 0.6, 10), 3, Worded(8 / 255, "8/255")),
    ("b", None, 20, Worded(math.inf, "more than 8/255")),
    ("c", Noted(None, "3 of 5"), 1, None),
    ("a10", Noted(Estimate(0.07, 0.05, 0.1, 10), "2"), 3, Worded(0.01, "0.01")),
    ("a9", Estimate(0.8, 0.7, 0.9, 10), 4, Worded(4 / 255, "4/255")),
)
COLUMNS = (Column("run"), Column("clean", percent=True, show_n=True), Column("k"), Column("eps"))
TABLE = Table("t", "t", COLUMNS, ROWS)

STUBS = """
const document = { documentElement: { classList: { add() {} } }, querySelectorAll: () => [],
  getElementById: (id) => ({ textContent: given[id] }) };
class IntersectionObserver {}
const matchMedia = () => ({ matches: false, addEventListener() {} });
"""


def in_node(given: dict[str, str], script: str, *sources: str) -> Any:
    """Returns what a script returns that runs behind the page's scripts."""
    assert NODE
    scripts = [files("robustcsc.presentation").joinpath(name).read_text("utf-8") for name in sources]
    answer = f"(async () => {{ {script} }})().then((found) => console.log(JSON.stringify(found)));"
    code = "\n".join((f"const given = {json.dumps(given)};", STUBS, *scripts, answer))
    done = subprocess.run([NODE, "-"], input=code, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_html_cells_carry_what_they_sort_by_and_their_csv_fields() -> None:
    page = html_table(TABLE)
    clean = '<td class="right" data-sort="50.0" data-csv="50.0,40.0,60.0,10,">50.00<span class="range"> [40.00, 60.00]'
    assert clean + '</span><span class="range"> n=10</span></td>' in page
    assert 'data-csv="clean (%),clean low (%),clean high (%),clean n,clean note"' in page
    assert '<td class="right" data-csv=",,,,3 of 5">' in page
    assert '<td class="right" data-sort="3">3</td>' in page  # a plain number is its own field
    assert "<b" not in page.replace("<tbody", "")
    assert "&lt;b title=&quot;x&quot;&gt;" in page


def test_only_the_first_rows_may_be_written() -> None:
    assert html_table(TABLE, 2).count("<tr>") == 1 + 2
    assert html_table(TABLE).count("<tr>") == 1 + len(ROWS)


def test_packed_columns_give_back_every_cell_and_the_same_bytes() -> None:
    content = packed_table(TABLE.coded)
    assert content == packed_table(TABLE.coded)
    columns = json.loads(gzip.decompress(base64.b64decode(content)))
    for at, column in enumerate(columns):
        codes = base64.b64decode(column["codes"])
        assert column["bytes"] == 1
        shown = [" ".join(column["cells"][code][0]) for code in codes]
        assert shown == [row[at] for row in TABLE.texts]
    assert [len(column["cells"]) for column in columns] == [5, 5, 4, 5]
    assert [column["right"] for column in columns] == [False, True, True, True]


def test_counts_and_truths_that_are_equal_stay_different_cells() -> None:
    (column,) = Table("t", "t", (Column("a"),), ((1,), (True,), (1.0,), (1,))).coded
    assert list(map(type, column.cells)) == [int, bool, float]
    assert column.codes == [0, 1, 2, 0]


def test_many_different_cells_need_wider_codes() -> None:
    table = Table("t", "t", (Column("a"),), tuple((at,) for at in range(300)))
    (column,) = json.loads(gzip.decompress(base64.b64decode(packed_table(table.coded))))
    assert column["bytes"] == 2
    assert base64.b64decode(column["codes"])[-2:] == (299).to_bytes(2, "little")


@needs_node
def test_the_script_sorts_by_number_with_gaps_last() -> None:
    script = """
    const columns = await unpackColumns("x"), all = () => [0, 1, 2, 3, 4];
    return columns.map((column) => [arrange(all(), column, false), arrange(all(), column, true)]);
    """
    run, clean, k, eps = in_node({"x": packed_table(TABLE.coded)}, script, "tables.js")
    assert clean == [[3, 0, 4, 1, 2], [4, 0, 3, 1, 2]]
    assert k == [[2, 0, 3, 4, 1], [1, 4, 0, 3, 2]]
    assert eps == [[3, 4, 0, 1, 2], [1, 0, 4, 3, 2]]
    assert run[0][1:] == [4, 3, 1, 2]  # words as people sort them: a9 before a10


@needs_node
def test_the_script_filters_by_word_and_by_bound() -> None:
    script = """
    const columns = await unpackColumns("x");
    const by = (...typed) => select(columns, 5, [], typed);
    return [select(columns, 5, ["a1"], []), by("", ">=50", "", ""), by("", "", "=3", ""), by("", "", "", "<8/255"),
      by("", "", "", ">0.02"), by("", "3 of", "", "")];
    """
    found = in_node({"x": packed_table(TABLE.coded)}, script, "tables.js")
    assert found == [[3], [0, 4], [0, 3], [3, 4], [0, 1], [2]]


@needs_node
def test_the_script_saves_what_the_csv_file_holds() -> None:
    script = 'const columns = await unpackColumns("x"); return csvOf(columns, [0, 1, 2, 3, 4]);'
    assert in_node({"x": packed_table(TABLE.coded)}, script, "tables.js") == csv_text(TABLE)


@needs_node
def test_the_script_gives_plotly_the_points_bands_and_words_of_a_chart() -> None:
    series = (*numbered_series(["plain"]), Series("", "#c00000", "x", ""))
    lines = (Line(0, (1, 2), (50, 40), (45, 35), (55, 45)), Line(1, (1.5,), (20,)), Line(None, (1, 2), (0, 10)))
    panel = Panel("fog", "severity", "accuracy (%)", lines, ticks=(1, 2))
    chart = Chart("c", "t", "d", (panel,), series)
    script = """
    const chart = JSON.parse(given.chart), [traces] = drawing(chart, chart.panels[0], new Set(), theme(), 200);
    return traces.map(({ x, y, mode, text, marker }) => ({ x, y, mode, text, marker }));
    """
    given = {"charts": "{}", "chart": json.dumps(chart_data(chart))}
    band, line, crosses, fitted = in_node(given, script, "tables.js", "charts.js")
    assert (band["x"], band["y"]) == ([1, 2, 2, 1], [45, 35, 45, 55])
    assert (line["x"], line["y"], line["mode"]) == ([1, 2], [50, 40], "lines+markers")
    assert line["text"][0] == "plain<br>severity 1<br>50.00 [45.00, 55.00]"
    assert (crosses["mode"], crosses["marker"]["symbol"], crosses["marker"]["color"]) == (
        "markers",
        "x",
        "rgb(192,0,0)",
    )
    assert crosses["text"] == ["severity 1<br>20.00"]
    assert (fitted["mode"], fitted["text"][0]) == ("lines", "fitted line<br>severity 1<br>0.00")


def test_a_picture_is_an_address() -> None:
    address = data_address(b"\x89PNG")
    assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == b"\x89PNG"
