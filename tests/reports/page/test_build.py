from __future__ import annotations

import csv
import errno
import os
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.reports.page.build import ReportPaths, check_folder, write_report
from robustcsc.reports.page.sections import Report

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]
VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use"}


class Page(HTMLParser):
    """Collects cells, attributes and tags, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag == "td":
            self.cells.append("")
        if tag not in VOID or self.open[-1:] == ["defs"]:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def report(records: list[Record], fit: FitMaker, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    folder = tmp_path_factory.mktemp("runs") / "reports"
    return write_report(
        Report(title="Digits & more", records=records, fits=[fit(), fit("shot")], paper="sdnet"), folder
    )


def test_the_same_number_stands_in_every_form(report: ReportPaths) -> None:
    with report.records.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["policy"] == "adaptive" and row["kind"] == "corruption"]
    assert sum(int(row["met"]) for row in rows) == 32462
    with report.accuracy.open(newline="") as file:
        (wide,) = [row for row in csv.DictReader(file) if row["policy"] == "adaptive"]
    assert float(wide["mean"]) == pytest.approx(0.64924, abs=1e-12)
    # Wilson interval of one cell, 6492 in 10000: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), z = 1.959964
    number = "64.92 [63.98, 65.85]"
    names = {path.suffix: path for path in report.tables if path.name.startswith("gaussian_noise")}
    with names[".csv"].open(newline="") as file:
        (told,) = [row for row in csv.DictReader(file) if row["lambda policy"] == "adaptive lambda"]
    mean = next(name for name in told if name.startswith("mean") and name.endswith("(%)"))
    assert float(told[mean]) == pytest.approx(64.924, abs=1e-9)
    assert number in names[".md"].read_text()
    assert "64.92 {[}63.98, 65.85{]}" in names[".tex"].read_text()
    assert number in report.markdown.read_text()
    assert number in Page(report.page.read_text()).cells


def test_the_page_stands_alone_and_is_well_formed(report: ReportPaths) -> None:
    page = Page(report.page.read_text())
    assert page.open == []
    assert page.links
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not set(page.tags) & {"iframe", "object", "embed"}
    assert "@import" not in report.page.read_text()
    assert "default-src 'none'" in report.page.read_text()


def test_images_table_and_seed_are_said_once_and_their_digests_only_below(report: ReportPaths) -> None:
    text = report.page.read_text()
    facts = text[text.index('<ul class="facts">') : text.index("</header>")]
    assert [part.partition("</li>")[0] for part in facts.split("<li>")[1:]] == [
        "cifar10 test: 10,000 images, 1,000 under attack",
        "generated corruptions, 8 bit, severity table cifar10_c",
        "seed 0",
        "measured 2026-01-02",
    ]
    results = re.sub("<[^>]*>", "", text[text.index("</header>") : text.index('<section id="made">')])
    assert "0123456789abcdef" not in results and "1a2b3c4d" not in results and "seed 0" not in results
    assert "0123456789abcdef" in text[text.index('<section id="made">') : text.index('<section id="everything">')]


@pytest.mark.usefixtures("undrawn")
def test_a_title_says_what_tells_its_images_from_others(corruption: RecordMaker, tmp_path: Path) -> None:
    made = [corruption(met=1, total=total, images=images) for total, images in ((2, "aaaa"), (4, "bbbb"), (4, "cccc"))]
    page = write_report(Report(title="Three", records=made), tmp_path / "r").page.read_text()
    for words in ("2 images", "4 images (bbbb)", "4 images (cccc)"):
        assert f"<h3>Mean over severities: {words}</h3>" in page


@pytest.mark.usefixtures("undrawn")
def test_tables_of_zeros_are_folded(corruption: RecordMaker, tmp_path: Path) -> None:
    made = [corruption(name, met=met, total=4) for name, met in (("fog", 0), ("snow", 1))]
    page = write_report(Report(title="Zeros", records=made), tmp_path / "r").page.read_text()
    assert '<details class="more"><summary>Fog <span class="soft">all zero</span></summary>' in page
    assert "<h3>Snow</h3>" in page and "<summary>Snow" not in page


def test_anchors_lead_somewhere(report: ReportPaths) -> None:
    text = report.page.read_text()
    assert all(f'id="{link[1:]}"' in text for link in Page(text).links if link.startswith("#"))


def test_the_page_is_made_for_dark_small_and_printed(report: ReportPaths) -> None:
    text = report.page.read_text()
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert "@media print" in text


def test_the_page_says_what_the_numbers_are(report: ReportPaths) -> None:
    text = report.page.read_text()
    assert "(uses test labels)" in text
    assert "scored at the fitted lambda (a transfer test)" in text
    assert "not measured here" in text
    assert "5d5d5d5d5d5d" in text  # the weights
    assert "never trained on" in text  # the held-out images
    assert "<title>Digits &amp; more</title>" in text


def test_markdown_links_figures_that_exist(report: ReportPaths) -> None:
    linked = [part.split(")")[0] for part in report.markdown.read_text().split("](")[1:]]
    pages = [path for path in report.figures if path.suffix == ".pdf"]  # of the paper's figures only
    assert len(pages) == 2
    assert len(linked) == len(report.figures) - len(pages)
    assert all((report.folder / name).read_text().startswith("<svg") for name in linked)


def test_figures_become_png_files_where_that_is_asked(
    report: ReportPaths, records: list[Record], tmp_path: Path
) -> None:
    assert not any(path.suffix == ".png" for path in report.figures)
    paths = write_report(Report(title="t", records=records[:6]), tmp_path / "r", png=True)
    drawn = {path.stem for path in paths.figures if path.suffix == ".svg"}
    others = {path.stem: path for path in paths.figures if path.suffix == ".png"}
    assert len(drawn) > 0 and set(others) == drawn
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in others.values())


def test_every_table_comes_in_three_forms(report: ReportPaths) -> None:
    stems = {path.stem for path in report.tables}
    assert len(report.tables) == 3 * len(stems)
    assert {"provenance", "sdnet-table-2"} <= stems
    assert any(stem.startswith("lambda-levels-") for stem in stems)


def test_the_same_records_in_any_order_give_the_same_bytes(
    report: ReportPaths, records: list[Record], fit: FitMaker, tmp_path: Path
) -> None:
    fits = [fit("shot"), fit()]
    again = write_report(
        Report(title="Digits & more", records=records[::-1], fits=fits, paper="sdnet"), tmp_path / "again"
    )
    assert contents(again.folder) == contents(report.folder)


def test_records_of_every_kind_make_the_same_report_in_any_order(every_kind: list[Record], tmp_path: Path) -> None:
    one, other = (
        write_report(Report(title="All", records=made), tmp_path / name)
        for name, made in (("one", every_kind), ("other", every_kind[::-1]))
    )
    assert contents(one.folder) == contents(other.folder)
    assert {"attacks", "fooling", "severity"} <= {section.anchor for section in one.sections}
    with one.records.open(newline="") as file:
        assert {row["kind"] for row in csv.DictReader(file)} == {
            *("clean", "corruption", "attack", "minimal-budget"),
            *("universal", "random-control", "random-noise"),
        }
    assert {"fooling.csv", "accuracy.csv"} <= set(contents(one.folder))


@pytest.mark.usefixtures("undrawn")
def test_names_are_escaped_in_the_page(corruption: RecordMaker, tmp_path: Path) -> None:
    nasty = '<script>alert("x")</script>&amp;'
    one, other = corruption(met=1, total=2), corruption(met=1, total=2, run=nasty)
    plain = write_report(Report(title="plain", records=[one]), tmp_path / "plain")
    paths = write_report(Report(title=nasty, records=[other]), tmp_path / "r")
    page = Page(paths.page.read_text())
    assert page.tags["script"] == Page(plain.page.read_text()).tags["script"]  # none but the page's own
    assert nasty in page.cells
    assert "<script>" not in paths.markdown.read_text()


def test_one_record_makes_a_report(clean: RecordMaker, tmp_path: Path) -> None:
    paths = write_report(Report(title="One", records=[clean(met=3, total=4)]), tmp_path / "r")
    assert paths.figures == ()
    assert any(cell.startswith("75.0 [") for cell in Page(paths.page.read_text()).cells)


def test_without_records_the_next_command_is_named(tmp_path: Path, fit: FitMaker) -> None:
    with pytest.raises(StoreError, match="run `robustcsc evaluate` or `robustcsc sweep` first"):
        write_report(Report(title="None", records=[], fits=[fit()]), tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_a_new_report_replaces_the_old_one_whole(corruption: RecordMaker, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "r"
    first = write_report(Report(title="First", records=[corruption(met=1, total=2)]), folder)
    second = write_report(Report(title="Second", records=[corruption("fog", met=1, total=2)]), folder)
    assert "Second" in second.page.read_text()
    gone = [path.name for path in first.tables if path.name.startswith("gaussian_noise")]
    assert len(gone) == 3
    assert not {Path(name).name for name in contents(folder)} & set(gone)
    assert [path.name for path in folder.parent.iterdir()] == ["r"]  # nothing is left beside it


def test_a_folder_with_other_files_is_never_replaced(clean: RecordMaker, tmp_path: Path) -> None:
    made = Report(title="t", records=[clean(met=1, total=2)])
    folder = write_report(made, tmp_path / "r").folder
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        write_report(made, folder)
    assert (folder / "thesis.tex").read_text() == "years of work"
    with pytest.raises(StoreError, match="is a file"):
        write_report(made, folder / "thesis.tex")


def test_neither_a_link_nor_what_another_manifest_names_is_replaced(clean: RecordMaker, tmp_path: Path) -> None:
    folder = write_report(Report(title="t", records=[clean(met=1, total=2)]), tmp_path / "r").folder
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(StoreError, match="link is a link, which a report would replace"):
        check_folder(tmp_path / "link")
    (folder / "tables" / "mine").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="holds 'tables/mine'"):
        check_folder(folder)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"made by": "a web site", "files": ["manifest.json"]}')
    with pytest.raises(StoreError, match=r"holds 'manifest\.json' and was not written by a report"):
        check_folder(tmp_path / "site")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_sentence_and_keeps_the_old_report(
    clean: RecordMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    folder = write_report(Report(title="Old", records=[clean(met=1, total=2)]), tmp_path / "r").folder
    before = contents(folder)

    def fail(path: Path, data: bytes) -> int:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StoreError, match=os.strerror(code).lower()) as caught:
        write_report(Report(title="New", records=[clean(met=2, total=2)]), folder)
    assert str(folder) in str(caught.value)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_an_old_report_comes_back_if_the_exchange_fails(
    clean: RecordMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_report(Report(title="Old", records=[clean(met=1, total=2)]), tmp_path / "r").folder
    before = contents(folder)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StoreError):
        write_report(Report(title="New", records=[clean(met=2, total=2)]), folder)
    assert contents(folder) == before


@pytest.mark.slow
def test_200000_records_make_a_page_that_browsers_open_at_once(corruption: RecordMaker, tmp_path: Path) -> None:
    policies = ("train", "adaptive", "adaptive-image", "oracle", *(f"fixed={0.1 * at:g}" for at in range(1, 16)))
    names = (*STANDARD_CORRUPTIONS, "speckle_noise", "gaussian_blur", "spatter", "saturate")
    many = [
        corruption(name, severity, met=9000 - (7 * at + 300 * severity) % 9000, run=f"run{at}", policy=policy, lam=0.1)
        for at in range(111)
        for policy in policies
        for name in names
        for severity in range(1, 6)
    ]
    assert len(many) > 200_000
    paths = write_report(Report(title="Many", records=many), tmp_path / "r")
    assert paths.page.stat().st_size < 15e6
    assert Page(paths.page.read_text("utf-8")).tags["tr"] < 5000
