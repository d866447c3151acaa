"""What commands print on a terminal of 80 columns, into a pipe, and as tab-separated values."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn")

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

#: Commands that print tables, on few images: those that print something first.
FEW = (
    "sweep --run sdnet --limit 5 --corruptions contrast,fog --severities 1,5",
    "report sdnet",
    "leaderboard",
    "models",
    "corruptions",
    "data",
)
MORE = (
    "evaluate --run sdnet --limit 5",
    "fit-lambda --run sdnet --limit 6 --grid 0.1,0.5 --noise gaussian,shot",
    "sweep --run sdnet --limit 5 --corruptions noise,contrast --severities 1,5",
    "attack --run sdnet --limit 5 --steps 1",
    "attack --run sdnet --limit 5 --attack fgsm,pgd:steps=2 --protocols plain",
    "attack --run sdnet --limit 5 --steps 1 --protocols plain --min-epsilon",
    "uap --run sdnet --limit 5 --crafting-images 20 --passes 1 --seeds 1",
    "random-noise --run sdnet --limit 5 --rho 0.1 --seeds 2",
    "report sdnet",
    "leaderboard",
    "inspect atoms --run sdnet",
    "inspect coding --run sdnet --limit 5",
    "inspect codes --run sdnet --limit 5",
    "inspect residuals --run sdnet --limit 5 --severities 1,5",
)


def columns_of(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("commands", [FEW, pytest.param(MORE, marks=pytest.mark.slow)])
def test_every_table_fits_80_columns_and_a_pipe_of_120(
    commands: tuple[str, ...], few_digits: None, robustcsc: Command, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("sdnet", "sdnet-digits")
    for typed in commands:
        piped = robustcsc(typed)
        assert piped.code == 0, piped.err
        with monkeypatch.context() as narrow:
            narrow.setenv("COLUMNS", "80")
            shown = robustcsc(typed)
        for done, width in ((shown, 80), (piped, 120)):
            assert 0 < columns_of(done.out) <= width, (typed, max(done.out.splitlines(), key=len))
            assert "…" not in done.out
            assert done.out.isascii() or not set(done.out) & set("─━│┃┏┡\x1b")
        assert len({*piped.err.splitlines()}) == len(piped.err.splitlines()), piped.err


def test_tabs_hold_the_numbers_of_the_table_in_full(few_digits: None, robustcsc: Command, make_run: MakeRun) -> None:
    make_run("sdnet", "sdnet-digits")
    done = robustcsc("--tsv sweep --run sdnet --limit 7 --corruptions contrast --severities 1,5")
    lines = done.out.splitlines()
    assert [line for line in lines if line.startswith("# digits test, 7 images")]
    (row,) = csv.DictReader((line for line in lines if line and not line.startswith("#")), delimiter="\t")
    assert (row["model"], row["clean (%)"], row["clean n"]) == ("sdnet", "100.0", "7")
    assert float(row["clean low (%)"]) == pytest.approx(64.57, abs=0.01)
    assert robustcsc("sweep --run sdnet --limit 7 --corruptions contrast --severities 1,5 --tsv").out == done.out
    assert "\t" not in robustcsc("evaluate --run sdnet --limit 7").out


def test_tabs_and_json_exclude_each_other(robustcsc: Command) -> None:
    done = robustcsc("models --json --tsv")
    assert (done.code, done.err) == (2, "Error: --tsv and --json exclude each other: choose one.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_on_a_terminal_titles_are_bold_and_lines_fit_it(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, "-m", "robustcsc.cli.main", "data"], stdin=theirs, stdout=theirs, env=environment, cwd=tmp_path
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
    os.close(ours)
    title, *lines = shown.decode().splitlines()
    assert title == "\x1b[1mData sets\x1b[0m"
    assert "cifar10" in "".join(lines)
    assert 40 < max(map(len, lines)) <= 60
