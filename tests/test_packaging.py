"""The wheel holds one package, complete, that runs outside the checkout; the command line starts fast."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from robustcsc import __version__

ROOT = Path(__file__).parents[1]
SOURCES = ("robustcsc", "cli", "corruption_specs", "pyproject.toml", "README.md", "LICENSE")
HEAVY = {"torch", "pandas", "sklearn", "matplotlib"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing old in the checkout can slip in."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(checkout / "dist")]
    done = subprocess.run([*build, str(checkout)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (checkout / "dist").iterdir()
    return built


def test_wheel_claims_one_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {PurePosixPath(name).parts[0] for name in archive.namelist()}
        listed = archive.read(f"robustcsc-{__version__}.dist-info/top_level.txt").decode().split()
    assert tops == {"robustcsc", f"robustcsc-{__version__}.dist-info"}
    assert listed == ["robustcsc"]


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """All code, tables, pages and weights of the checkout are in the wheel: none is forgotten by name."""
    expected = set()
    for folder, package in (("robustcsc", "robustcsc"), ("cli", "robustcsc/cli"),
                            ("corruption_specs", "robustcsc/corruption_specs")):  # fmt: skip
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                expected.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("robustcsc/")}
    assert packed == expected
    assert {
        "robustcsc/py.typed", "robustcsc/cli/main.py", "robustcsc/corruption_specs/cifar10_c.toml"
    } <= packed  # fmt: skip


def test_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        str(target),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    coloured = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")  # typer writes escape codes if one is set
    environment = {name: value for name, value in os.environ.items() if name not in coloured}
    environment["PYTHONPATH"] = str(target)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=True).stdout

    where = (
        "import importlib.resources as r, robustcsc, robustcsc.cli.main as m\n"
        "print(robustcsc.__file__, m.__file__, r.files('robustcsc.corruption_specs'), sep='\\n')"
    )
    paths = [Path(line) for line in run("-c", where).splitlines()]
    assert len(paths) == 3
    assert all(path.is_relative_to(target) for path in paths), paths
    assert "Usage: robustcsc" in run("-m", "robustcsc.cli.main", "--help")
    assert run(str(target / "bin" / "robustcsc"), "--version").strip() == f"robustcsc {__version__}"


def test_help_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "robustcsc.cli.main", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded & HEAVY == set()
