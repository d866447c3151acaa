"""Does the steps one after the other, each in a process of its own that ends with its time.

`benchmarks/gpu.sh` starts this with all that is needed on the path, and says what the options are.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from scales import SCALES
from steps import STEPS, Place, Step

from findings import Findings
from robustcsc.allocator import keep_freed_memory
from robustcsc.evaluation.models import versions


def main() -> None:
    """Reads the options, and does all steps; or one, in the process that was started for it."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description="Tests, speed and two trainings on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for what is found (gpu)")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full", help="how much is done (full)")
    parser.add_argument("--images", type=Path, help="archive of CIFAR-10 as image files")
    parser.add_argument("--steps", default=",".join(STEPS), help="what is done, with commas between (all)")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scale == "full" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU: add --scale rehearsal.")
    if arguments.images is not None and not arguments.images.is_file():
        parser.error(f"--images {arguments.images}: there is no such file.")
    if unknown := set(arguments.steps.split(",")) - set(STEPS):
        parser.error(f"--steps {', '.join(sorted(unknown))}: there are {', '.join(STEPS)}.")
    out = arguments.out.resolve()
    place = Place(
        scale=SCALES[arguments.scale],
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        images=arguments.images and arguments.images.resolve(),
        work=arguments.work.resolve(),
    )
    if arguments.step:
        do(arguments.step, place, Findings(out / "gpu.json"))
    else:
        line = [sys.executable, str(Path(__file__).parent), *sys.argv[1:], "--out", str(out)]
        do_all(place, {name: step for name, step in STEPS.items() if name in arguments.steps.split(",")}, out, line)


def do_all(place: Place, steps: Mapping[str, Step], out: Path, command: list[str]) -> None:
    """Starts each step with `command` and its name, and with the time of all steps so far that is left."""
    out.mkdir(parents=True, exist_ok=True)
    findings, log = Findings(out / "gpu.json"), out / "log.txt"
    findings.path.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    findings.about(scale=place.scale.__dict__, machine=machine(place.device))
    began, due = time.monotonic(), 0.0
    for name, step in steps.items():
        due += step.seconds * place.scale.patience
        if step.trains and place.images is None:
            findings.tell(name, status="left out", error="no --images")
            continue
        started = time.monotonic()
        limit = began + due - started
        findings.tell(name, status="running", limit=round(limit, 1))
        ended: dict[str, object] = {"status": "done"}
        with log.open("a") as file:
            start = partial(subprocess.run, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False)
            try:
                code = start([*command, "--step", name]).returncode
            except subprocess.TimeoutExpired:
                ended = {"status": "out of time"}
            else:
                if code:
                    ended = {"status": "failed"}
                    if "error" not in findings.read()["steps"][name]:
                        ended["error"] = f"the process ended with {code}: see log.txt"
        keep_results(place, out)
        findings.tell(name, **ended, seconds=round(time.monotonic() - started, 1))
        print(f"{name}: {ended['status']} after {time.monotonic() - started:.0f} s of {limit:.0f}", flush=True)
    print(f"{out}: all in {time.monotonic() - began:.0f} s", flush=True)


def do(name: str, place: Place, findings: Findings) -> None:
    """Does one step: keeps each row at once, as well as the results of the networks so far."""
    os.chdir(place.work)
    keep_freed_memory()
    errors: list[str] = []
    parts = STEPS[name].parts(place)
    while True:
        try:
            for row in next(parts)():
                findings.add(name, row)
                keep_results(place, findings.path.parent)
        except StopIteration:
            break
        except Exception as error:
            traceback.print_exc()
            errors.append(f"{type(error).__name__}: {error}"[:500])
            findings.tell(name, error="; ".join(dict.fromkeys(errors))[:2000])
    if errors:
        raise SystemExit(1)


def keep_results(place: Place, out: Path) -> None:
    """Copies the results of the networks; their weights are too large for many a way back."""
    for network in place.networks:
        store = place.work / "runs" / network / "results.sqlite"
        if store.exists():
            shutil.copyfile(store, out / f"{network}.sqlite")


def machine(device: torch.device) -> dict[str, object]:
    """Returns what was measured on."""
    facts: dict[str, object] = {"card": "none", "processor": platform.machine(), "cores": os.cpu_count(), **versions()}
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        facts |= {"card": about.name, "memory": about.total_memory, "cuda": torch.version.cuda}
        facts |= {"cudnn": torch.backends.cudnn.version(), "convolutions_in_tf32": torch.backends.cudnn.allow_tf32}
    return facts


if __name__ == "__main__":
    main()
