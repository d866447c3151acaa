"""How long a command takes until it knows the images of a large folder, and which they are.

    python benchmarks/large_folder.py --folder SCRATCH

Makes a test split of --images JPEG files of noise (hard links of 100) in --classes folders below SCRATCH, measures in
processes of their own, and deletes it. Each start lists the folder and takes the fingerprint, as a streamed set does:

- no cache: everything is listed, and every file read and hashed, as without an index;
- first: the same, and the index is written;
- second: stamps are compared, and nothing is listed, read or hashed.

The files come from the memory of the system. From a disk, or over a network, the first two take longer by the time
that it takes to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rows import RESULTS, machine, write_csv

FIELDS = ("device", "torch", "threads", "images", "bytes", "start", "seconds", "cpu_seconds", "times_second")
SEEDS, SIZE = 100, 224

START = """
import json, sys, time
from pathlib import Path
from robustcsc.data.folder import list_images, open_listing
before = time.perf_counter(), time.process_time()
images = open_listing(list_images(Path(sys.argv[1])), "test", 224, 2, 0)
fingerprint = images.fingerprint
print(json.dumps([time.perf_counter() - before[0], time.process_time() - before[1], fingerprint]))
"""


def make(folder: Path, images: int, classes: int) -> int:
    """Makes the class folders below a folder, and returns the bytes of all files."""
    seeds = folder / "seeds"
    seeds.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(SEEDS):
        noise = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(seeds / f"{number}.jpg", quality=90)
    for number in range(images):
        place = folder / "test" / f"class{number % classes:04}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(seeds / f"{number % SEEDS}.jpg", place / f"{number:07}.jpg")
    return sum((seeds / f"{number % SEEDS}.jpg").stat().st_size for number in range(images))


def started(folder: Path, cache: str) -> tuple[float, float, str]:
    """Returns seconds, CPU seconds and fingerprint of one start."""
    command = [sys.executable, "-c", START, str(folder / "test")]
    environment = {**os.environ, "ROBUSTCSC_CACHE": cache}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, cpu_seconds, fingerprint = json.loads(told)
    return seconds, cpu_seconds, fingerprint


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS / "large-folder-cpu.csv")
    arguments = parser.parse_args()
    folder = arguments.folder / "large-folder"
    try:
        size = make(folder, arguments.images, arguments.classes)
        time.sleep(3)  # what changed just now is not remembered
        found = {
            start: started(folder, "off" if start == "no cache" else str(folder / "cache"))
            for start in ("no cache", "first", "second")
        }
    finally:
        shutil.rmtree(folder)
    if len({fingerprint for _, _, fingerprint in found.values()}) != 1:
        raise SystemExit("The fingerprints differ.")
    rows = [
        {
            **machine(torch.device("cpu")),
            "images": arguments.images,
            "bytes": size,
            "start": start,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "times_second": round(seconds / found["second"][0], 2),
        }
        for start, (seconds, cpu_seconds, _) in found.items()
    ]
    write_csv(arguments.out, rows, FIELDS)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
