"""Refused means that nothing happened: bad inputs of every command, none of them known to the code by name.

Those that need no torch are tried together in one process that cannot import it.
"""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from PIL import Image

import robustcsc as rc
from robustcsc import runs
from robustcsc.cli import main as cli_main
from robustcsc.errors import RobustCSCError
from robustcsc.measurements.store import ResultStore
from robustcsc.models.catalog import build, default_spec
from tests.cli.bad_inputs import FAILING, OWN, WITH_TORCH, WITHOUT_TORCH


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, one with a result, and with what the bad inputs name."""
    from robustcsc.models import checkpoint

    place = tmp_path_factory.mktemp("template")
    (place / "own.py").write_text(OWN)
    (place / "notes.txt").write_text("not a folder")
    (place / "full").mkdir()
    (place / "full/thesis.tex").write_text("years of work")
    (place / "empty/run").mkdir(parents=True)
    Image.new("L", (8, 8), 9).save(place / "photo.png")
    for name, ending in (("images", ".png"), ("damaged", ".txt")):
        for label in range(10):
            (place / name / f"test/{label}").mkdir(parents=True)
            shutil.copyfile(
                place / f"{'photo' if ending == '.png' else 'notes'}{ending}", place / name / f"test/{label}/0.png"
            )
    linear = torch.nn.Linear(64, 10)
    plain = {f"head.{name}": value for name, value in linear.state_dict().items()}
    torch.save(plain, place / "plain.pth")
    shipped = checkpoint.load_shipped("sdnet-digits")
    for name in ("bare", "damaged", "sdnet"):
        (place / "runs" / name).mkdir(parents=True)
        checkpoint.save(place / "runs" / name / "weights.safetensors", shipped.spec, shipped.model, shipped.training)
    (place / "runs/damaged/results.sqlite").write_bytes(b"no database" * 100)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.syspath_prepend(place)
        patched.setattr(sys, "dont_write_bytecode", True)
        torch.save(build(default_spec("own:sparse", 10, (1, 8, 8))).state_dict(), place / "sparse.pth")
        del sys.modules["own"]
        assert cli_main.main(["evaluate", "--run", "sdnet", "--limit", "8"]) == 0
    return place


@pytest.fixture
def filled(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory: a copy of the template."""
    place = tmp_path / "place"
    shutil.copytree(template, place)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield place
    sys.modules.pop("own", None)


def everything(place: Path) -> dict[str, bytes | None]:
    """Returns all that lies in a folder: files with their bytes, folders with ``None``."""
    found = sorted(place.rglob("*"))
    return {path.relative_to(place).as_posix(): None if path.is_dir() else path.read_bytes() for path in found}


def assert_sentence(code: int, out: str, err: str, expected: str) -> None:
    """Asserts that a command was refused with one sentence at the end of its notes."""
    assert (code, out) == (2, ""), err
    *notes, sentence = err.splitlines()
    assert sentence.startswith("Error: "), err
    assert sentence.endswith((".", "?"))
    assert expected in sentence
    assert not any(line.startswith("Error") for line in notes)


ALL_WITHOUT_TORCH = """
import contextlib, io, json, os, shlex, shutil, sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.modules["torch"] = None
import typer
from robustcsc.cli import main as cli_main

cli_main.app = typer.main.get_command(cli_main.app)  # built once

def everything(place):
    return [(path.as_posix(), path.is_file() and path.read_bytes()) for path in sorted(Path(place).rglob("*"))]

template, scratch = sys.argv[1:]
answers = {}
for name, typed in json.load(sys.stdin).items():
    if not os.path.exists(scratch):
        shutil.copytree(template, scratch)
        before = everything(scratch)
    os.chdir(scratch)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli_main.main(shlex.split(typed))
        except Exception as error:
            code = repr(error)
    unchanged = everything(scratch) == before
    answers[name] = [code, out.getvalue(), err.getvalue(), unchanged]
    os.chdir("/")
    if not unchanged:
        shutil.rmtree(scratch)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def without_torch(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str, str, bool]]:
    """What the commands answer in a process that cannot import torch: code, output, errors, whether nothing changed."""
    scratch = tmp_path_factory.mktemp("scratch") / "place"
    done = subprocess.run(
        [sys.executable, "-c", ALL_WITHOUT_TORCH, str(template), str(scratch)],
        input=json.dumps({name: typed for name, (typed, _) in WITHOUT_TORCH.items()}),
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: tuple(answer) for name, answer in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_needs_no_torch_is_refused_before_it_is_imported(
    name: str, without_torch: dict[str, tuple[Any, str, str, bool]]
) -> None:
    code, out, err, unchanged = without_torch[name]
    assert_sentence(code, out, err, WITHOUT_TORCH[name][1])
    assert unchanged


@pytest.mark.parametrize(("typed", "expected"), WITH_TORCH.values(), ids=WITH_TORCH)
def test_what_is_refused_leaves_nothing_behind(
    typed: str, expected: str, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = list(enumerate(OWN.splitlines(), 1))
    at = {name: next(number for number, line in lines if words in line) for name, words in FAILING.items()}
    before = everything(filled)
    latest = runs.latest()
    code = cli_main.main(shlex.split(typed))
    assert_sentence(code, *capsys.readouterr(), expected.format(place=filled, **at))
    assert everything(filled) == before
    assert runs.latest() == latest


def test_a_refused_command_does_not_block_the_name_of_its_run(filled: Path) -> None:
    given = ["--weights", "plain.pth", "--data", "digits", "--limit", "4", "--run", "mine"]
    for model in ("own:Tuple", "own:Late", "own:Detached"):
        assert cli_main.main(["attack", "--steps", "1", "--model", model, *given]) == 2
        sys.modules.pop("own")
    assert cli_main.main(["attack", "--steps", "1", "--model", "own:Plain", *given]) == 0
    latest = runs.latest()
    assert latest is not None and latest.name == "mine"


def test_records_that_were_counted_before_an_error_are_kept(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model fails on images with many grey levels, which the digits get by noise."""
    source = OWN.replace("len(logits) > 2", "self.seen.unique().numel() > 130").replace(
        "return self.answer(self.head", "self.seen = images\n        return self.answer(self.head"
    )
    (filled / "own.py").write_text(source)
    typed = "--model own:Late --weights plain.pth --data digits --limit 9"
    assert cli_main.main(f"sweep --corruptions gaussian_noise {typed}".split()) == 2
    assert "LookupError: no table" in capsys.readouterr().err
    assert cli_main.main(f"evaluate {typed} --json".split()) == 0
    (clean,) = json.loads(capsys.readouterr().out)
    assert clean["total"] == 9
    with ResultStore(filled / "runs/own-Late/results.sqlite", read_only=True) as store:
        (kept,) = store.records()
    assert kept.provenance.created == clean["created"]


