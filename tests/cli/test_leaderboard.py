"""`robustcsc leaderboard`, on results that were written by hand."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc import runs
from robustcsc.measurements.store import SCHEMA_VERSION, ResultStore
from tests.cli.conftest import record_by_hand

Command = Callable[..., Any]


def store_run(name: str, correct: int, model: str | None = None) -> None:
    with ResultStore(runs.create(name).store_path) as store:
        store.add(record_by_hand(model or name, correct, 100, name=name))


@pytest.fixture
def three(place: Path) -> None:
    """Two runs with results; one of another version, one that is damaged, one without results."""
    store_run("good", 90)
    store_run("better", 95)
    store_run("newer", 99)
    connection = sqlite3.connect(runs.find("newer").store_path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    runs.create("damaged").store_path.write_text("no store" * 200)
    runs.create("empty")


@pytest.mark.usefixtures("three")
def test_runs_are_ranked_and_unreadable_ones_named_in_one_sentence(robustcsc: Command) -> None:
    done = robustcsc("leaderboard")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["1"], ["2"])] == [["1", "better"], ["2", "good"]]
    assert done.err.count("\n") == 1
    assert done.err.startswith("Left out: damaged (runs/damaged/results.sqlite is damaged or no result store")
    assert "empty (no results yet)" in done.err and "written by a newer robustcsc" in done.err
    assert "99.00" not in done.out


@pytest.mark.usefixtures("three")
def test_runs_that_were_named_are_ranked_alone(robustcsc: Command) -> None:
    def ranked(typed: str) -> list[str]:
        (table,) = json.loads(robustcsc(f"leaderboard {typed} --json").out)["tables"]
        return [row["model"] for row in table["rows"]]

    assert ranked("--run good") == ["good"]
    assert ranked("runs --run good --run better --run good") == ["better", "good"]
    assert "Left out: empty (no results yet)." in robustcsc("leaderboard --run good --run empty").err
    refused = robustcsc("leaderboard --run goood")
    assert (refused.code, refused.out) == (2, "") and "did you mean 'good'?" in refused.err


@pytest.mark.usefixtures("three")
def test_json_and_files_say_the_same(robustcsc: Command, place: Path) -> None:
    done = robustcsc("leaderboard runs --by clean --json --out ranking")
    told = json.loads(done.out)
    (table,) = told["tables"]
    assert [(row["rank"], row["model"], row["cells"]["clean"]["mean"]) for row in table["rows"]] == [
        (1, "better", 0.95),
        (2, "good", 0.9),
    ]
    assert set(told["left_out"]) == {"damaged", "empty", "newer"}
    assert sorted(Path(file).suffix for file in told["files"]) == [".csv", ".md", ".tex"]
    (file,) = (place / "ranking").glob("*.csv")
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["rank"], row["model"], row["clean (%)"], row["clean n"]) for row in rows] == [
        ("1", "better", "95.0", "100"),
        ("2", "good", "90.0", "100"),
    ]
    assert robustcsc("leaderboard --out ranking").code == 0  # again over the same files


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("leaderboard", "There are no runs in runs"),
        ("leaderboard nowhere", "There are no runs in nowhere"),
        ("leaderboard file", "The folder of runs file cannot be read"),
    ],
)
def test_nothing_to_rank_is_one_sentence(robustcsc: Command, place: Path, typed: str, sentence: str) -> None:
    (place / "file").write_text("")
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err and done.err.count("\n") == 1


def test_a_folder_of_empty_runs_is_one_sentence(robustcsc: Command) -> None:
    runs.create("empty")
    done = robustcsc("leaderboard")
    assert (done.code, done.err) == (2, "Error: No run in runs has results to rank: empty (no results yet).\n")


def test_a_folder_that_cannot_be_written_is_one_sentence(robustcsc: Command, place: Path) -> None:
    store_run("good", 90)
    (place / "file").write_text("")
    done = robustcsc("leaderboard --out file")
    assert (done.code, done.out) == (2, "")
    assert "--out file cannot be written to (file is a file)" in done.err


def test_names_are_escaped_in_the_files(robustcsc: Command, place: Path) -> None:
    store_run("good", 90, model="a_b:<i>&50%|$x^2$")
    assert robustcsc("leaderboard --out ranking").code == 0
    latex, markdown = ((place / "ranking").glob(pattern) for pattern in ("*.tex", "*.md"))
    assert r"a\_b:\textless{}i\textgreater{}\&50\%\textbar{}\$x\textasciicircum{}2\$" in next(latex).read_text()
    assert r"a_b:&lt;i&gt;&amp;50%\|$x^2$" in next(markdown).read_text()


def test_the_training_of_a_shipped_model_is_known(few_digits: None, robustcsc: Command, place: Path) -> None:
    assert robustcsc("evaluate --run sdnet-digits").code == 0
    (board,) = json.loads(robustcsc("leaderboard --json").out)["tables"]
    assert board["rows"][0]["training"].startswith("1,167 images of digits, 20 epochs")
