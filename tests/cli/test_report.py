"""`robustcsc report --baseline`, on results that were written by hand."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustcsc import runs
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.examples import read_examples
from robustcsc.measurements.perturbations import Corruption, Pixels, SeverityTable
from robustcsc.measurements.policies import Policy, TrainingLambda
from robustcsc.measurements.store import SCHEMA_VERSION, ResultStore
from robustcsc.reports.page.build import ReportPaths, write_report
from robustcsc.runs import Run
from tests.cli.conftest import record_by_hand

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def tables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves figures and page out, which take seconds for 15 corruptions: the tables are looked at here."""
    monkeypatch.setattr("robustcsc.reports.page.build._figures", lambda *_: {})
    monkeypatch.setattr("robustcsc.reports.page.build.render_page", lambda *_, **__: "")


def store_run(
    name: str,
    wrong: int,
    clean: int,
    corruptions: Sequence[str] = STANDARD_CORRUPTIONS,
    *,
    model: str | None = None,
    policy: Policy | None = None,
    table: str = "imagenet_c",
    seed: int = 0,
) -> None:
    """Makes a run with `wrong` errors in 1000 images at every corruption and severity."""
    severities = SeverityTable(name=table, digest="1a2b3c4d")
    with ResultStore(runs.create(name).store_path) as store:
        store.add(record_by_hand(model or name, 1000 - clean, name=name, policy=policy))
        for corruption in corruptions:
            for severity in range(1, 6):
                made = Corruption(name=corruption, severity=severity, table=severities, pixels=Pixels.JPEG, seed=seed)
                record = record_by_hand(model or name, 1000 - wrong, name=name, policy=policy, perturbation=made)
                store.add(record)


def test_a_baseline_joins_the_report_and_gives_mce(robustcsc: Command, place: Path) -> None:
    store_run("model", 300, 100)
    store_run("base", 500, 200)
    done = robustcsc("report model --baseline base --out both")
    assert done.code == 0, done.err
    (file,) = (place / "both/tables").glob("relative-errors-*.csv")
    with file.open(newline="") as opened:
        rows = {(row["run"], row["measure"]): float(row["mean of 15 (%)"]) for row in csv.DictReader(opened)}
    # CE 300 / 500 = 60 %, relative (300 - 100) / (500 - 200) = 66.7 %
    assert rows["model", "CE"] == 60
    assert rows["model", "relative CE"] == pytest.approx(200 / 3)
    assert {run for run, _ in rows} == {"model"}  # the baseline is 100 % of itself
    with (place / "both/tables/verdict.csv").open(newline="") as opened:
        assert [row["mCE, base (%)"] for row in csv.DictReader(opened)] == ["100.0", "60.0"]
    assert "mCE, base" in " ".join(done.out.split())


def test_a_baseline_named_twice_joins_once_and_a_folder_will_do(robustcsc: Command, place: Path) -> None:
    store_run("model", 300, 100, ["fog"])
    store_run("base", 500, 200, ["fog"])
    assert robustcsc("report model base --baseline runs/base --out both").code == 0
    assert (place / "both/records.csv").read_text().count("\n") == 1 + 2 * 6


@pytest.mark.parametrize(
    "typed",
    ["--run model --run base", "model --run base", "--run base model", "model base --run model --run runs/base"],
)
def test_runs_are_named_as_words_or_options_and_shown_once(robustcsc: Command, place: Path, typed: str) -> None:
    store_run("model", 300, 100, ["fog"])
    store_run("base", 500, 200, ["fog"])
    store_run("latest", 500, 200, ["fog"])
    done = robustcsc(f"report {typed} --out both")
    assert done.code == 0, done.err
    with (place / "both/records.csv").open(newline="") as opened:
        rows = [row["run"] for row in csv.DictReader(opened)]
    assert (rows.count("model"), rows.count("base"), len(rows)) == (6, 6, 12)


def test_a_run_that_is_not_there_is_refused_as_an_option_too(robustcsc: Command, place: Path) -> None:
    store_run("model", 300, 100, ["fog"])
    done = robustcsc("report model --run modell --out both")
    assert (done.code, done.out) == (2, "") and "did you mean 'model'?" in done.err
    assert not (place / "both").exists()


def test_published_errors_of_alexnet(robustcsc: Command) -> None:
    store_run("model", 300, 100)
    done = robustcsc("report model --baseline alexnet")
    assert done.code == 0, done.err
    # the mean of 30 / (88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7)
    with (runs.find("model").reports / "tables/verdict.csv").open(newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert f"{float(row['mCE, AlexNet (published) (%)']):.1f}" == "38.8"
    assert "Baseline AlexNet on ImageNet-C, as published" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("baseline", "sentence"),
    [
        ("bass", "No run 'bass' in runs: did you mean 'base'?"),
        ("empty", "Run 'empty' has no results to report yet"),
        ("cifar", "(severity table cifar10_c@1a2b3c4d against imagenet_c@1a2b3c4d): measure both on the same."),
        ("seed", "(seed 3 against 0): measure both on the same."),
    ],
)
def test_a_baseline_that_does_not_fit_is_one_sentence(robustcsc: Command, baseline: str, sentence: str) -> None:
    store_run("model", 300, 100, ["fog"])
    store_run("base", 500, 200, ["fog"])
    store_run("cifar", 500, 200, ["fog"], table="cifar10_c")
    store_run("seed", 500, 200, ["fog"], seed=3)
    runs.create("empty")
    done = robustcsc(f"report model --baseline {baseline}")
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert not (runs.find("model").folder / "reports").exists()


