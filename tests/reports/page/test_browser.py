"""The page in a real browser: what a script does there no parser can tell."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.examples import Answer, Example, ExampleSheet, Version
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.policies import NoLambda
from robustcsc.measurements.records import Images, Record, Subject
from robustcsc.presentation.picture import Picture
from robustcsc.presentation.words import MISSING
from robustcsc.reports.corruptions.baselines import measured_baseline
from robustcsc.reports.page.build import ReportPaths, write_report
from robustcsc.reports.page.sections import Report

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install the system's package chromium")

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
    "550000000049454e44ae426082"
)
NASTY = "<img src=x onerror=document.title='caught'> & \"co\""

LOOK = """
const cells = (place, at) => [...place.querySelector("tbody").rows].map((row) => row.cells[at].textContent);
const head = (place, name) => [...place.querySelectorAll("thead th")].findIndex((it) => it.textContent === name);
const sort = (place, name) => place.querySelectorAll("thead th button")[head(place, name)].click();
const type = (field, text) => { field.value = text; field.dispatchEvent(new Event("input")); };
const press = (place, key) => place.dispatchEvent(new KeyboardEvent("keydown", { key }));
const found = { title: document.title };
const everything = document.getElementById("table-records");
found.folded = folds.every((fold) => !fold.open);
document.querySelector(".all button").click();
found.opened = folds.every((fold) => fold.open);
await Promise.all([...document.querySelectorAll(".table")].map(enliven));
const saved = [];
save = (name, text) => saved.push([name, text]);

found.resources = performance.getEntriesByType("resource").map((it) => it.name);
document.querySelector("#severity .plot").scrollIntoView();
await new Promise((resolve) => setTimeout(resolve, 500));
found.drawn = document.querySelectorAll(".plot .main-svg").length;
found.charts = document.querySelectorAll(".chart").length;

const place = document.querySelector(".compare");
const [one, other] = place.querySelectorAll("select");
const choose = (select, row) => {
  select.value = [...select.options].find((it) => it.textContent === row).value;
  select.dispatchEvent(new Event("change"));
};
const texts = (row) => [...row.cells].slice(0, 4).map((it) => it.innerText);
const compared = () => [...place.querySelectorAll("tbody tr")].map(texts);
choose(one, "sdnet, adaptive lambda");
choose(other, "resnet, no lambda");
found.compared = compared();
found.wins = place.querySelector(".said").textContent;
choose(one, "resnet, no lambda");
choose(other, "sdnet, adaptive lambda");
found.swapped = compared();

const means = document.querySelector("#means .table");
means.querySelector(".tools button").click();
sort(means, "clean");
found.ascending = cells(means, head(means, "clean"));
found.aria = means.querySelectorAll("thead th")[head(means, "clean")].getAttribute("aria-sort");
sort(means, "clean");
found.descending = cells(means, head(means, "clean"));
found.fields = means.querySelectorAll("input").length;

found.whole = everything.querySelector(".count").textContent;
found.rows = everything.querySelector("tbody").rows.length;
type(everything.querySelector('[aria-label="Filter severity"]'), ">=4");
type(everything.querySelector(".tools input"), "attack");
found.none = everything.querySelector(".count").textContent;
type(everything.querySelector(".tools input"), "oracle");
found.bounded = everything.querySelector(".count").textContent;
sort(everything, "met");
found.sorted = cells(everything, head(everything, "met")).map(Number);
everything.querySelector(".tools:last-child button").click();
type(everything.querySelector('[aria-label="Filter severity"]'), "");
type(everything.querySelector(".tools input"), "");
everything.querySelector(".pager").children[4].click();
found.where = everything.querySelectorAll(".pager .count")[0].textContent;
found.saved = saved;

