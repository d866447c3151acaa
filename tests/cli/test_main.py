import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from robustcsc import __version__
from robustcsc.cli import main as cli_main
from robustcsc.errors import AttackError, DataError, RobustCSCError, UnknownNameError
from robustcsc.models.shipped import SHIPPED


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, more: Sequence[str] = ()) -> int:
    """Runs a command that raises the error and returns the exit code of the whole program."""
    app = typer.Typer(pretty_exceptions_enable=False)

    package: dict[str, Any] = {
        "__package__": "robustcsc.cli",
        "error": error,
    }  # an error in this file would be one of a user's code
    exec("def measure() -> None:\n    raise error", package)
    app.command("measure")(package["measure"])

    @app.command("other")
    def other() -> None:
        """Second command, so that typer makes a group."""

    monkeypatch.setattr(cli_main, "app", app)
    code: int = cli_main.main(["measure", *more])
    return code


@pytest.mark.parametrize(
    "error",
    [
        RobustCSCError("It is wrong: put it right."),
        DataError("It is wrong: put it right."),
        AttackError("It is wrong: put it right."),
    ],
)
def test_user_error_is_one_sentence_and_code_2(
    error: RobustCSCError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(error, monkeypatch) == 2
    assert capsys.readouterr() == ("", "Error: It is wrong: put it right.\n")


def test_unknown_name_suggests_the_close_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(UnknownNameError("model", "sdnet81", ["sdnet18", "resnet18"]), monkeypatch) == 2
    assert capsys.readouterr().err == "Error: Unknown model 'sdnet81': did you mean 'sdnet18'?\n"


def test_ctrl_c_in_a_command_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr() == ("", "Interrupted; what was finished is kept.\n")


def test_ctrl_c_outside_a_command_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main, "app", interrupted)
    assert cli_main.main([]) == 130
    assert capsys.readouterr().err == "Interrupted; what was finished is kept.\n"


@pytest.mark.parametrize(
    ("number", "beginning"),
    [
        (errno.ENOSPC, "Error: No space is left on the disk (runs/a/results.sqlite): "),
        (errno.EROFS, "Error: The file system is read-only (runs/a/results.sqlite): "),
        (errno.EACCES, "Error: Permission is missing (runs/a/results.sqlite): "),
    ],
)
def test_full_or_protected_disk_is_one_sentence_and_code_2(
    number: int, beginning: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "runs/a/results.sqlite")
    assert run_raising(error, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(beginning)
    assert err.count("\n") == 1


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_the_traceback_behind_a_sentence_is_shown_if_it_is_wanted(
    debug: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = DataError("It is wrong: put it right.")
    error.__cause__ = KeyError("the reason")
    assert run_raising(error, monkeypatch, debug) == 2
    *traceback, sentence = capsys.readouterr().err.splitlines()
    assert sentence == "Error: It is wrong: put it right."
    assert traceback[:1] == (["KeyError: 'the reason'"] if debug else [])
    assert traceback[-1:] == (["robustcsc.errors.DataError: It is wrong: put it right."] if debug else [])


def user_code(source: str, file: str) -> dict[str, Any]:
    """Runs the source of a file of a user's own."""
    names: dict[str, Any] = {"__package__": ""}
    exec(compile(source, file, "exec"), names)
    return names


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("net.py", "Code outside of robustcsc failed: KeyError: 'x' (net.py, line 2); --debug shows"),
        ("/home/me/robustcsc/net.py", "KeyError: 'x' (/home/me/robustcsc/net.py, line 2)"),
        ("/opt/venv/lib/python3.11/site-packages/zoo/net.py", None),
        (f"{os.path.dirname(os.__file__)}/json/net.py", None),
        ("<string>", None),
    ],
)
def test_an_error_in_code_of_the_users_own_is_a_sentence_with_its_line(
    file: str, expected: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        user_code("def net():\n    return {}['x']", file)["net"]()
    except KeyError as found:
        assert found.__traceback__ is not None
        error = found.with_traceback(found.__traceback__.tb_next)  # without this test
    if expected is None:
        assert run_raising(error, monkeypatch) == 70
        return
    assert run_raising(error, monkeypatch) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert expected in sentence


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), OSError(errno.EBADF, "a closed file")])
def test_a_defect_is_a_sentence_with_its_command_and_code_70(
    error: Exception, debug: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli_main.COMMANDS, "measure", ("", ""))
    assert run_raising(error, monkeypatch, debug) == 70
    *traceback, sentence = capsys.readouterr().err.splitlines()
    place = f"{type(error).__name__}: {error} (<string>, line 2), a fault of robustcsc or of a package it uses"
    assert sentence.startswith(f"Error: robustcsc measure failed with {place} and not of what you typed: ")
    assert traceback[-1:] == ([f"{type(error).__name__}: {error}"] if debug else [])


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-option"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert arguments[0] in err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_goes_to_standard_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Usage: robustcsc" in out
    assert err == ""


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main([]) in (0, 2)  # typer changed its mind about this code
    assert "Usage: robustcsc" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"robustcsc {__version__}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_results_that_do_not_fit_on_the_disk_are_reported() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "robustcsc.cli.main", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No space is left on the disk: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_stops_reading_causes_no_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "robustcsc.cli.main", "--version"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


