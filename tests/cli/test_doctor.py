"""`robustcsc doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_a_sound_installation_is_told_in_80_columns(robustcsc: Command, place: Path) -> None:
    done = robustcsc("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("robustcsc works; ")
    assert [line for line in lines if len(line) > 80 and "/" not in line] == []  # paths may be longer
    assert ["torch", metadata.version("torch")] in [line.split() for line in lines]
    assert [line.split()[1] for line in lines if line.startswith("  runs ")] == [str(place / "runs")]


def test_problems_come_first_and_do_not_fail(robustcsc: Command, place: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ROBUSTCSC_DATA", "nowhere")
    done = robustcsc("doctor")
    assert done.code == 0
    lines = done.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "ROBUSTCSC_DATA names nowhere" in line)
    assert lines[at][:2] in ("1.", "2.", "3.")
    assert lines[at + 1].startswith("   ")  # the rest of the sentence is below its words
    assert at < lines.index("System")


def test_the_cache_has_its_place(robustcsc: Command, place: Path, monkeypatch: Any) -> None:
    assert "  cache                     nothing is kept" in robustcsc("doctor").out.splitlines()
    monkeypatch.setenv("ROBUSTCSC_CACHE", "/kept")
    words = " ".join(robustcsc("doctor").out.split())
    assert "cache /kept/robustcsc (0.0 MiB, may be deleted)" in words
    assert "ROBUSTCSC_CACHE /kept" in words


def test_engines_are_told(robustcsc: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr("robustcsc.session.installation.version", lambda name: "2.60.0" if name == "ray" else "1")
    monkeypatch.setattr("robustcsc.session.diagnosis._cpus", lambda: 64)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    words = " ".join(robustcsc("doctor").out.split())
    assert "engines this machine, in one process or several (--workers 2 to 64); Ray 2.60.0 (--engine ray)" in words
    assert "RAY_ADDRESS 10.0.0.1:6379" in words
    monkeypatch.setattr("robustcsc.session.installation.version", lambda name: None if name == "ray" else "1")
    assert "no Ray: pip install 'robustcsc[ray]'" in " ".join(robustcsc("doctor").out.split())


def test_json_holds_the_facts(robustcsc: Command, place: Path) -> None:
    (place / "runs").write_text("a file")
    done = robustcsc("doctor --json")
    assert (done.code, done.err) == (2, "")
    found = json.loads(done.out)
    assert [problem["stops"] for problem in found["problems"]][:1] == [True]
    assert found["packages"]["torch"] == metadata.version("torch")
    assert (found["run_count"], found["latest"], found["data"]) == (0, None, None)
    assert found["free"] > 0


def test_it_works_where_torch_does_not(place: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from robustcsc.cli.main import main; sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    words = " ".join(done.stdout.split())
    assert words.startswith("robustcsc does not work; ")
    assert (
        "1. torch cannot be imported (ModuleNotFoundError: import of torch halted; None in sys.modules): type" in words
    )
    assert "pip install --force-reinstall torch torchvision." in words
