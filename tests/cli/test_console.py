import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from robustcsc.cli import console


@dataclass
class Cell:
    path: Path
    values: tuple[float, ...]


def test_json_keeps_values_and_writes_nan_as_null(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json(
        {
            "cell": Cell(Path("a/b"), (0.1, math.nan, math.inf)),
            3: [None, True, "√"],
            "n": np.int64(7),
            "x": np.float32(0.5),
        }
    )
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) == {
        "cell": {"path": "a/b", "values": [0.1, None, None]}, "3": [None, True, "√"], "n": 7, "x": 0.5,
    }  # fmt: skip
    assert err == ""


def test_json_refuses_what_it_would_have_to_guess() -> None:
    with pytest.raises(TypeError, match="set cannot be written as JSON"):
        console.print_json({"names": {"a", "b"}})


@pytest.mark.parametrize("text", ["run [red]7[/red] :smile: in [0, 1]", "a\tb", "/a/long/path " * 30])
def test_results_go_to_standard_output_as_they_are(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    console.print_line(text)
    assert capsys.readouterr() == (f"{text}\n", "")
    console.print_title(text.strip().replace("\t", " "))
    assert capsys.readouterr() == (f"{text.strip()}\n".replace("\t", " "), "")


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("80", 80), ("300", 300)])
def test_tables_take_120_columns_of_a_file_unless_told_otherwise(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert console.results_width() == width


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("No run yet: using digits.")
    assert capsys.readouterr() == ("", "No run yet: using digits.\n")


def test_short_work_prints_no_progress_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_display() as progress:
        for done in range(1, 4):
            progress("gaussian_noise", done, 3)
    assert capsys.readouterr() == ("", "")


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_long_work_prints_one_line_per_interval_with_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = console.ProgressLines(interval=30.0, clock=clock)
    for clock.now, done in ((0.0, 1), (29.9, 20), (30.0, 21), (59.0, 30), (61.0, 61), (70.0, 100)):
        progress("fog 3", done, 101)
    # 20 of 101 took 30 s, so the other 80 take 120 s; 60 took 61 s, so 40 take 41 s.
    assert capsys.readouterr() == ("", "21 %, 2 min left, fog 3\n60 %, 41 s left, fog 3\n")


def test_what_is_found_in_the_run_does_not_count_as_fast_work() -> None:
    clock = Clock()
    pace = console.Pace(clock)
    assert pace.words(60, 100) == ""  # the first that was measured, after 60 that were there
    clock.now = 3600.0
    assert pace.words(70, 100) == "3.0 h left"


def test_work_that_begins_anew_does_not_go_back_and_other_work_does() -> None:
    clock = Clock()
    pace = console.Pace(clock)
    for clock.now, done, share in ((0.0, 10, 0.1), (10.0, 50, 0.5), (11.0, 20, 0.5), (20.0, 100, 1.0), (21.0, 5, 0.05)):
        pace.words(done, 100)
        assert pace.share == share
    clock.now = 31.0
    assert pace.words(10, 100) == "3 min left"  # 5 % in 10 s


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {}, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: set, but not empty
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_bars_need_a_terminal_that_may_be_redrawn(
    is_terminal: bool, environment: dict[str, str], expected: bool
) -> None:
    assert console._draws_bars(is_terminal, environment) is expected


def test_on_a_terminal_bars_go_to_standard_error_and_results_stay_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_draws_bars", lambda *_: True)
    with console.progress_display() as progress:
        progress("sweep", 1, 3)
        sys.stdout.write("a result\n")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert "a result" not in err


def test_one_bar_stands_for_the_whole() -> None:
    clock = Clock()
    with Bars(console=Console(file=io.StringIO())) as bars:
        progress = console.ProgressBar(bars, console.Pace(clock))
        for clock.now, description, done in ((0.0, "clean", 1), (10.0, "[noise]", 2), (20.0, "fog", 3)):
            progress(description, done, 4)
            (task,) = bars.tasks
        assert (task.description, task.completed, task.total) == ("10 s left, fog", 0.75, 1.0)
        progress("fog", 4, 4)
        assert [task.percentage for task in bars.tasks] == [100.0]


def test_notes_fit_the_terminal_and_paths_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.note("word " * 100)
    assert capsys.readouterr().err == "word " * 100 + "\n"  # whole for programs
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    path = "/home/me/my runs/" + "a folder with blanks/" * 6 + "results.csv"
    console.note("      " + "word " * 30 + f"8/255 word: {path}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"      {path}" and all(line.startswith("      word") for line in lines[:-1])
    assert [len(line) <= 120 for line in lines[:-1]] == [True, True]
    assert sum(line.count("word") for line in lines) == 31 and "8/255 word:" in lines[1]
    monkeypatch.setenv("COLUMNS", "80")
    console.note("Unknown word: choose one of " + ", ".join(f"word{number}" for number in range(40)) + ".\n")
    *lines, last = capsys.readouterr().err.splitlines()
    assert last == "" and len(lines) > 3 and max(map(len, lines)) <= 80
