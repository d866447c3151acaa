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


def test_long_work_prints_one_line_per_interval(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 10.0, 29.9, 30.0, 59.0, 61.0])
    progress = console.ProgressLines(interval=30.0, clock=lambda: next(times))
    for done in range(1, 6):
        progress("sweep", done, 5)
    assert capsys.readouterr() == ("", "sweep: 3/5\nsweep: 5/5\n")


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


def test_a_bar_stands_for_each_unfinished_description() -> None:
    with Bars(console=Console(file=io.StringIO())) as bars:
        progress = console.ProgressBars(bars)
        progress("sweep", 1, 3)
        progress("[noise]", 2, 7)
        assert [(task.description, task.completed, task.total) for task in bars.tasks] == [
            ("sweep", 1, 3),
            ("[noise]", 2, 7),
        ]
        progress("[noise]", 7, 7)
        progress("sweep", 2, 3)
        assert [(task.description, task.completed) for task in bars.tasks] == [("sweep", 2)]
        progress("sweep", 3, 3)
        progress("never started", 1, 1)
        assert bars.tasks == []
