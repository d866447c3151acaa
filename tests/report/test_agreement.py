"""The same tables in four forms: CSV, Markdown, LaTeX and the page, read back by parsers of their own."""

from __future__ import annotations

import base64
import csv
import gzip
import html
import json
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Record
from robustcsc.report import Paper, ReportPaths, paper_tables, write_report
from robustcsc.report.words import MISSING

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]
Rows = list[list[str]]

NASTY = r"a_b & <i>c</i> 50% #1 $x^2$ ~ {y} [z] | \n * `q`, \"r\""


class Page(HTMLParser):
    """Reads the rows of every table of a page, those that are packed included."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self._name = ""
        self._script = ""
        self._cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if told.get("class") == "table":
            self._name = told["data-name"] or ""
            self.tables[self._name] = []
        if tag == "tr":
            self.tables[self._name].append([])
        if tag in ("td", "th"):
            self.tables[self._name][-1].append("")
            self._cell = True
        self._script = (told.get("id") or "") if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[self._name][-1][-1] += data
        elif self._script.startswith("packed-"):
            columns = json.loads(gzip.decompress(base64.b64decode(data)))
            cells = [[column["values"][code] for code in codes(column)] for column in columns]
            head = [column["heading"] for column in columns]
            self.tables[self._script.removeprefix("packed-")] = [head, *map(list, zip(*cells, strict=True))]


def codes(column: dict[str, Any]) -> tuple[int, ...]:
    raw = base64.b64decode(column["codes"])
    letter = {1: "B", 2: "H", 4: "I"}[column["bytes"]]
    return struct.unpack(f"<{len(raw) // column['bytes']}{letter}", raw)


def csv_rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def markdown_rows(path: Path) -> Rows:
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
    del lines[1]  # the alignment
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[html.unescape(re.sub(r"\\(\W|_)", r"\1", cell.strip())) for cell in row] for row in cells]


def latex_rows(path: Path) -> Rows:
    spoken = {
        r"\textbackslash{}": "\\", "{[}": "[", "{]}": "]", "{*}": "*", r"\textasciitilde{}": "~",
        r"\textasciicircum{}": "^", r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|",
        r"$\infty$": "∞", r"$\lambda$": "λ", "-{}-": "--", "--": MISSING,
        **{f"\\{letter}": letter for letter in "{}&%$#_"},
    }  # fmt: skip
    pattern = re.compile("|".join(map(re.escape, sorted(spoken, key=len, reverse=True))))
    body = [line.strip() for line in path.read_text("utf-8").splitlines() if line.endswith(r" \\")]
    cells = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body]
    return [[pattern.sub(lambda found: spoken[found.group()], cell) for cell in row] for row in cells]


def one_line(rows: Rows) -> Rows:
    return [[" ".join(cell.split()) for cell in row] for row in rows]


@pytest.fixture(scope="module")
def report(
    records: list[Record], record: RecordMaker, fit: FitMaker, tmp_path_factory: pytest.TempPathFactory
) -> ReportPaths:
    many = [record(correct=at, severity=1 + at % 5, run=f"run{at // 5}", policy="none") for at in range(250)]
    nasty = [record(correct=7, total=9, severity=1, run=NASTY, name="shot_noise")]
    folder = tmp_path_factory.mktemp("runs") / "r"
    return write_report([*records, *many, *nasty], [fit()], folder, title=NASTY, paper="sdnet")


def test_every_table_says_the_same_in_all_four_forms(report: ReportPaths) -> None:
    page = Page(report.page.read_text("utf-8")).tables
    names = {path.stem for path in report.tables}
    assert len(names) > 10
    for name in names:
        said = one_line(csv_rows(report.folder / f"tables/{name}.csv"))
        assert len(said) > 1
        assert one_line(page[name]) == said, name
        assert markdown_rows(report.folder / f"tables/{name}.md") == said, name
        assert latex_rows(report.folder / f"tables/{name}.tex") == said, name


@pytest.mark.parametrize("paper", ["detrame", "res-msd-csc", "tddl"])
def test_the_tables_of_papers_say_the_same_in_all_four_forms(paper: Paper, record: RecordMaker, tmp_path: Path) -> None:
    clean: dict[str, Any] = {"kind": "clean", "name": "clean", "policy": "none", "total": 100}
    made = [
        record(correct=90, model=model, dataset=data, weights=model, **clean)
        for model, data in (("plainnet3", "cifar10"), ("detrame-plainnet3", "cifar10"), ("res-csc20", "svhn"))
    ]
    made.append(record(correct=7, total=9, kind="clean", name="clean", dataset="mnist", run=NASTY, model="tddl-cnn"))
    report = write_report(made, [], tmp_path / "r", title="Papers", paper=paper)
    page = Page(report.page.read_text("utf-8")).tables
    names = [path.stem for path in report.tables if re.search(r"table-\d+$", path.stem)]
    assert len(names) == 3 * len(paper_tables(paper, made))
    for name in names:
        said = one_line(csv_rows(report.folder / f"tables/{name}.csv"))
        assert one_line(page[name]) == said, name
        assert markdown_rows(report.folder / f"tables/{name}.md") == said, name
        assert latex_rows(report.folder / f"tables/{name}.tex") == said, name
        printed = [at for at, heading in enumerate(said[0]) if heading.startswith("paper: ")]
        assert printed and not any("not measured" in row[at] for row in said[1:] for at in printed)


def test_the_names_of_runs_survive_all_four_forms(report: ReportPaths) -> None:
    name = next(path.stem for path in report.tables if path.stem.startswith("shot_noise"))
    for rows in (
        csv_rows(report.folder / f"tables/{name}.csv"),
        markdown_rows(report.folder / f"tables/{name}.md"),
        latex_rows(report.folder / f"tables/{name}.tex"),
        Page(report.page.read_text("utf-8")).tables[name],
    ):
        assert [row[0] for row in rows[1:]] == [NASTY]


def test_a_long_table_is_packed_whole(report: ReportPaths) -> None:
    page = Page(report.page.read_text("utf-8")).tables
    name = next(path.stem for path in report.tables if path.stem.startswith("gaussian_noise"))
    assert f'data-packed="packed-{name}"' in report.page.read_text("utf-8")
    assert {f"run{at}" for at in range(50)} <= {row[0] for row in page[name]}


def test_the_page_has_every_record_as_the_csv_file_has_it(report: ReportPaths) -> None:
    shown = Page(report.page.read_text("utf-8")).tables["records"]
    timing = [shown[0].index(name) for name in ("seconds", "created")]
    kept = [[cell for at, cell in enumerate(row) if at not in timing] for row in shown]
    assert kept == csv_rows(report.records)