@pytest.mark.parametrize("at", range(4))
def test_debug_stands_anywhere_and_shows_the_way_to_the_sentence(
    at: int, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["evaluate", "--model", "own:Late", "--weights", "plain.pth", "--data", "digits"]
    assert cli_main.main(typed) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert cli_main.main([*typed[: 2 * at], "--debug", *typed[2 * at :]][:9]) == 2
    first, *traceback, last = capsys.readouterr().err.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", sentence)
    assert traceback[-1] == "LookupError: no table for so many images"
    assert any("session.py" in line for line in traceback)


@pytest.mark.parametrize("typed", ["evaluate --run nowhere", "report --html full", "train sdnet-digits --run .a"])
def test_debug_shows_the_traceback_of_every_sentence(
    typed: str, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main([*typed.split(), "--debug"]) == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("Error: ")


UNWRITABLE = (
    "evaluate --run sdnet",
    "sweep --run sdnet",
    "fit-lambda --run sdnet",
    "attack --run sdnet",
    "uap --run sdnet",
    "random-noise --run sdnet",
    "train sdnet-digits --run new",
    "train sdnet-digits",
    "quickstart",
    "evaluate --model own:Plain --weights plain.pth --data digits",
    "report sdnet --out locked/out",
    "report sdnet --html locked/page.html",
    "leaderboard --out locked/out",
    "inspect atoms --run sdnet --out locked/out",
    "data corrupt --data digits --out locked/out",
    "corruptions --preview photo.png --out locked/a.png",
    "attack --run sdnet --protocols plain --save locked/a",
)


@pytest.mark.parametrize("typed", UNWRITABLE)
def test_a_place_that_cannot_be_written_to_is_told_before_any_work(
    typed: str, filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (filled / "locked").mkdir()
    locked = [filled / "locked", *(filled / "runs").iterdir(), filled / "runs"]

    def refusing(*, dir: Path) -> NoReturn:
        assert dir.absolute() in locked, "another place was tried"
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr("robustcsc.files.tempfile.TemporaryFile", refusing)
    monkeypatch.setattr("robustcsc.data.catalog.load", None)  # no image is read
    monkeypatch.setattr("robustcsc.models.checkpoint.load", None)  # and no model
    before = everything(filled)
    assert_sentence(cli_main.main(typed.split()), *capsys.readouterr(), "cannot be written to (Permission denied)")
    assert everything(filled) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where nobody can make a file")
@pytest.mark.parametrize("typed", ["report sdnet --html /proc/page.html", "inspect atoms --run sdnet --out /proc/a/b"])
def test_a_file_system_that_takes_no_files_is_told(
    typed: str, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_sentence(cli_main.main(typed.split()), *capsys.readouterr(), "cannot be written to (")


@pytest.mark.parametrize("typed", ["evaluate --run sdnet", "fit-lambda --run sdnet"])
def test_a_session_tells_an_unwritable_run_before_it_reads_images(
    typed: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = rc.open("sdnet")
    shutil.rmtree(filled / "runs/sdnet")
    (filled / "runs/sdnet").write_text("in the way")
    monkeypatch.setattr(type(session), "images", None)
    with pytest.raises(RobustCSCError, match=r"The run folder runs/sdnet cannot be written to \(runs/sdnet is a file"):
        session.evaluate() if typed.startswith("evaluate") else session.fit_lambda()
