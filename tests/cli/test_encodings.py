"""Terminals that are not of UTF-8: what they cannot show is replaced, and files are what they always are."""

import sys
from collections.abc import Callable, Iterable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from robustcsc.cli import main as cli_main
from robustcsc.runs import Run

MakeRun = Callable[[str, str], Run]
Typed = Callable[..., Any]

#: Neither Latin-1 nor ASCII has the letters; Latin-1 has the accent.
NAME = "модель-é"
COMMANDS = {
    "evaluate": "--run NAME --limit 5",
    "sweep": "--run NAME --limit 5 --corruptions gaussian_noise --severities 1",
    "attack": "--run NAME --limit 5 --steps 1 --protocols plain",
    "uap": "--run NAME --limit 5 --crafting-images 20 --passes 1 --seeds 1",
    "random-noise": "--run NAME --limit 5 --rho 0.1 --seeds 1",
    "fit-lambda": "--run NAME --limit 4 --grid 0.1,0.5",
    "report": "NAME",
    "leaderboard": "",
    "models": "",
    "corruptions": "",
    "data": "",
    "inspect atoms": "--run NAME",
    "inspect coding": "--run NAME --limit 5",
    "sweep --help": "",
}


@pytest.fixture
def run_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], tuple[int, bytes, bytes]]:
    """Runs a command on a terminal of some encoding; returns exit code and the bytes of both outputs."""

    def run(encoding: str, words: list[str]) -> tuple[int, bytes, bytes]:
        buffers = BytesIO(), BytesIO()
        out, err = (TextIOWrapper(buffer, encoding=encoding, write_through=True) for buffer in buffers)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            code = cli_main.main(words)
        return code, buffers[0].getvalue(), buffers[1].getvalue()

    return run


OnTerminal = Callable[[str, list[str]], tuple[int, bytes, bytes]]


@pytest.mark.parametrize(
    ("encoding", "commands"),
    [
        pytest.param("latin-1", COMMANDS, marks=pytest.mark.slow),
        ("latin-1", ("evaluate", "report", "leaderboard")),
        ("ascii", ("attack", "leaderboard", "sweep --help")),
    ],
)
def test_every_command_prints_on_every_terminal(
    encoding: str, commands: Iterable[str], few_digits: None, run_on: OnTerminal, make_run: MakeRun
) -> None:
    make_run(NAME, "sdnet-digits")
    accent = "é" if encoding == "latin-1" else "?"
    for command in commands:
        code, out, err = run_on(encoding, [*command.split(), *COMMANDS[command].replace("NAME", NAME).split()])
        told = out.decode(encoding) + err.decode(encoding)
        assert code == 0 and out, (command, told)
        assert "Traceback" not in told
        if command in ("evaluate", "sweep", "attack", "report"):
            assert f"??????-{accent}" in told, told
        if command == "attack":
            assert "Linf 8/255" in told


def test_files_are_utf_8_whatever_the_terminal_is(
    few_digits: None, run_on: OnTerminal, make_run: MakeRun, place: Path
) -> None:
    run = make_run(NAME, "sdnet-digits")
    assert run_on("ascii", ["attack", "--run", NAME, "--limit", "5", "--steps", "1", "--protocols", "plain"])[0] == 0
    assert run_on("ascii", ["report", NAME, "--html", "page.html"])[0] == 0
    for path in (run.folder / "results.csv", place / "page.html", *run.reports.rglob("*.md")):
        assert "?" * 6 not in path.read_text(encoding="utf-8")
    for path in (run.folder / "results.csv", place / "page.html"):
        assert NAME in path.read_text(encoding="utf-8")
    assert "L∞ 8/255" in (place / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", "'??????-é'"), ("ascii", "'??????-?'"), ("utf-8", NAME)])
def test_a_refusal_is_one_sentence_on_every_terminal(encoding: str, shown: str, run_on: OnTerminal) -> None:
    code, out, err = run_on(encoding, ["evaluate", "--run", NAME])
    assert (code, out) == (2, b"")
    sentence = err.decode(encoding)
    assert sentence.startswith("Error: No run ") and shown in sentence and sentence.count("\n") == 1


def test_an_error_handler_that_the_user_chose_is_kept(run_on: OnTerminal, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = BytesIO()
    monkeypatch.setattr(sys, "stderr", TextIOWrapper(buffer, "ascii", "xmlcharrefreplace", write_through=True))
    assert cli_main.main(["evaluate", "--run", "∞"]) == 2
    assert b"&#8734;" in buffer.getvalue()
