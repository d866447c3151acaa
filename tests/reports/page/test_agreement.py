"""The same tables in Markdown, LaTeX and the page, and in CSV files, read back by parsers of their own."""

from __future__ import annotations

import base64
import csv
import gzip
import html
import io
import json
import re
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.presentation.words import MISSING
from robustcsc.reports.page.build import ReportPaths, write_report
from robustcsc.reports.page.sections import Report
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.papers.papers import paper_tables

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]
Rows = list[list[str]]

#: A number as a CSV file has it, and one with decimal places at the start of a cell.
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
DECIMAL = re.compile(r"[-+]?\d+\.\d+(?![\w/.])")

NASTY = r"a_b & <i>c</i> 50% #1 $x^2$ ~ {y} [z] | \n * `q`, \"r\""


class Page(HTMLParser):
    """Reads text and CSV fields of every cell of every table of a page, those that are packed included."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self._name = ""
        self._script = ""
        self._cell = False
        self.feed(text)
        self.close()

    def rows(self, name: str) -> Rows:
        """What the cells of a table say."""
        return [[text for text, _ in row] for row in self.tables[name]]

    def csv_rows(self, name: str) -> Rows:
        """What the page saves of a table: a cell that carries no fields is one itself."""
        lines = [",".join(quoted(text) if line is None else line for text, line in row) for row in self.tables[name]]
        return list(csv.reader(io.StringIO("\n".join(lines))))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if "data-name" in told:
            self._name = told["data-name"] or ""
            self.tables[self._name] = []
        if tag == "figure":
            self._name = ""  # cells of heat maps belong to no table
        if tag == "tr" and self._name:
            self.tables[self._name].append([])
        if tag in ("td", "th") and self._name:
            self.tables[self._name][-1].append(("", (told["data-csv"] or "") if "data-csv" in told else None))
            self._cell = True
        self._script = (told.get("id") or "") if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._cell:
            text, line = self.tables[self._name][-1][-1]
            self.tables[self._name][-1][-1] = (text + data, line)
        elif self._script.startswith("packed-"):
            columns = json.loads(gzip.decompress(base64.b64decode(data)))
            cells = [[column["cells"][code] for code in codes(column)] for column in columns]
            head = [(column["heading"], column["csv"]) for column in columns]
            rows = [[(" ".join(parts), line) for parts, _, line in row] for row in zip(*cells, strict=True)]
            self.tables[self._script.removeprefix("packed-")] = [head, *rows]


def quoted(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text, ""])
    return line.getvalue()[:-1]


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
        r"$\infty$": "∞", r"$\pm$": "±", r"$\lambda$": "λ", "-{}-": "--", "--": MISSING,
        **{f"\\{letter}": letter for letter in "{}&%$#_"},
    }  # fmt: skip
    pattern = re.compile("|".join(map(re.escape, sorted(spoken, key=len, reverse=True))))
    body = [line.strip() for line in path.read_text("utf-8").splitlines() if line.endswith(r" \\")]
    cells = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body]
    return [[pattern.sub(lambda found: spoken[found.group()], cell) for cell in row] for row in cells]


def one_line(rows: Rows) -> Rows:
    return [[" ".join(cell.split()) for cell in row] for row in rows]


def check(report: ReportPaths, page: Page, name: str) -> None:
    """A table says the same on the page, in Markdown and LaTeX; its numbers are those in the CSV file."""
    said = one_line(page.rows(name))
    assert len(said) > 1
    assert markdown_rows(report.folder / f"tables/{name}.md") == said, name
    assert latex_rows(report.folder / f"tables/{name}.tex") == said, name
    held = csv_rows(report.folder / f"tables/{name}.csv")
    assert page.csv_rows(name) == held, name
    for words, plain in zip(said[1:], held[1:], strict=True):
        numbers = [float(field) for field in plain if NUMBER.fullmatch(field)]
        for text in (found[0] for cell in words if (found := DECIMAL.match(cell))):
            step = 0.5 * 10.0 ** -len(text.rpartition(".")[2]) + 1e-9
            assert any(abs(float(text) - number) <= step for number in numbers), (name, text, plain)


@pytest.fixture(scope="module")
def report(
    records: list[Record], corruption: RecordMaker, fit: FitMaker, tmp_path_factory: pytest.TempPathFactory
) -> ReportPaths:
    many = [corruption(severity=1 + at % 5, met=at, run=f"run{at // 5}") for at in range(250)]
    nasty = [corruption("shot_noise", met=7, total=9, run=NASTY)]
    folder = tmp_path_factory.mktemp("runs") / "r"
    return write_report(Report(title=NASTY, records=[*records, *many, *nasty], fits=[fit()], paper="sdnet"), folder)


@pytest.fixture(scope="module")
def page(report: ReportPaths) -> Page:
    return Page(report.page.read_text("utf-8"))


def test_every_table_says_the_same_in_all_four_forms(report: ReportPaths, page: Page) -> None:
    names = {path.stem for path in report.tables}
    assert len(names) > 10
    for name in names:
        check(report, page, name)


@pytest.mark.parametrize("paper", ["detrame", "res-msd-csc", "tddl"])
def test_the_tables_of_papers_say_the_same_in_all_four_forms(paper: Paper, clean: RecordMaker, tmp_path: Path) -> None:
    made = [
        clean(met=90, total=100, model=model, dataset=data, weights=model)
        for model, data in (("plainnet3", "cifar10"), ("detrame-plainnet3", "cifar10"), ("res-csc20", "svhn"))
    ]
    made.append(clean(met=7, total=9, dataset="mnist", run=NASTY, model="tddl-cnn"))
    report = write_report(Report(title="Papers", records=made, paper=paper), tmp_path / "r")
    page = Page(report.page.read_text("utf-8"))
    tables = paper_tables(paper, made)
    assert tables
    for table in tables:
        check(report, page, table.name)
        said = page.rows(table.name)
        printed = [at for at, heading in enumerate(said[0]) if heading.startswith("paper: ")]
        assert printed and not any("not measured" in row[at] for row in said[1:] for at in printed)


def test_the_names_of_runs_survive_all_four_forms(report: ReportPaths, page: Page) -> None:
    name = next(path.stem for path in report.tables if path.stem.startswith("shot_noise"))
    for rows in (
        csv_rows(report.folder / f"tables/{name}.csv"),
        markdown_rows(report.folder / f"tables/{name}.md"),
        latex_rows(report.folder / f"tables/{name}.tex"),
        page.rows(name),
    ):
        assert [row[0] for row in rows[1:]] == [NASTY]


def test_a_long_table_is_packed_whole(report: ReportPaths, page: Page) -> None:
    name = next(path.stem for path in report.tables if path.stem.startswith("gaussian_noise"))
    assert f'data-packed="packed-{name}"' in report.page.read_text("utf-8")
    assert {f"run{at}" for at in range(50)} <= {row[0] for row in page.rows(name)}


def test_the_page_has_every_record_as_the_csv_file_has_it(report: ReportPaths, page: Page) -> None:
    shown = page.csv_rows("records")
    whole = csv_rows(report.records)
    assert set(shown[0]) - set(whole[0]) == {"seconds", "created"}
    order = [shown[0].index(name) for name in whole[0]]  # the page has columns that are seen at once first
    assert [[row[at] for at in order] for row in shown] == whole
