"""The script for a machine with a GPU, rehearsed on this one: every step, with tiny networks and counts."""

import csv
import importlib.util
import io
import json
import multiprocessing
import os
import re
import runpy
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.store import ResultStore
from robustcsc.models.catalog import MODELS

ROOT = Path(__file__).parents[2]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEPS = [
    "tests",
    "corruptions",
    "sweep",
    "throughput",
    "training",
    "robustness",
    "adaptive",
    "uap",
    "epochs",
    "compiled",
]
NETWORKS = ("sdnet-textures", "resnet-textures")


def command(*words: str | Path) -> list[str]:
    return ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--scale", "rehearsal", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}


def archive(path: Path) -> Path:
    """Writes eight training and two test images of each class, random pixels."""
    generator = torch.Generator().manual_seed(0)
    with tarfile.open(path, "w:xz") as into:
        for split, count in (("train", 8), ("test", 2)):
            for name in CLASSES:
                for at in range(count):
                    content = io.BytesIO()
                    pixels = torch.randint(256, (32, 32, 3), dtype=torch.uint8, generator=generator)
                    Image.fromarray(pixels.numpy()).save(content, "JPEG")
                    member = tarfile.TarInfo(f"{split}/{name}/{at:04}.jpg")
                    member.size = content.tell()
                    content.seek(0)
                    into.addfile(member, content)
    return path


def found_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of the script can be imported, in the test only."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    yield
    for name in set(sys.modules) - before:
        if "benchmarks" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


Reported = Callable[[Path, Path], dict[str, str]]


@pytest.fixture
def reported(modules: None, monkeypatch: pytest.MonkeyPatch) -> Reported:
    """Writes the report, and returns its files by name."""

    def report(folder: Path, into: Path) -> dict[str, str]:
        program = ROOT / "benchmarks" / "gpu_report.py"
        monkeypatch.setattr(sys, "argv", [program.name, str(folder), "--output", str(into)])
        runpy.run_path(str(program), run_name="__main__")
        (made,) = into.iterdir()
        return {path.name: path.read_text() for path in made.iterdir()}

    return report


def test_all_steps_leave_their_numbers_and_tables(tmp_path: Path, reported: Reported) -> None:
    out = tmp_path / "found"
    subprocess.run(
        command("--images", archive(tmp_path / "images.tar.xz"), "--out", out), check=True, env=environment()
    )
    found = found_in(out)
    assert {name: (it["status"], it.get("error")) for name, it in found["steps"].items()} == {
        name: ("done", None) for name in STEPS
    }
    rows = {name: it["rows"] for name, it in found["steps"].items()}

    assert {row["outcome"] for row in rows["tests"]} <= {"passed", "skipped"}
    assert sum("test_a_gpu_computes_the_same_codes" in row["test"] for row in rows["tests"]) == 1

    assert [(row["size"], row["corruption"]) for row in rows["corruptions"]] == [
        (size, name) for size in (32, 224) for name in ("gaussian_noise", "jpeg_compression")
    ]
    for row in rows["corruptions"]:  # bytes are read once and written once
        assert row["memory_limit"] * 2 * 3 * row["size"] ** 2 == pytest.approx(row["bytes_per_second"])
        assert 0 < row["images_per_second"] < float("inf") and row["mse"] > 0

    assert [(row["precision"], row["model"]) for row in rows["sweep"]] == [
        (precision, model) for precision in ("32-true", "bf16-mixed") for model in NETWORKS
    ]
    for row in rows["sweep"]:
        assert row["efficiency"] == pytest.approx(row["forward_seconds"] / row["sweep_seconds"], rel=0.1)

    ratios = [row for row in rows["throughput"] if "ratio" in row] + rows["compiled"]
    assert [row["quantity"] for row in ratios] == [
        *2 * ["training", "evaluation"],
        "training",
        "training, both compiled",
    ]
    for row in ratios:  # of one pair
        assert row["ratio"] == pytest.approx(row["numerator_rate"] / row["denominator_rate"], rel=0.05)
    assert [row["denominator"] for row in rows["adaptive"]] == 6 * ["sdnet-textures plain"]

    for row, network in zip(rows["training"], NETWORKS, strict=True):  # one image of eight a class is held out
        assert (row["network"], row["epochs"], row["total"], row["training"]["trained_on"]) == (network, 1, 20, 70)
        assert row["images_per_second"] == pytest.approx(70 / row["seconds"])
    assert [row["network"] for row in rows["epochs"]] == ["mdeq-digits", *NETWORKS]
    for row in rows["epochs"]:
        assert row["epoch_share"] == 1 and 0 < row["epoch_seconds"] == 72 / row["images_per_second"]
    counts = {(row["network"], row["what"]): row["records"] for row in rows["robustness"] if "records" in row}
    assert [counts[network, "noise"] for network in NETWORKS] == [3 * 21, 21]  # clean, 4 noises of 5 severities
    assert [counts[network, "pgd linf"] for network in NETWORKS] == [4, 2]
    assert {row["what"] for row in rows["robustness"] if "slope" in row} == {
        f"lambda fit, {noise}" for noise in (*NOISE_KERNELS, "pooled")
    }
    for network in NETWORKS:
        with ResultStore(out / f"{network}.sqlite", read_only=True) as store:
            records = store.records()
        assert {it.measurement.images.dataset for it in records} == {"cifar10-jpeg"}  # which the papers' tables want
        assert {it.measurement.subject.run for it in records} == {network}
        changed = [(it.measurement.metric.value, it.met, it.total) for it in records]
        told = [(row["metric"], row["met"], row["total"]) for row in rows["uap"] if row["network"] == network]
        assert sorted(told) == sorted(it for it in changed if it[0] != "accuracy") != []

    within_the_limits(out)
    files = reported(out, tmp_path / "results")
    targets = [*csv.reader(files["targets.csv"].splitlines())]
    product = 1.0
    for row in rows["corruptions"][:2]:
        product *= row["images_per_second"] ** (1 / 2)
    assert float(targets[1][1]) == pytest.approx(product)
    assert [line[2] for line in targets].count(">= 0.95") == [line[2] for line in targets].count("<= 1.05") == 4
    assert "79.43" in files["sdnet-table-2.csv"] and "44.43" in files["sdnet-table-3.csv"]  # the paper's ResNet-18
    assert "35.18" in files["sdnet-table-4.csv"]
    assert len(files["records.csv"].splitlines()) > sum(counts.values()) - 20
    assert str(ROOT) not in files["README.md"]


