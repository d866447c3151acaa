"""Times image-by-image corruptions on one core; `corruptions.py` starts it in the environment that has the libraries.

    python benchmarks/reference_timing.py job.json result.json

The job names the images, the cells (corruption, severity, level) and a number of seconds per cell. One process, pinned
to one core, every library limited to one thread. Each way of computing a cell is timed over all images at least once,
one after another, after a first image that is not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import reference_corruptions as definitions  # noqa: E402

PACKAGES = ("imagecorruptions-imaug", "numpy", "scipy", "scikit-image", "opencv-python", "numba", "pillow")

Corrupt = Callable[[np.ndarray], np.ndarray]


def ways(cell: dict, rng: np.random.Generator) -> list[tuple[str, bool, Corrupt]]:
    """The ways to compute a cell: in words, whether published code does it so, and the function."""
    name, level = cell["corruption"], cell["level"]

    def defined(function: str) -> Corrupt:
        return lambda image: getattr(definitions, function)(image, level, rng)

    if name == "frost":
        return [("opens the file", True, defined("frost")), ("keeps the photographs", False, defined("frost_kept"))]
    published = not cell["package"] or name == "elastic_transform"
    found = [("definition", published, defined(name))] if published else []
    if name == "glass_blur":
        found = [("definition, loop", published, defined(name))]
        if published:
            found.append(("definition, compiled", False, defined("glass_blur_compiled")))
    if not published:
        found.append(("package, compiled" if name == "glass_blur" else "package", True, packaged(cell)))
    return found


def packaged(cell: dict) -> Corrupt:
    """The package's function for a cell."""
    from imagecorruptions import corrupt

    return lambda image: corrupt(image, severity=cell["severity"], corruption_name=cell["corruption"])


def measure(corrupt: Corrupt, images: np.ndarray, seconds: float) -> dict[str, float]:
    """Images and seconds of one way, the mean level of what comes out and its mean squared distance from the images."""
    corrupt(images[0])
    level = error = spent = 0.0
    count = 0
    while spent < seconds or count < len(images):
        image = images[count % len(images)]
        started = time.perf_counter()
        result = corrupt(image)
        spent += time.perf_counter() - started
        level += float(result.mean())
        error += float(((result.astype(np.float64) - image) ** 2).mean())
        count += 1
    return {"images": count, "seconds": spent, "mean": level / count, "mse": error / count}


def main() -> None:
    """Reads the job, measures, writes the result."""
    job = json.loads(Path(sys.argv[1]).read_text())
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[job["core"] % len(cores)]})
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    np.random.seed(0)
    rng = np.random.default_rng(0)
    rows = []
    for cell in job["cells"]:
        images = np.load(cell["images"])
        for words, published, corrupt in ways(cell, rng):
            row = {key: cell[key] for key in ("table", "corruption", "severity")}
            rows.append(row | {"way": words, "published": published} | measure(corrupt, images, job["seconds"]))
            print(f"  {cell['table']} {cell['corruption']} {cell['severity']}: {words}", file=sys.stderr, flush=True)
    versions = {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}}
    Path(sys.argv[2]).write_text(json.dumps({"rows": rows, "versions": versions}))


if __name__ == "__main__":
    main()
