"""What bfloat16 changes: right answers of shipped models in float32 and in bfloat16, and the time of both.

    OMP_NUM_THREADS=1 python benchmarks/precision.py

All test images, clean, under the four noises at five severities and under PGD (linf 8/255, 20 steps, crafted and
scored in the same precision), at the training lambda. Writes ``results/precision-<device>.csv`` and the same as
Markdown. Times are CPU seconds of the process on a CPU: on one without a unit for bfloat16 they say what these counts
cost there, and nothing of the speed of bfloat16.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import torch
from rows import RESULTS, machine, write_csv

import robustcsc as rc
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.records import Precision, Record
from robustcsc.session.choices import DeviceName
from robustcsc.session.processor import has_bfloat16

MODELS = ("sdnet-digits", "sdnet-textures")


def measured(model: str, precision: Precision, device: DeviceName) -> tuple[list[Record], float]:
    """Returns the records of a model in one precision, and the seconds that they took."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    session = rc.open(model, device=device, measuring=rc.Measuring(precision=precision))
    images = session.images()
    started = clock()
    swept = session.sweep(images, corruptions="noise", policies=["train"])
    attacked = session.attack(images)
    return [*swept, *attacked[1:]], clock() - started  # the first of the attack is the clean one again


def row(full: Record, reduced: Record) -> dict[str, object]:
    """Returns the counts of one measurement side by side."""
    made = full.measurement.perturbation
    what = "clean" if made == Clean() else f"{made.name} {made.severity}" if isinstance(made, Corruption) else "PGD"
    assert full.outcomes is not None and reduced.outcomes is not None
    return {
        "model": full.measurement.subject.model,
        "images": what,
        "n": full.total,
        "fp32 right": full.met,
        "bf16 right": reduced.met,
        "right in one only": (full.outcomes.bits ^ reduced.outcomes.bits).bit_count(),
    }


def main() -> None:
    """Measures both, and writes the two files."""
    parser = argparse.ArgumentParser(description="Right answers in float32 and in bfloat16.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS, help="Folder of the files.")
    arguments = parser.parse_args()
    rows, times = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for model in MODELS:
            (full, slow), (reduced, fast) = (measured(model, it, arguments.device) for it in ("fp32", "bf16"))
            rows += [row(*pair) for pair in zip(full, reduced, strict=True)]
            times.append(f"{model}: {slow:.1f} s in float32, {fast:.1f} s in bfloat16 ({fast / slow:.1f} times).")
    where = machine(torch.device(arguments.device))
    threads = "1 thread" if where["threads"] == 1 else f"{where['threads']} threads"
    unit = ", without a unit for bfloat16" if arguments.device == "cpu" and has_bfloat16() is False else ""
    name = arguments.output.absolute() / f"precision-{arguments.device}"
    write_csv(name.with_suffix(".csv"), rows)
    lines = [
        "# Right answers in float32 and in bfloat16",
        "",
        f"`python benchmarks/precision.py` on {where['device']}{unit}, torch {where['torch']}, {threads}.",
        *times,
        "",
        f"| {' | '.join(rows[0])} |",
        f"|{'---|' * len(rows[0])}",
        *(f"| {' | '.join(map(str, each.values()))} |" for each in rows),
    ]
    name.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
