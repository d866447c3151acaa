"""Every corruption at severity 3, an image: a batch of ours beside the fastest image-by-image form of the definition.

The forms are those of `fast_corruptions.py`. Both sides take and return bytes: theirs image by image, rows x columns x
RGB, ours a batch of planes. With two threads, theirs work on two images at a time, and wall time counts; beside busy
programs there is one thread, as for commands. Eleven need NumPy and Pillow only; with OpenCV, which robustcsc does not
depend on, there are seven more. The 19th, glass blur, is a loop over pixels that needs numba:
`benchmarks/corruptions.py` compares with it.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import torch
from row import Row, in_turn

from robustcsc.allocator import keep_freed_memory
from robustcsc.cli.threads import Usage, free_threads
from robustcsc.corruptions import corrupt, load_spec

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import fast_corruptions as fast  # noqa: E402

PHOTOGRAPHS = HERE.parents[1] / "tests" / "corruptions" / "test_statistics.py"
SEVERITY = 3
BATCHES = {"cifar10_c": 128, "imagenet_c": 12}


def rows() -> list[Row]:
    """Returns a row for each corruption, size and number of threads, and one for the geometric mean of each."""
    keep_freed_memory()
    if fast.cv2:
        fast.cv2.setNumThreads(1)
    found = []
    for table, threads in product(BATCHES, _threads()):
        torch.set_num_threads(threads)
        cells = [_row(table, name, form, threads) for name, form in {**fast.FORMS, **fast.with_opencv()}.items()]
        side = load_spec(table).image_size
        mean = geometric_mean(row.ratio for row in cells)
        amounts = [geometric_mean(row.ours for row in cells), geometric_mean(row.theirs for row in cells)]
        what = f"geometric mean of {len(cells)} corruptions, {side} px, {_words(threads)}"
        found += [*cells, Row("corruptions", what, "as above", cells[0].unit, *amounts, mean, mean, mean, 1.0)]
    return found


def _threads() -> tuple[int, ...]:
    """Returns one and two threads, or one alone where other programs leave no two processors, as for commands."""
    before = Usage.now()
    time.sleep(1.0)
    after = Usage.now()
    taken = (after.taken_since(before) if before and after else None) or 0.0
    return tuple(threads for threads in (1, 2) if threads <= free_threads(os.cpu_count() or 1, taken))


def _words(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _row(table: str, name: str, form: Callable[..., np.ndarray], threads: int) -> Row:
    spec, count, generators = load_spec(table), BATCHES[table], np.random.default_rng(0).spawn(threads)
    levels = runpy.run_path(str(PHOTOGRAPHS))["photographs"](table)
    levels = np.ascontiguousarray(levels[np.arange(count) % len(levels)])
    images = torch.from_numpy(levels).permute(0, 3, 1, 2).contiguous()
    indices, level = torch.arange(count), spec.corruptions[name].levels[SEVERITY - 1]

    def ours() -> torch.Tensor:
        return corrupt(images, spec, name, SEVERITY, seed=0, indices=indices)

    def share(first: int) -> list[np.ndarray]:
        return [form(image, level, generators[first]) for image in levels[first::threads]]

    def theirs() -> list[list[np.ndarray]]:
        return [share(0)] if threads == 1 else list(pool.map(share, range(threads)))

    got = ours().permute(0, 2, 3, 1).numpy().astype(np.float32)
    expected = np.empty_like(got)
    with ThreadPoolExecutor(threads) as pool:
        for first, results in enumerate(theirs()):
            expected[first::threads] = results
        clock = time.process_time if threads == 1 else time.perf_counter
        timing = in_turn(ours, theirs, repeats=5, clock=clock)
    errors = [float(np.square(each - levels).mean()) for each in (got, expected)]
    note = f"mean squared error {errors[0]:.1f} and {errors[1]:.1f}"
    if np.abs(got - expected).max() <= 1:
        note = f"mean difference {np.abs(got - expected).mean():.3f} levels, largest {np.abs(got - expected).max():.0f}"
    what = f"{name}, {spec.image_size} px, batch of {count}, {_words(threads)}"
    form_words = (form.__doc__ or "").splitlines()[0].rstrip(".")
    return Row.timed("corruptions", what, form_words, timing, at_most=1.0, wall=threads > 1, note=note)