const plot = document.querySelector("#severity .plot");
press(plot, "ArrowRight");
found.read = plot.closest(".chart").querySelector(".readout").textContent;
const button = plot.closest(".chart").querySelector(".legend button");
button.click();
found.pressed = button.getAttribute("aria-pressed");
found.hidden = plot.data.filter((trace) => trace.visible === false).length;
found.legend = [...plot.closest(".chart").querySelectorAll(".legend button")].map((it) => it.textContent);
found.nasty = document.body.textContent.includes("<img src=x");
const reached = document.querySelectorAll("th button, .plot, .tools button, .legend button, summary");
found.unreachable = [...reached].filter((it) => it.tabIndex < 0).length;
return found;
"""

FIT = """
document.querySelector(".all button").click();
document.querySelector("#severity .plot").scrollIntoView();
await new Promise((resolve) => setTimeout(resolve, 500));
return { wide: document.documentElement.scrollWidth, window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  grid: getComputedStyle(document.querySelector(".panels")).gridTemplateColumns.split(" ").length };
"""


FIRST_SCREEN = """
const first = document.querySelector(".first");
await Promise.all([...first.querySelectorAll(".table")].map(enliven));
const hidden = (element) => element.closest(".first h2, .single h3, .skip");
const shown = [...document.querySelectorAll("header *, .first *")].filter((it) => it.checkVisibility() && !hidden(it));
const cut = [];
for (const element of shown) {
  const clips = getComputedStyle(element).overflowX !== "visible";
  if (clips && element.scrollWidth > element.clientWidth) cut.push(element.textContent);
  for (const text of element.childNodes) {
    if (text.nodeType !== Node.TEXT_NODE || !text.textContent.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) {
      if (box.left < 0 || box.right > innerWidth) cut.push(`${box.left} to ${box.right}: ${text.textContent}`);
    }
  }
}
const matched = (selector, wanted) =>
  [...first.querySelectorAll(selector)].flatMap((it) => it.innerText.match(wanted) ?? []);
const intervals = (selector) => matched(selector, /\\[[^\\]]*\\]/g);
const folded = (id) => !document.getElementById(id).closest("details").open;
const [anchor] = [...document.querySelectorAll("details .table")].map((it) => it.id);
const before = folded(anchor);
location.hash = anchor;
await new Promise((resolve) => setTimeout(resolve, 300));
return { cut, boxes: shown.length, sentences: intervals(".sentence"), cells: intervals("td"),
  decimals: matched(".chart", /\\.\\d/g),
  opened: [before, folded(anchor)], top: document.getElementById(anchor).getBoundingClientRect().top,
  window: innerHeight, wide: document.documentElement.scrollWidth };
"""


WIDE = """
document.querySelector(".all button").click();
await Promise.all([...document.querySelectorAll(".table")].map(enliven));
const places = [...document.querySelectorAll(".table")];
return { cut: places.filter((it) => it.querySelector(".scroll").scrollWidth > it.querySelector(".scroll").clientWidth)
    .map((it) => it.id),
  stacked: places.filter((it) => it.classList.contains("stacked")).map((it) => it.id),
  labels: [...document.querySelectorAll("#means .table td")].map((it) => it.dataset.label) };