def within_the_limits(folder: Path) -> None:
    """The way back from such a machine takes few and small files of plain names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert 0 < len(files) <= 8
    for path in files:
        parts = path.relative_to(folder).parts
        assert path.stat().st_size <= 16 << 20 and len(parts) <= 3
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", part) for part in parts)


def test_a_step_that_fails_is_told_the_next_goes_on_and_what_it_found_outlives_an_interruption(
    tmp_path: Path, reported: Reported
) -> None:
    (broken := tmp_path / "images.tar.xz").write_bytes(b"no archive")
    out = tmp_path / "found"
    (other := tmp_path / "robustcsc").mkdir()
    (other / "__init__.py").touch()  # where it is started lies another, which is not to be imported
    words = command("--images", broken, "--steps", "training,adaptive,compiled", "--out", out)
    process = subprocess.Popen(words, env=environment(), cwd=tmp_path, start_new_session=True)
    try:
        while process.poll() is None and not (rows := rows_of(out, "adaptive")):
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert rows[0]["denominator"] == "sdnet-textures plain" and rows[0]["ratio"] > 0
    training = found_in(out)["steps"]["training"]
    assert training["status"] == "failed" and "ReadError" in training["error"]
    assert "Traceback" in (out / "log.txt").read_text()
    files = reported(out, tmp_path / "results")
    _, failed, *_, last = files["steps.csv"].splitlines()
    assert failed.startswith("training,failed,") and ",interrupted," in last
    assert len(files["adaptive.csv"].splitlines()) > 1
    assert "clean accuracy of sdnet-textures,,>= 0.9,not measured" in files["targets.csv"]


def rows_of(out: Path, step: str) -> list[dict[str, Any]]:
    if not (out / "gpu.json").exists():
        return []
    rows: list[dict[str, Any]] = found_in(out)["steps"].get(step, {}).get("rows", [])
    return rows


def paused(name: str, *_: object) -> None:
    """A step that would never end, or one that ends at once, or dies."""
    if name == "slow":
        time.sleep(60)
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("modules")
def test_a_step_ends_with_its_time_and_without_images_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = importlib.import_module("scales")
    program = importlib.util.spec_from_file_location("program", ROOT / "benchmarks" / "gpu" / "__main__.py")
    assert program is not None and program.loader is not None
    main = importlib.util.module_from_spec(program)
    program.loader.exec_module(main)
    monkeypatch.setattr(main, "PROCESSES", multiprocessing.get_context("fork"))
    seconds = {"slow": 0.1, "dies": 5, "train": 5, "quick": 20}
    chosen = {name: scales.Step(it, trains=name == "train") for name, it in seconds.items()}
    findings = main.begin(scales.SCALES["full"], tmp_path / "found")
    main.do_all(chosen, scales.SCALES["full"], None, tmp_path, findings, paused)
    found = found_in(tmp_path / "found")["steps"]
    assert {name: (it["status"], it.get("error")) for name, it in found.items()} == {
        "slow": ("out of time", None),
        "dies": ("failed", "the process ended with -9: see log.txt"),
        "train": ("left out", "no --images"),
        "quick": ("done", None),
    }
    assert found["quick"]["limit"] > 20  # what the step that was left out left of its time, too


@pytest.mark.usefixtures("modules")
def test_without_a_gpu_only_a_rehearsal_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doing, findings = map(importlib.import_module, ("doing", "findings"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = findings.Findings(tmp_path / "gpu.json")
    with pytest.raises(SystemExit, match=r"^PyTorch finds no GPU: add --scale rehearsal\.$"):
        doing.look(found, needs_gpu=True)
    doing.look(found, needs_gpu=False)
    assert found.read()["machine"]["card"] == "none"


@pytest.mark.usefixtures("modules")
def test_the_driver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doing, findings = map(importlib.import_module, ("doing", "findings"))
    about = SimpleNamespace(name="a card", total_memory=1 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setattr("robustcsc.evaluation.models.driver_version", lambda: "580.159.04")
    doing.look(found := findings.Findings(tmp_path / "gpu.json"), needs_gpu=True)
    told = found.read()["machine"]
    assert (told["card"], told["memory"], told["driver"]) == ("a card", 1 << 30, "580.159.04")


@pytest.mark.usefixtures("modules")
def test_a_network_whose_training_was_cut_off_does_not_keep_the_other_from_being_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales, steps = map(importlib.import_module, ("scales", "steps"))
    place = steps.Place(scales.SCALES["rehearsal"], None, tmp_path)
    with pytest.raises(RuntimeError, match="no network was trained"):
        next(steps.robustness(place))
    done: list[tuple[str, Any]] = []

    def opened(_: object, network: str) -> SimpleNamespace:
        def measured(what: str, *_: object, **named: object) -> list[None]:
            done.append((what, named))
            return []

        asked = {what: partial(measured, what) for what in ("sweep", "attack", "suite")}
        return SimpleNamespace(
            run=SimpleNamespace(name=network), images=lambda limit: limit, fit_lambdas=lambda **_: {}, **asked
        )

    monkeypatch.setattr(steps.Place, "opened", opened)
    (weights := tmp_path / "runs" / "sdnet-textures" / "weights.safetensors").parent.mkdir(parents=True)
    weights.touch()
    rows = [row for part in steps.robustness(place) for row in part()]
    assert [row["what"] for row in rows] == ["noise", "pgd linf", "pgd l2", "suite"]
    assert done[-1] == ("suite", {"surrogate": None})


@pytest.mark.usefixtures("modules")
def test_an_epoch_is_stopped_and_timed_without_its_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scales, steps = map(importlib.import_module, ("scales", "steps"))
    assert {*scales.SCALES["full"].others} <= {*MODELS}
    ticks = iter([0.0, 7.0, 8.0, 9.0, 11.5, 12.0])
    monkeypatch.setattr(steps.time, "perf_counter", lambda: next(ticks))
    watch = steps.Stopwatch(steps.Place(scales.SCALES["rehearsal"], None, tmp_path), seconds=4)
    for batch in (1, 2, 3):
        watch("", batch / 10, 1)
    with pytest.raises(steps.Enough):
        watch("", 0.4, 1)
    assert (watch.times, watch.shares) == ([7.0, 12.0], [0.1, 0.4])


@pytest.mark.usefixtures("modules")
def test_targets_are_held_against_what_was_measured() -> None:
    report = importlib.import_module("gpu_report")
    engine = [{"size": size, "images_per_second": rate} for size, rate in ((32, 1e4), (32, 1.1e6), (224, 1.0))]
    sweep = {"model": "resnet18", "precision": "32-true"}
    pair = {"quantity": "training", "numerator": "sdnet18", "precision": "32-true", "batch_size": 128}
    trained = [{"network": name, "met": 89, "total": 100, "seconds": 100} for name in ("sdnet18", "resnet18")]
    rows = {
        "corruptions": engine,
        "sweep": [{**sweep, "efficiency": 0.94}],
        "throughput": [{**pair, "ratio": 0.98}, {**pair, "quantity": "evaluation", "ratio": 0.5}],
        "training": trained,
    }
    table = report.targets({"scale": {"sparse": "sdnet18", "plain": "resnet18"}}, rows)
    assert [(row[1], row[3]) for row in table.rows] == [
        (pytest.approx((1e4 * 1.1e6) ** 0.5), "yes"),
        (0.94, "no"),
        (0.98, "yes"),
        (None, "not measured"),
        (0.89, "no"),
        (200, "no"),
    ]
