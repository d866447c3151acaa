"""What `robustcsc doctor` finds, each fault made by hand."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import robustcsc as rc
from robustcsc import runs
from robustcsc.measurements.records import Location
from robustcsc.runs import Run
from robustcsc.session import diagnosis, installation
from robustcsc.session.diagnosis import Compute, Gpu, diagnose

Install = Callable[[dict[str, tuple[str, list[str]]]], None]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lets packages be installed that a test makes up: their versions and requirements."""

    def pretend(packages: dict[str, tuple[str, list[str]]]) -> None:
        def version(name: str) -> str:
            if name not in packages:
                raise metadata.PackageNotFoundError(name)
            return packages[name][0]

        monkeypatch.setattr("robustcsc.session.installation.metadata.version", version)
        monkeypatch.setattr("robustcsc.session.installation.metadata.requires", lambda name: packages[name][1])

    return pretend


def sentences() -> list[str]:
    return [problem.sentence for problem in installation.unmet_requirements()]


def test_a_pin_of_something_that_is_not_used_is_harmless(install: Install) -> None:
    packages = {"robustcsc": ("0.1.0", ["torchattacks>=3.5.1"]), "torchattacks": ("3.5.1", ["requests (~=2.25.1)"])}
    asks = "torchattacks 3.5.1 asks for requests~=2.25.1, and "
    harmless = ": robustcsc works with any version of requests, or none, so keep yours."
    install(packages)
    assert sentences() == [f"{asks}it is not installed{harmless}"]
    install({**packages, "requests": ("2.34.2", [])})
    assert sentences() == [f"{asks}requests 2.34.2 is installed{harmless}"]
    install({**packages, "requests": ("2.25.1", [])})
    assert sentences() == []


def test_versions_that_do_not_match_are_told_with_what_to_type(install: Install) -> None:
    install(
        {
            "robustcsc": ("0.1.0", ["torch>=2.11", "torchvision", 'ruff; extra == "dev"', 'x; python_version < "3"']),
            "torch": ("2.12.0+cu130", ["numpy", "torchvision"]),
            "torchvision": ("0.26.0", ["torch (==2.11.0)", "pillow!=8.3.*,>=5.3"]),
            "pillow": ("13.0.0", []),
        }
    )
    assert sentences() == [
        "torch 2.12.0+cu130 asks for numpy, and it is not installed: type pip install 'numpy'.",
        "torchvision 0.26.0 asks for torch==2.11.0, and torch 2.12.0+cu130 is installed: "
        "type pip install 'torch==2.11.0'.",
    ]


def test_builds_of_a_version_count_as_the_version(install: Install) -> None:
    install({"robustcsc": ("0.1.0", ["torch==2.11.0", "safetensors>=0.5"]), "torch": ("2.11.0+cpu", [])})
    assert sentences() == [
        "robustcsc 0.1.0 asks for safetensors>=0.5, and it is not installed: type pip install 'safetensors>=0.5'."
    ]


def test_a_source_tree_that_is_not_installed_is_told(install: Install) -> None:
    install({})
    assert sentences() == [
        "robustcsc itself is not installed here, so its requirements are not known: type pip install ."
    ]


def test_extras_are_named_with_their_versions(install: Install) -> None:
    needs = ["torch", 'timm>=1; extra == "timm"', 'hub>=2; extra == "hub"', 'safe; extra == "hub"', 'p; extra == "dev"']
    install({"robustcsc": ("0.1.0", needs), "timm": ("1.2", [])})
    assert installation.extras() == {"timm": {"timm>=1": "1.2"}, "hub": {"hub>=2": None, "safe": None}}


def test_a_package_that_cannot_be_imported_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def import_module(name: str) -> None:
        asked.append(name)
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("robustcsc.session.installation.import_module", import_module)
    found = diagnose()
    assert asked == ["torch", "torchvision"]
    assert (found.works, found.compute) == (False, None)
    sentence = found.problems[0].sentence
    assert sentence.startswith("torchvision cannot be imported (RuntimeError: operator torchvision::nms does not exist")
    assert sentence.endswith("): type pip install --force-reinstall torch torchvision.")
    assert found.packages["torch"] == metadata.version("torch")  # the versions are there all the same


def test_wrong_numbers_stop_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installation._trial() == 48
    monkeypatch.setattr("robustcsc.session.installation._trial", lambda: 7)
    found = diagnose()
    assert not found.works
    assert "has 7 of 50 digits right instead of at least 45" in found.problems[0].sentence