"""


def browse(page: Path, script: str, *flags: str, width: int = 1280) -> tuple[dict[str, Any], list[str]]:
    """Returns what `script` returns in the finished page, and what the browser wrote to its console.

    The page lies in a frame of the given width, as a window cannot be as narrow as a phone.
    """
    assert BROWSER
    tried = f"try {{ return await (async () => {{ {script} }})(); }} catch (error) {{ console.error(error.stack); }}"
    asked = f"(async () => {{ {tried} }})().then((found) => parent.postMessage(JSON.stringify(found), '*'))"
    ready = f"<script>charted.then(() => {asked});</script></body>"
    (page.parent / "tried.html").write_text(page.read_text("utf-8").replace("</body>", ready), "utf-8")
    (page.parent / "frame.html").write_text(
        "<body><script>onmessage = (event) => { document.body.dataset.found = event.data; };</script>"
        f"<iframe src='tried.html' style='width: {width}px; height: 900px; border: 0'></iframe></body>"
    )
    general = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000")
    size = ("--window-size=1400,1000", f"--user-data-dir={page.parent / 'profile'}")
    command = [BROWSER, *general, *size, *flags, "--dump-dom", (page.parent / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    answer = re.search(r'data-found="([^"]*)"', done.stdout)
    assert answer, (console, done.stdout[-300:])
    return json.loads(html.unescape(answer[1])), console


@pytest.fixture(scope="module")
def report(
    records: list[Record], clean: RecordMaker, fit: FitMaker, tmp_path_factory: pytest.TempPathFactory
) -> ReportPaths:
    answer = Answer(policy=NoLambda(), label=NASTY, confidence=0.5, right=False)
    version = Version(perturbation=Clean(), png=PNG, answers=(answer,))
    sheet = ExampleSheet(
        subject=Subject(run=NASTY, model="sdnet18", weights="5d" * 32),
        images=Images(dataset=NASTY, split="test", fingerprint="0123", count=10),
        examples=(Example(position=7, label=NASTY, versions=(version,)),),
    )
    shown = Report(
        title="Digits",
        records=[*records, clean(met=8000, run=NASTY)],
        fits=[fit(), fit("shot")],
        pictures=[Picture("perturbation", NASTY, "It moves.", PNG)],
        examples=[sheet],
    )
    return write_report(shown, tmp_path_factory.mktemp("runs") / "r")


@pytest.fixture(scope="module")
def seen(report: ReportPaths, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    page = tmp_path_factory.mktemp("browser") / "page.html"
    shutil.copy(report.page, page)
    return browse(page, LOOK)


def test_the_console_stays_empty_and_nothing_is_fetched(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, console = seen
    assert console == []
    assert [name for name in found["resources"] if not name.startswith(("data:", "blob:"))] == []


def test_charts_are_drawn(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert found["charts"] >= 5
    assert (found["folded"], found["opened"]) == (True, True)
    assert found["drawn"] >= 1
    assert "resnet, no lambda" in found["legend"]


def test_names_stay_text(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert found["title"] == "Digits"
    assert found["nasty"]


def test_a_heading_sorts_by_number_both_ways(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    clean = [cell.split(" ")[0] for cell in found["ascending"]]
    assert clean == ["95.00", "95.20", "95.30", MISSING]  # what was not measured comes last
    assert [cell.split(" ")[0] for cell in found["descending"]] == ["95.30", "95.20", "95.00", MISSING]
    assert found["aria"] == "ascending"


def test_two_rows_stand_side_by_side(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    ours, theirs = (8476, 7487, 6138, 5477, 4884), (7943, 5617, 3486, 2823, 2345)
    noise = found["compared"][-1]
    means = [sum(counts) / 500 for counts in (ours, theirs)]
    assert [cell.split("\n")[0] for cell in noise[:3]] == ["gaussian noise", *(f"{it:.2f}" for it in means)]
    assert noise[3].startswith(f"+{means[0] - means[1]:.2f}")
    assert found["wins"].startswith("sdnet, adaptive lambda is more accurate than resnet, no lambda under 1 of ")
    back = found["swapped"][-1]
    assert (back[1], back[2]) == (noise[2], noise[1])
    low, high = noise[3].split("[")[1].rstrip("]").split(", ")
    turned = {"+": "\u2212", "\u2212": "+"}
    assert back[3].split("[")[1] == f"{turned[high[0]]}{high[1:]}, {turned[low[0]]}{low[1:]}]"


def test_a_table_of_five_rows_has_no_filter(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert found["fields"] == 0


def test_everything_measured_comes_in_pages_with_a_filter_for_each_column(
    seen: tuple[dict[str, Any], list[str]], records: list[Record]
) -> None:
    found, _ = seen
    assert found["whole"] == f"{len(records) + 1} rows"
    assert found["rows"] == 25
    assert found["none"] == f"0 of {len(records) + 1} rows"
    assert found["bounded"] == f"2 of {len(records) + 1} rows"  # severities 4 and 5 of the oracle
    assert found["sorted"] == [4884 + 10, 5477 + 10]
    assert found["where"] == "page 2 of 2"


def test_saved_tables_are_the_files_of_the_report(seen: tuple[dict[str, Any], list[str]], report: ReportPaths) -> None:
    (name, text), (records_name, shown) = seen[0]["saved"]
    assert text == (report.folder / "tables" / name).read_text("utf-8")
    assert records_name == "records.csv"
    assert [row["policy"] for row in csv.DictReader(shown.splitlines())] == ["oracle", "oracle"]


def test_a_keyboard_reads_points_and_hides_lines(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert re.fullmatch(r"gaussian noise, resnet, .*, severity 1, 79\.43 \[\d+\.\d\d, \d+\.\d\d\]", found["read"])
    assert (found["pressed"], found["hidden"]) == ("false", 2)  # the line and its band
    assert found["unreachable"] == 0


def test_a_dark_phone_gets_a_dark_narrow_page(report: ReportPaths, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shutil.copy(report.page, page)
    found, console = browse(page, FIT, "--blink-settings=preferredColorScheme=0", width=390)
    assert console == []
    assert found["wide"] <= found["window"] == 390  # only tables scroll sideways
    assert found["grid"] == 1
    paper, ink = (sum(map(int, re.findall(r"\d+", found[name])[:3])) for name in ("paper", "ink"))
    assert paper < 100 < 600 < ink


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_on_the_first_screen_is_cut_or_said_twice(report: ReportPaths, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    shutil.copy(report.page, page)
    found, console = browse(page, FIRST_SCREEN, width=width)
    assert console == []
    assert found["boxes"] > 50
    assert found["cut"] == []
    assert found["wide"] <= width
    assert len(found["cells"]) >= 10 and len(found["sentences"]) >= 2
    assert set(found["sentences"]) & set(found["cells"]) == set()  # sentences tell differences, cells accuracies
    assert found["decimals"] == []  # dots have axes of whole numbers; the table has the others


@pytest.mark.usefixtures("undrawn")
def test_tables_of_results_fit_a_wide_screen(
    corruption: RecordMaker, universal: RecordMaker, control: RecordMaker, tmp_path: Path
) -> None:
    made = [
        corruption(name, severity, met=5000 + severity, run=run)
        for name in STANDARD_CORRUPTIONS
        for severity in range(1, 6)
        for run in ("resnet", "sdnet")
    ]
    baseline = measured_baseline("resnet", [it for it in made if it.measurement.subject.run == "resnet"])
    made += [
        maker(
            run=f"detrame-plainnet3-{seed}",
            weights=f"{seed}" * 64,
            norm=norm,
            protocol=protocol,
            policy=policy,
            met=met,
        )
        for maker, met in ((universal, 1234), (control, 567))
        for seed in range(3)
        for norm in ("linf", "l2")
        for protocol, policy in (("plain", "none"), ("adaptive", "adaptive-image"))
    ]
    write_report(Report(title="Wide", records=made, baseline=baseline), tmp_path / "r")
    page = tmp_path / "page.html"
    shutil.copy(tmp_path / "r/index.html", page)
    found, console = browse(page, WIDE)
    assert console == []
    assert found["cut"] == []
    assert [it.startswith(("table-means", "table-relative")) for it in found["stacked"]] == [True] * 2
    assert found["labels"][:4] == ["run", "lambda policy", "gaussian noise", "shot noise"]


def test_an_anchor_opens_its_section(report: ReportPaths, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shutil.copy(report.page, page)
    found, _ = browse(page, FIRST_SCREEN)
    assert found["opened"] == [True, False]
    assert 0 <= found["top"] < found["window"]


@pytest.mark.slow
def test_the_page_prints_with_its_charts(report: ReportPaths, tmp_path: Path) -> None:
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'page.pdf'}"]
    subprocess.run([*command, report.page.as_uri()], capture_output=True, timeout=120, check=True)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
