from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from robustcsc import runs
from robustcsc.cli import main as cli_main
from robustcsc.measurements.perturbations import Clean, Perturbation
from robustcsc.measurements.policies import NoLambda, Policy
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Measurement, Record, Subject
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.data.memory import MemoryImages


@pytest.fixture(autouse=True)
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes output the same on every machine: CI services set variables for colours and width."""
    for variable in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None, raising=False)  # read when it was imported


@cache
def all_commands() -> Any:
    """Returns the command line, built once: a process of its own builds it for one command, tests type thousands."""
    return typer.main.get_command(cli_main.app)


@pytest.fixture(autouse=True)
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main, "app", all_commands())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fresh directory the commands of a test run in."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def robustcsc(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line, typed as one text or as words, in `place`."""

    def run(*typed: str) -> Done:
        capsys.readouterr()
        words = typed[0].split() if len(typed) == 1 else typed
        code = cli_main.main(words)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def make_run(place: Path) -> Callable[[str, str], Run]:
    """Makes a run: the shipped SDNet, or any other model for digits with fresh weights."""
    import torch

    from robustcsc.models import checkpoint
    from robustcsc.models.catalog import build, default_spec

    def make(name: str, model: str) -> Run:
        run = runs.create(name)
        if model == "sdnet-digits":
            shipped = checkpoint.load_shipped(model)
            checkpoint.save(run.weights_path, shipped.spec, shipped.model, shipped.training)
            return run
        spec = default_spec(model, 10, (1, 8, 8))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            checkpoint.save(run.weights_path, spec, build(spec), {"data": "digits", "root": None})
        return run

    return make


def record_by_hand(
    model: str,
    met: int,
    total: int = 1000,
    *,
    name: str | None = None,
    perturbation: Perturbation | None = None,
    policy: Policy | None = None,
) -> Record:
    """Returns a record of a run called like its model, or `name`, on some photographs."""
    run = name or model
    return Record(
        measurement=Measurement(
            subject=Subject(run=run, model=model, weights=run),
            images=Images(dataset="photos", split="test", fingerprint="0123456789abcdef", count=total),
            perturbation=perturbation or Clean(),
            policy=policy or NoLambda(),
        ),
        met=met,
        total=total,
        provenance=Provenance(device="cpu", versions={}, seconds=1.0, created="2026-01-02T03:04:05+00:00"),
    )


@pytest.fixture
def contents(place: Path) -> Callable[[], dict[str, bytes | None]]:
    """Returns everything that lies in `place`: files with their bytes, folders with ``None``."""

    def look() -> dict[str, bytes | None]:
        return {
            path.relative_to(place).as_posix(): None if path.is_dir() else path.read_bytes()
            for path in sorted(place.rglob("*"))
        }

    return look


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves 20 test images of the digits and of the textures, and 40 and 60 training images."""
    from robustcsc.data.catalog import EMBEDDED

    for name in EMBEDDED:
        monkeypatch.setitem(EMBEDDED, name, partial(few, name))


@cache
def few(name: str, split: str) -> "MemoryImages":
    """Returns the first images of an embedded set, made once for all tests."""
    import torch

    from robustcsc.data.embedded import load_digits
    from robustcsc.data.textures import load_textures

    made = {"digits": load_digits, "textures": load_textures}[name](split)
    return made.subset(torch.arange(20 if split == "test" else {"digits": 40, "textures": 60}[name]))