def told() -> list[str]:
    """Returns what is said of the runs and folders."""
    return [problem.sentence for problem in diagnosis._places(runs.RUNS.absolute())]


def test_runs_and_folders_in_order_are_not_mentioned(place: Path) -> None:
    sdnet = rc.open("sdnet-digits")
    sdnet.evaluate(sdnet.images(limit=20))
    assert told() == []
    found = diagnose()
    assert (found.runs, found.run_count, found.latest) == (place / "runs", 1, "sdnet-digits")
    assert found.free == pytest.approx(shutil.disk_usage(place).free, rel=0.1)


def test_the_cache_is_named_with_its_size(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose()
    assert (found.cache, found.cached) == (None, 0)
    monkeypatch.setenv("ROBUSTCSC_CACHE", str(place))
    (place / "robustcsc" / "pixels" / "a").mkdir(parents=True)
    (place / "robustcsc" / "pixels" / "a" / "b.pixels").write_bytes(b"123")
    found = diagnose()
    assert (found.cache, found.cached) == (place / "robustcsc", 3)


def test_a_store_of_another_version_is_told_by_its_run(place: Path) -> None:
    run = runs.create("old")
    with sqlite3.connect(run.store_path) as connection:
        connection.execute("CREATE TABLE records (id INTEGER)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    (sentence,) = told()
    assert sentence.startswith("Run 'old': runs/old/results.sqlite was written by an older robustcsc (store version 1,")
    assert diagnose().works


def test_damaged_files_of_a_run_are_told(place: Path) -> None:
    for name, path in {"a": "lambda/gaussian.json", "b": "data.json", "c": "results.sqlite"}.items():
        file = runs.create(name).folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text("{" * 600)  # SQLite takes a file of some bytes for an empty one
    assert [sentence.partition(": ")[0] for sentence in told()] == ["Run 'a'", "Run 'b'", "Run 'c'"]
    assert "runs/a/lambda/gaussian.json is damaged" in told()[0]


def test_images_that_are_gone_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.create("r")
    run.remember(Location(data="cifar10", root=str(place / "gone")))
    assert told() == [
        f"Run 'r': No folder of cifar10 is known (the run remembers {place / 'gone'}, which is gone, ROBUSTCSC_DATA is "
        "not set): add --root FOLDER, or set ROBUSTCSC_DATA to a folder that holds cifar10."
    ]
    (place / "all/cifar10").mkdir(parents=True)
    monkeypatch.setenv("ROBUSTCSC_DATA", str(place / "all"))
    assert told() == []
    monkeypatch.setenv("ROBUSTCSC_DATA", "nowhere")
    assert told()[1] == "ROBUSTCSC_DATA names nowhere, which is no folder: set it to one that holds data sets."


def test_runs_that_cannot_be_written_stop_everything(place: Path) -> None:
    Path("runs").write_text("a file")
    (problem,) = diagnosis._places(place / "runs")
    assert problem.stops
    assert f"{place / 'runs'} cannot be written to (" in problem.sentence
    found = diagnose()
    assert (found.works, found.run_count, found.latest) == (False, 0, None)


def test_a_full_disk_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("robustcsc.session.diagnosis.shutil.disk_usage", lambda path: usage(300 * 2**20))
    assert told() == [f"Only 300 MiB are free on the disk of {place / 'runs'}: free some space."]


def test_more_threads_than_processors_are_told() -> None:
    gpu = Gpu(name="GPU", memory=2**30, capability="9.0", bfloat16=True)
    many = Compute(threads=8, cuda="13.0", gpus=(gpu,), driver="", mps=False)
    assert [it.sentence for it in diagnosis._slow(many, cpus=2)] == [
        "PyTorch uses 8 threads on 2 processors, which is slow: type export OMP_NUM_THREADS=2."
    ]
    assert [*diagnosis._slow(many, cpus=8)] == []


@pytest.mark.parametrize(("quota", "cpus"), [("150000 100000", 2), ("100000 100000", 1), ("max 100000", None)])
def test_the_quota_of_a_container_counts(quota: str, cpus: int | None, place: Path) -> None:
    (place / "cpu.max").write_text(quota)
    available = len(os.sched_getaffinity(0))
    assert diagnosis._cpus(place / "cpu.max") == min(available, cpus or available)
    assert diagnosis._cpus(place / "missing") == available


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = diagnose()
    assert found.variables["OMP_NUM_THREADS"] == "1"
    assert "hf_0123" not in str(found)


def test_nothing_is_written(place: Path) -> None:
    diagnose()
    assert not list(place.iterdir())
    assert Run(Path("runs/any")).changed is None
