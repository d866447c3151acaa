"""Does the steps one after the other, each in a process of its own that ends with its time.

`benchmarks/gpu.sh` starts this with all that is needed on the path, and says what the options are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from doing import do, keep_results, look
from scales import SCALES, STEPS, Scale, Step

from findings import Findings

#: One process imports what the steps need, and each step starts as a copy of it: it must not touch the GPU, which no
#: copy could use then.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["steps", "torch._dynamo"])  # the latter is slow, and what most steps import


def main() -> None:
    """Reads the options, and does the steps."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description="Tests, speed and two trainings on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for what is found (gpu)")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full", help="how much is done (full)")
    parser.add_argument("--images", type=Path, help="archive of CIFAR-10 as image files")
    parser.add_argument("--steps", default=",".join(STEPS), help="what is done, with commas between (all)")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.images is not None and not arguments.images.is_file():
        parser.error(f"--images {arguments.images}: there is no such file.")
    if unknown := set(arguments.steps.split(",")) - set(STEPS):
        parser.error(f"--steps {', '.join(sorted(unknown))}: there are {', '.join(STEPS)}.")
    out, scale = arguments.out.resolve(), SCALES[arguments.scale]
    findings = begin(scale, out)
    looked = PROCESSES.Process(target=look, args=(findings,), kwargs={"needs_gpu": arguments.scale == "full"})
    looked.start()
    looked.join()
    if looked.exitcode:
        raise SystemExit(2)
    images, work = arguments.images and arguments.images.resolve(), arguments.work.resolve()
    steps = {name: step for name, step in STEPS.items() if name in arguments.steps.split(",")}
    do_all(steps, scale, images, work, findings)


def begin(scale: Scale, out: Path) -> Findings:
    """Returns the findings in a folder, with nothing of an earlier run."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu.json", "log.txt", *(f"{network}.sqlite" for network in scale.networks)):
        (out / name).unlink(missing_ok=True)
    findings = Findings(out / "gpu.json")
    findings.about(scale=scale.__dict__)
    return findings


def do_all(
    steps: Mapping[str, Step],
    scale: Scale,
    images: Path | None,
    work: Path,
    findings: Findings,
    do: Callable[..., None] = do,
) -> None:
    """Starts each step in a process, which has the time of all steps so far that is left."""
    began, due = time.monotonic(), 0.0
    for name, step in steps.items():
        due += step.seconds * scale.patience
        if step.trains and images is None:
            findings.tell(name, status="left out", error="no --images")
            continue
        started = time.monotonic()
        limit = began + due - started
        findings.tell(name, status="running", limit=round(limit, 1))
        process = PROCESSES.Process(target=do, args=(name, scale, images, work, findings))
        process.start()
        process.join(limit)
        ended: dict[str, object] = {"status": "done"}
        if process.is_alive():
            process.kill()
            process.join()
            ended = {"status": "out of time"}
        elif process.exitcode:
            ended = {"status": "failed"}
            if "error" not in findings.read()["steps"][name]:
                ended["error"] = f"the process ended with {process.exitcode}: see log.txt"
        keep_results(scale.networks, work, findings.path.parent)
        findings.tell(name, **ended, seconds=round(time.monotonic() - started, 1))
        print(f"{name}: {ended['status']} after {time.monotonic() - started:.0f} s of {limit:.0f}", flush=True)
    print(f"{findings.path.parent}: all in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