def test_alexnet_needs_its_own_severity_table(robustcsc: Command) -> None:
    store_run("model", 300, 100, ["fog"], table="cifar10_c")
    done = robustcsc("report model --baseline alexnet")
    assert done.code == 2
    assert "are for the severity table imagenet_c, not cifar10_c: name a run as --baseline instead." in done.err


def test_a_copy_of_the_page_goes_where_it_is_wanted(robustcsc: Command, place: Path) -> None:
    store_run("model", 300, 100, ["fog"])
    assert robustcsc("report model --html page.html").code == 0
    assert (place / "page.html").read_bytes() == (place / "runs/model/reports/index.html").read_bytes()
    done = robustcsc("report model --html nowhere/page.html")
    assert (done.code, done.out) == (2, "")
    assert "--html nowhere/page.html cannot be written to (there is no folder nowhere)" in done.err


def test_examples_are_made_once_and_shown_from_then_on(
    robustcsc: Command, place: Path, make_run: Callable[[str, str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("demo", "sdnet-digits")
    shown: list[Any] = []

    def write(report: Any, folder: Path, *, png: bool) -> ReportPaths:
        shown.append(report.examples)
        return write_report(report, folder, png=png)

    monkeypatch.setattr("robustcsc.session.reporting.write_report", write)
    assert robustcsc("evaluate --run demo --limit 20").code == 0
    for command in ("report demo", "report demo --examples 2", "report demo"):
        assert robustcsc(command).code == 0
    before, made, after = shown
    assert before == []
    assert made == after
    (sheet,) = made
    assert (sheet.subject.run, len(sheet.examples)) == ("demo", 2)
    assert sheet == read_examples(place / "runs/demo")


def test_a_refused_report_makes_no_examples(
    robustcsc: Command, make_run: Callable[[str, str], Run], contents: Callable[[], dict[str, bytes | None]]
) -> None:
    make_run("demo", "sdnet-digits")
    before = contents()
    for refused in ("report demo --examples 2", "report sdnet-digits --examples 2"):  # no results; no run
        done = robustcsc(refused)
        assert (done.code, done.out) == (2, "")
        assert contents() == before
    assert robustcsc("evaluate --run demo --limit 20").code == 0
    before = contents()
    assert robustcsc("report demo --baseline nowhere --examples 2").code == 2
    assert contents() == before


def test_examples_need_a_model(robustcsc: Command) -> None:
    store_run("model", 300, 100, ["fog"])
    done = robustcsc("report model --examples 2")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("paper", ["sdnet", "detrame", "res-msd-csc", "tddl"])
def test_one_record_fills_the_tables_of_a_paper_with_what_there_is(robustcsc: Command, place: Path, paper: str) -> None:
    store_run("model", 300, 100, [], model="sdnet18", policy=TrainingLambda())
    done = robustcsc(f"report model --paper {paper} --out made")
    assert done.code == 0, done.err
    assert "not measured" in done.out and "paper: " in done.out
    written = sorted(path.name for path in (place / "made/tables").glob(f"{paper}-table-*"))
    assert written and len(written) % 3 == 0


def test_another_paper_is_one_sentence(robustcsc: Command) -> None:
    store_run("model", 300, 100, [])
    done = robustcsc("report model --paper resnet")
    assert (done.code, done.out) == (2, "")
    assert "Unknown word 'resnet' of --paper" in done.err


def test_a_store_of_a_newer_version_is_one_sentence(robustcsc: Command) -> None:
    store_run("model", 300, 100, [])
    connection = sqlite3.connect(runs.find("model").store_path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    done = robustcsc("report model")
    assert (done.code, done.out) == (2, "")
    assert "was written by a newer robustcsc" in done.err and done.err.count("\n") == 1
    assert not (runs.find("model").folder / "reports").exists()


def test_names_are_escaped_in_every_form(robustcsc: Command, place: Path) -> None:
    store_run("model", 300, 100, ["fog"], model="a_b:<i>&50%|$x^2$")
    assert robustcsc("report model --baseline model --out made").code == 0
    (latex,), (markdown,) = (list((place / "made/tables").glob(f"relative-errors-*.{it}")) for it in ("tex", "md"))
    assert r"a\_b:\textless{}i\textgreater{}\&50\%\textbar{}\$x\textasciicircum{}2\$" in latex.read_text()
    assert r"a_b:&lt;i&gt;&amp;50%\|$x^2$" in markdown.read_text()


def test_a_run_without_results_is_one_sentence(robustcsc: Command) -> None:
    runs.create("empty")
    ResultStore(runs.find("empty").store_path).close()
    done = robustcsc("report empty")
    assert (done.code, done.out) == (2, "")
    assert "Run 'empty' has no results to report yet" in done.err
