"""Images per second under each corruption: robustcsc's batches against image-by-image NumPy, SciPy and OpenCV code.

    python benchmarks/corruptions.py                      # CPU: results/corruptions-cpu.csv and .md
    python benchmarks/corruptions.py --device cuda        # GPU: results/corruptions-cuda.csv and .md

What is compared, for both severity tables (cifar10_c at 32x32, imagenet_c at 224x224 pixels), severity 3 unless
`--severities` says otherwise:

- robustcsc: `corrupt` on batches of uint8 images, with 1 thread and with all cores.
- The image-by-image code: one process on one core, libraries limited to one thread, uint8 in and out.
  At 224x224 the published package imagecorruptions-imaug 1.1.5, which has ImageNet's constants and the original's
  definitions, except for frost and elastic_transform; these two, and everything at 32x32, where no package that runs
  with current libraries has CIFAR's constants, are the functions of `reference_corruptions.py`, written from the
  definitions in the original's manner.

Two corruptions are timed in two ways. glass_blur is a Python loop in the original, compiled with numba in the package:
the published way is the loop at 32x32 and the package at 224x224. frost opens a photograph for every image in the
original and in the package; it is also timed with the photographs kept in memory. The tables show both ways; geometric
means are taken over the published and over the fastest ones.

Each row holds the mean squared error of both sides, which shows that they do the same thing to the same images. Both
sides get the images as they want them, and what comes before (decoding) or after (to tensors, to the GPU) is not timed.

The libraries of the image-by-image code are installed from the package index into a temporary virtual environment
(`--environment` keeps it; with `--no-install` they must be at hand where this program runs).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
from rows import RESULTS, write_csv
from torch import Tensor

from robustcsc.allocator import keep_freed_memory
from robustcsc.corruptions import Spec, corrupt, load_spec, select

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE.parent / "tests" / "corruptions" / "test_statistics.py"
PACKAGES = ("imagecorruptions-imaug==1.1.5",)
#: Severity table -> how many images robustcsc gets at a time on a CPU and on a GPU.
TABLES = {"cifar10_c": (256, 2048), "imagenet_c": (32, 256)}
Row = dict[str, Any]


def clean_images(spec: Spec) -> np.ndarray:
    """(N, H, W, 3) uint8, crops of the photographs that scikit-learn brings along."""
    return runpy.run_path(str(PHOTOGRAPHS))["photographs"](spec.name)


class Engine:
    """Times robustcsc on one batch: the clean images, repeated, each with seeds of its own."""

    def __init__(self, spec: Spec, device: torch.device, seconds: float, batch_size: int | None) -> None:
        self.spec, self.device, self.seconds = spec, device, seconds
        levels = torch.from_numpy(clean_images(spec)).permute(0, 3, 1, 2)
        self.count = batch_size or TABLES[spec.name][device.type == "cuda"]
        self.images = levels[torch.arange(self.count) % len(levels)].contiguous().to(device)
        self.indices = torch.arange(self.count, device=device)

    def run(self, corruption: str, severity: int) -> Tensor:
        """One batch."""
        return corrupt(self.images, self.spec, corruption, severity, seed=0, indices=self.indices)

    def rate(self, corruption: str, severity: int, threads: int) -> float:
        """Images per second: the median over batches, at least 3 and for at least the given seconds."""
        torch.set_num_threads(threads)
        self.run(corruption, severity)
        taken: list[float] = []
        while len(taken) < 3 or sum(taken) < self.seconds:
            self.wait()
            started = time.perf_counter()
            self.run(corruption, severity)
            self.wait()
            taken.append(time.perf_counter() - started)
        return self.count / median(taken)

    def mse(self, corruption: str, severity: int) -> float:
        """Mean squared error in grey levels."""
        return float((self.run(corruption, severity).double() - self.images).square().mean())

    def wait(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def environment(arguments: argparse.Namespace, folder: Path) -> str:
    """The Python that has the libraries of the image-by-image code, installed first where that is asked for."""
    if arguments.no_install:
        return sys.executable
    place = arguments.environment or folder / "environment"
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Installing {', '.join(PACKAGES)} into {place}", flush=True)
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return str(python)


def references(python: str, cells: Sequence[Row], seconds: float, processes: int, folder: Path) -> tuple[list, dict]:
    """The rows of the image-by-image code, the rates of all processes added up, and the versions of its libraries."""
    running = []
    for core in range(processes):
        job, result = folder / f"job{core}.json", folder / f"result{core}.json"
        job.write_text(json.dumps({"cells": list(cells), "seconds": seconds, "core": core}))
        words = [python, str(HERE / "reference_timing.py"), str(job), str(result)]
        running.append((subprocess.Popen(words, stderr=None if core == 0 else subprocess.DEVNULL), result))
    for process, _ in running:
        if process.wait():
            raise SystemExit("The image-by-image code failed; see its message above.")
    results = [json.loads(result.read_text()) for _, result in running]
    rows = []
    for same in zip(*(result["rows"] for result in results), strict=True):
        rate = sum(row["images"] / row["seconds"] for row in same)
        rows.append({**same[0], "rate": rate, "images": sum(row["images"] for row in same)})
    return rows, results[0]["versions"]


def make_cells(specs: Sequence[Spec], names: str, severities: Sequence[int], folder: Path) -> list[Row]:
    """What is measured: each corruption of each table at each severity."""
    cells: list[Row] = []
    for spec in specs:
        path = folder / f"{spec.name}.npy"
        np.save(path, clean_images(spec))
        cells += [
            {
                "table": spec.name,
                "corruption": name,
                "severity": severity,
                "level": spec.corruptions[name].levels[severity - 1],
                "images": str(path),
                "package": spec.name == "imagenet_c",
            }
            for name in select(spec, names)
            for severity in severities
        ]
    return cells


def joined(engines: dict[str, Engine], cells: Sequence[Row], timed: Sequence[Row], processes: int) -> Iterable[Row]:
    """One row for each way of the image-by-image code to compute a cell."""
    threads = torch.get_num_threads()
    for cell in cells:
        engine, name, severity = engines[cell["table"]], cell["corruption"], cell["severity"]
        slow = engine.rate(name, severity, 1) if engine.device.type == "cpu" else math.nan
        fast = engine.rate(name, severity, threads)
        for other in timed:
            if all(other[key] == cell[key] for key in ("table", "corruption", "severity")):
                yield {
                    "table": cell["table"],
                    "size": engine.spec.image_size,
                    "corruption": name,
                    "severity": severity,
                    "device": device_name(engine.device),
                    "threads": threads,
                    "batch_size": engine.count,
                    "images_per_second_1_thread": slow,
                    "images_per_second": fast,
                    "reference": other["way"],
                    "published": other["published"],
                    "reference_images": other["images"],
                    "reference_processes": processes,
                    "reference_images_per_second": other["rate"],
                    "speedup_1_thread": slow / other["rate"],
                    "speedup": fast / other["rate"],
                    "mse": engine.mse(name, severity),
                    "reference_mse": other["mse"],
                }


def device_name(device: torch.device) -> str:
    """The name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def means(rows: Sequence[Row], quantity: str) -> tuple[float, float]:
    """Geometric means of a speed-up over cells, relative to the published and to the fastest image-by-image code."""
    published = [row[quantity] for row in rows if row["published"]]
    fastest: dict[tuple[object, object], float] = {}
    for row in rows:
        cell = row["corruption"], row["severity"]
        fastest[cell] = min(row[quantity], fastest.get(cell, math.inf))
    return geometric_mean(published), geometric_mean(fastest.values())


