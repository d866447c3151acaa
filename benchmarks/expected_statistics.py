"""Writes tests/corruptions/expected_statistics.csv: what the corruptions do to photographs, by independent code.

    pip install "opencv-python>=5" scikit-image numba     # into the environment of the tests
    python benchmarks/expected_statistics.py

The functions of `reference_corruptions.py` corrupt the photographs of `tests/corruptions/test_statistics.py` with the
levels of both severity tables; robustcsc's own kernels are not used. A random corruption is applied with several
seeds: its row holds the mean of each statistic over these passes and its standard deviation from pass to pass. The
photographs of frost are those of the package torch-uncertainty-assets, as in robustcsc. OpenCV before version 5 would
not do: it rounds the coordinates of elastic_transform to 1/32 pixel.

Takes about a minute on one core.
"""

from __future__ import annotations

import csv
import runpy
import sys
import time
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import reference_corruptions as definitions
from numba import njit

from robustcsc.corruptions import load_spec

TESTS = Path(__file__).parent.parent / "tests" / "corruptions"
PASSES = {"cifar10_c": 32, "imagenet_c": 32}
DETERMINISTIC = (
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
)
FUNCTIONS = {"frost": "frost_kept", "glass_blur": "glass_blur_compiled"}


@njit
def seed_compiled(seed: int) -> None:
    """Seeds the generator of compiled functions, which glass_blur draws from."""
    np.random.seed(seed)


def cell(images: np.ndarray, name: str, severity: int, level: dict[str, float], passes: int) -> list[np.ndarray]:
    """The corrupted images (N, H, W, 3) of each pass."""
    function = getattr(definitions, FUNCTIONS.get(name, name))
    results = []
    for seed in range(passes):
        entropy = [zlib.crc32(name.encode()), severity, seed]
        rng = np.random.default_rng(entropy)
        seed_compiled(int(rng.integers(2**31)))
        results.append(np.stack([function(image, level, rng) for image in images]))
    return results


def rows(table: str, shared: dict[str, Any]) -> list[dict[str, object]]:
    """The rows of a severity table, the clean photographs first."""
    images, statistics, names = shared["photographs"](table), shared["statistics"], shared["STATISTICS"]

    def row(name: str, severity: int, results: list[np.ndarray]) -> dict[str, object]:
        values = np.array([statistics(result, images) for result in results])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(names))
        head = {"table": table, "corruption": name, "severity": severity, "passes": len(values)}
        means = {key: f"{value:.6g}" for key, value in zip(names, values.mean(axis=0), strict=True)}
        return {**head, **means, **{f"sd_{key}": f"{sd:.3g}" for key, sd in zip(names, spread, strict=True)}}

    found = [row("clean", 0, [images])]
    for name, corruption in load_spec(table).corruptions.items():
        started = time.perf_counter()
        passes = 1 if name in DETERMINISTIC else PASSES[table]
        for severity, level in enumerate(corruption.levels, 1):
            found.append(row(name, severity, cell(images, name, severity, level, passes)))
        print(f"{table} {name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Computes both tables and writes the file."""
    cv2.setNumThreads(1)
    definitions.frost_folder = lambda: files("torch_uncertainty_assets.frost")
    definitions.FROST_FILES = ("frost1.jpg", "frost2.jpg", "frost2.jpg", "frost3.jpg", "frost4.jpg")
    shared = runpy.run_path(str(TESTS / "test_statistics.py"))
    found = [row for table in PASSES for row in rows(table, shared)]
    with Path(shared["EXPECTED"]).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