TENSORS = ("torch", "numpy", "scipy", "pandas", "matplotlib", "sklearn", "PIL")


def loaded(typed: str, folder: Path, blocked: Sequence[str]) -> tuple[int, set[str]]:
    """Returns the exit code of a command that cannot import what is blocked, and the modules it has imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import robustcsc.cli.main as m\n"
        f"code = m.main({typed.split()}); print(code, *(name for name, it in sys.modules.items() if it))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout, done.stderr
    code, *modules = done.stdout.splitlines()[-1].split()
    return int(code), {*modules}


@pytest.mark.parametrize("typed", ["models", "data", "corruptions", "corruptions imagenet_c", "models --json"])
def test_lists_need_no_tensors_frames_figures_or_results(typed: str, tmp_path: Path) -> None:
    code, modules = loaded(typed, tmp_path, (*TENSORS, "sqlite3", "rich.console"))
    assert code == 0
    module = typed.split()[0]
    assert [name for name in modules if name.startswith("robustcsc.cli.commands.")] == [
        f"robustcsc.cli.commands.{module}"
    ]
    assert len(modules) < 450  # of them 300 of typer


#: Runs commands one after another in a process that cannot import what is blocked: it says of each its exit code, what
#: it printed, and whether anything had imported what prints tables.
ALL_WITHOUT = """
import contextlib, io, json, os, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
import robustcsc.cli.main as m

answers = {}
for name, (words, environment) in json.load(sys.stdin).items():
    os.environ.update(environment)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = m.main(words)
        except (Exception, SystemExit) as error:
            code = repr(error)
    answers[name] = (code, out.getvalue(), "rich.console" in sys.modules)
print(json.dumps(answers))
"""

Answers = dict[str, tuple[int | str, str, bool]]


def all_without(blocked: Sequence[str], commands: dict[str, tuple[list[str], dict[str, str]]], folder: Path) -> Answers:
    """Returns what `ALL_WITHOUT` says of commands, which are words and variables of the environment."""
    done = subprocess.run(
        [sys.executable, "-c", ALL_WITHOUT, *blocked],
        input=json.dumps(commands),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return {name: tuple(answer) for name, answer in json.loads(done.stdout).items()}


MISTAKES = (
    "attack --run nowhere",
    "attack --attack pgf",
    "attack --suite pper",
    "attack --pgd linf --epsilon -1",
    "sweep --lambda adaptve",
    "sweep --data cifra10",
    "sweep --corruptions gausian",
    "sweep --spec cifar",
    "sweep --model sdnet19 --weights a.safetensors",
    "fit-lambda --noise gausian",
    "train sdnet19",
    "train sdnet-digits --data digit",
    "uap --delta 2",
    "uap --xi -1",
    "uap --norm l2 --xi 10000",
    "uap --protocols statc",
    "random-noise --rho -0.1",
    "random-noise --rho x",
    "data corrupt --data cifra10 --out here",
    "data corrupt --data digits --corruptions gausian --out here",
    "inspect reconstruction --corruption gausian",
    "inspect residuals --corruptions gausian",
    "inspect codes --run nowhere",
    "report nowhere",
    "run nowhere.toml",
    "compare nowhere elsewhere",
)


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return all_without(TENSORS, {typed: (typed.split(), {}) for typed in MISTAKES}, tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_told_without_tensors(typed: str, mistakes: Answers) -> None:
    assert mistakes[typed] == (2, "", False)


COMPLETED: dict[str, list[str]] = {
    "evaluate --run ": ["mine", *SHIPPED],
    "report mi": ["mine"],
    "train sdnet-dig": ["sdnet-digits"],
    "evaluate --model resnet1": ["resnet18", "resnet110", "resnet164"],
    "sweep --data cifar": ["cifar10", "cifar100"],
    "sweep --corruptions fog,g": ["fog,glass_blur", "fog,gaussian_noise", "fog,gaussian_blur"],
    "attack --attack pgd,ap": ["pgd,apgd", "pgd,apgd-t"],
    "sweep --lambda train,o": ["train,oracle"],
}


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("completed")
    (folder / "runs/mine").mkdir(parents=True)
    typing = {
        typed: {
            "_ROBUSTCSC_COMPLETE": "complete_bash",
            "COMP_WORDS": f"robustcsc {typed}",
            "COMP_CWORD": str(len(typed.split(" "))),
        }
        for typed in COMPLETED
    }
    return all_without(["torch"], {typed: ([], variables) for typed, variables in typing.items()}, folder)


@pytest.mark.parametrize(("typed", "words"), COMPLETED.items())
def test_a_shell_completes_what_can_be_typed_without_torch(typed: str, words: list[str], completed: Answers) -> None:
    code, printed, _ = completed[typed]
    assert sorted(printed.split()) == sorted(words), code
