"""Every corruption of both severity tables against statistics of independent code, on photographs of scikit-learn.

`benchmarks/expected_statistics.py` computed the expected values with the NumPy, SciPy and OpenCV functions of
`benchmarks/reference_corruptions.py`, and takes the images and the statistics from this file.
"""

import csv
import math
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_sample_image

from robustcsc.corruptions import corrupt, load_spec
from robustcsc.corruptions.filters import truncate_

EXPECTED = Path(__file__).with_name("expected_statistics.csv")
STATISTICS = ("mean", "std", "mad", "mse", "gradient", "colour")
CROPS = {"cifar10_c": (4, 32, 1), "imagenet_c": (1, 224, 2)}  # shrink by, side in pixels, keep every n-th
PASSES = {"cifar10_c": 4, "imagenet_c": 4}
# One draw decides about a whole image here, so that few images need many passes.
MORE_PASSES = {("imagenet_c", "motion_blur"): 8, ("imagenet_c", "frost"): 16, ("imagenet_c", "fog"): 16}
LEVELS = 0.2  # least tolerance in grey levels; rounding where the definitions truncate moves a mean by 0.3 to 0.5


@lru_cache
def photographs(table: str) -> npt.NDArray[np.uint8]:
    """(N, side, side, 3): the middle of two photographs, shrunk by integer means of blocks and cut into squares."""
    shrink, side, step = CROPS[table]
    patches = []
    for name in ("china.jpg", "flower.jpg"):
        picture = np.asarray(load_sample_image(name), dtype=np.int64)
        rows, columns = (length // (side * shrink) for length in picture.shape[:2])
        height, width = rows * side * shrink, columns * side * shrink
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        blocks = picture[top : top + height, left : left + width].reshape(
            rows * side, shrink, columns * side, shrink, 3
        )
        small = (blocks.sum((1, 3)) + shrink**2 // 2) // shrink**2
        squares = small.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
        patches.append(squares.reshape(-1, side, side, 3)[::step].astype(np.uint8))
    return np.concatenate(patches)


def statistics(corrupted: npt.NDArray[np.uint8], clean: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """`STATISTICS` of (N, H, W, 3) levels 0..255.

    "mad" and "mse" are the mean absolute and squared distance from the clean images, "gradient" and "colour" the mean
    absolute difference of horizontal neighbours and of red from green and green from blue.
    """
    signed = corrupted.astype(np.int16)
    error = signed - clean
    mad, gradient, colour = (
        float(np.abs(each).mean()) for each in (error, np.diff(signed, axis=2), np.diff(signed, axis=3))
    )
    counts, levels = np.bincount(corrupted.ravel(), minlength=256) / corrupted.size, np.arange(256)
    mean = float(counts @ levels)
    mse = float(np.square(error, dtype=np.int32).mean())
    return mean, math.sqrt(counts @ (levels - mean) ** 2), mad, mse, gradient, colour


@lru_cache
def expected(table: str) -> dict[tuple[str, int], dict[str, float]]:
    """Rows of the file by corruption and severity: each statistic, ``sd_<statistic>`` of one pass, and the passes."""
    with EXPECTED.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["table"] == table]
    fields = ("passes", *STATISTICS, *(f"sd_{key}" for key in STATISTICS))
    return {(row["corruption"], int(row["severity"])): {key: float(row[key]) for key in fields} for row in rows}


def measured(table: str, name: str, severity: int, passes: int) -> list[float]:
    """The mean of `STATISTICS` over passes of robustcsc with different seeds."""
    spec, clean = load_spec(table), photographs(table)
    images = torch.from_numpy(clean).permute(0, 3, 1, 2).contiguous() / 255
    indices = torch.arange(len(images))
    values = []
    for seed in range(passes):
        result = truncate_(corrupt(images, spec, name, severity, seed=seed, indices=indices))
        levels = result.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        values.append(statistics(levels, clean))
    return [fmean(column) for column in zip(*values, strict=True)]


def allowed(row: dict[str, float], key: str, passes: int) -> float:
    """Largest difference of a statistic: from the spread over seeds, but not less than libraries may differ by."""
    value, spread = row[key], row[f"sd_{key}"]
    if row["passes"] == 1:
        return 0.03 * value if key == "mse" else LEVELS
    least = LEVELS if key == "mean" else 0.01 * value
    return max(6 * spread * math.sqrt(1 / passes + 1 / row["passes"]), least)


@pytest.mark.parametrize("table", CROPS)
def test_the_file_holds_every_corruption_and_severity(table: str) -> None:
    named = {(name, severity) for name in load_spec(table).corruptions for severity in range(1, 6)}
    assert len(named) == 95 and expected(table).keys() == named | {("clean", 0)}


@pytest.mark.parametrize("table", CROPS)
def test_the_photographs_are_the_same(table: str) -> None:
    row = expected(table)["clean", 0]
    got = statistics(photographs(table), photographs(table))
    assert got == pytest.approx([row[key] for key in STATISTICS], abs=0.02)


@pytest.mark.parametrize("name", load_spec("cifar10_c").corruptions)
@pytest.mark.parametrize("table", CROPS)
def test_statistics_agree_with_independent_code(table: str, name: str) -> None:
    for severity in range(1, 6):
        row = expected(table)[name, severity]
        passes = 1 if row["passes"] == 1 else MORE_PASSES.get((table, name), PASSES[table])
        for key, got in zip(STATISTICS, measured(table, name, severity, passes), strict=True):
            assert abs(got - row[key]) <= allowed(row, key, passes), (severity, key, got, row[key])