def markdown(rows: Sequence[Row], versions: dict[str, str], arguments: argparse.Namespace) -> str:
    """The tables with what was measured where."""
    first = rows[0]
    columns = {"images_per_second_1_thread": "1 thread", "images_per_second": f"{first['threads']} threads"}
    if arguments.device == "cuda":
        columns = {"images_per_second": "GPU"}
    lines = [
        "# Images per second under each corruption",
        "",
        f"Written by `python benchmarks/corruptions.py --device {arguments.device}`, whose text says what is compared.",
        "",
        f"- robustcsc: {device_name(torch.device(arguments.device))}; torch {torch.__version__}, "
        f"python {platform.python_version()}",
        f"- image by image: {first['reference_processes']} process(es), one core and one thread each, "
        f"{device_name(torch.device('cpu'))}; {', '.join(f'{name} {words}' for name, words in versions.items())}",
        "- ways in brackets are left out of the first mean (published) and replace slower ones in the second (fastest)",
    ]
    for table in dict.fromkeys(row["table"] for row in rows):
        chosen = [row for row in rows if row["table"] == table]
        quantities = [f"speedup{name.removeprefix('images_per_second')}" for name in columns]
        heads = ["corruption", "severity", *columns.values(), "image by image", "of these", "times"]
        heads += [f"speed-up, {words}" for words in columns.values()] + ["mse", "mse, image by image"]
        lines += ["", f"## {table}, {chosen[0]['size']}x{chosen[0]['size']}, batches of {chosen[0]['batch_size']}", ""]
        lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for row in chosen:
            way = row["reference"] if row["published"] else f"({row['reference']})"
            rates = [f"{row[name]:,.0f}" for name in columns]
            speeds = [f"{row[name]:.2f}" for name in quantities]
            errors = [f"{row[name]:.1f}" for name in ("mse", "reference_mse")]
            words = [row["corruption"], row["severity"], *rates, f"{row['reference_images_per_second']:,.1f}"]
            words += [way, row["reference_images"], *speeds, *errors]
            lines.append(f"| {' | '.join(map(str, words))} |")
        for words, quantity in zip(columns.values(), quantities, strict=True):
            published, fastest = means(chosen, quantity)
            lines += [
                "",
                f"Geometric mean of the speed-up, {words}: **{published:.2f}** (published), {fastest:.2f} (fastest).",
            ]
    return "\n".join(lines) + "\n"


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images per second under each corruption.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES))
    parser.add_argument("--corruptions", default="all", help="Names or groups, separated by commas.")
    parser.add_argument("--severities", default="3", help='Numbers separated by commas, or "all".')
    parser.add_argument("--seconds", type=float, default=1.0, help="Least time for each measurement.")
    parser.add_argument("--batch-size", type=int, help="Images at a time (default: by table and device).")
    parser.add_argument(
        "--processes", type=int, default=1, help="Of the image-by-image code, each on a core of its own."
    )
    parser.add_argument("--no-install", action="store_true", help="The libraries are at hand in this environment.")
    parser.add_argument("--environment", type=Path, help="Virtual environment of the libraries, made if missing.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the CSV and Markdown files.")
    return parser.parse_args()


def main() -> None:
    """Measures, prints and writes ``results/corruptions-<device>.csv`` and ``.md``."""
    arguments = parsed()
    keep_freed_memory()
    severities = (
        range(1, 6) if arguments.severities == "all" else [int(each) for each in arguments.severities.split(",")]
    )
    specs = [load_spec(name) for name in arguments.tables]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = make_cells(specs, arguments.corruptions, severities, folder)
        python = environment(arguments, folder)
        timed, versions = references(python, cells, arguments.seconds, arguments.processes, folder)
    device = torch.device(arguments.device)
    engines = {spec.name: Engine(spec, device, arguments.seconds, arguments.batch_size) for spec in specs}
    rows = list(joined(engines, cells, timed, arguments.processes))
    text = markdown(rows, versions, arguments)
    print(text)
    path = arguments.output / f"corruptions-{arguments.device}.csv"
    write_csv(
        path, [{key: f"{cell:.6g}" if isinstance(cell, float) else cell for key, cell in row.items()} for row in rows]
    )
    path.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
