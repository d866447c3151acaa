"""Every corruption against statistics of the original CIFAR-10-C and ImageNet-C functions, the noises pixel by pixel.

The pixels of the other corruptions are compared beside their own tests.
"""

import csv
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import fft2

from robustcsc.corruptions import Spec, corrupt, load_spec
from robustcsc.corruptions.filters import truncate_
from robustcsc.corruptions.noise import add_noise, scale_noise

PASSES = {"cifar": 8, "imagenet": 2}
STATISTICS = {"cifar": "cifar_stats_32.csv", "imagenet": "imagenet_stats_4.csv"}
TABLES = {"cifar": "cifar10_c", "imagenet": "imagenet_c"}


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize(("name", "apply"), [("gaussian_noise", add_noise), ("speckle_noise", scale_noise)])
def test_recorded_draws_give_the_original_pixels(
    reference: Any, family: str, name: str, apply: Callable[..., torch.Tensor]
) -> None:
    replay = reference.arrays(family, "replay")
    draws = torch.from_numpy(np.moveaxis(replay["draw_noise_z"].astype(np.float32), -1, 1))
    images = reference.images(family)[: len(draws)]
    levels = load_spec(TABLES[family]).corruptions[name].levels
    for level, expected in zip(levels, replay[name], strict=True):
        corrupted = apply(images, draws, std=level["std"])
        largest, mean = reference.difference(truncate_(corrupted), expected, replay.get("rows"))
        assert largest <= 1 and mean <= 0.01


def statistics(corrupted: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """The statistics of the reference tables, of (N, C, H, W) levels 0..255 as 16-bit integers."""
    error = corrupted - clean
    height, width = clean.shape[2:]
    waves = fft2(error.astype(np.float32))
    power = (waves.real**2 + waves.imag**2).mean(axis=(0, 1), dtype=np.float64) / (height * width) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    ring = np.minimum((frequency / math.sqrt(0.5) * 8).astype(int), 7)
    counts, levels = np.bincount(corrupted.ravel(), minlength=256) / corrupted.size, np.arange(256)
    share, mean = np.cumsum(counts), float(counts @ levels)
    return {
        "mean": mean,
        "std": math.sqrt(counts @ (levels - mean) ** 2),
        **{f"mean_{colour}": corrupted[:, channel].mean() for channel, colour in enumerate("rgb")},
        "mad": np.abs(error).mean(),
        "mse": np.square(error, dtype=np.int32).mean(),
        "p1": float(np.argmax(share >= 0.01)),
        "p99": float(np.argmax(share >= 0.99)),
        "grad_h": np.abs(np.diff(corrupted, axis=3)).mean(),
        "grad_v": np.abs(np.diff(corrupted, axis=2)).mean(),
        **{f"band{band}": power[ring == band].sum() for band in range(8)},
    }


def measured(spec: Spec, images: torch.Tensor, name: str, severity: int, passes: int) -> dict[str, float]:
    clean = images.mul(255).round().short().numpy()
    indices = torch.arange(len(images))
    results = [
        statistics(
            truncate_(corrupt(images, spec, name, severity, seed=seed, indices=indices))
            .mul(255)
            .round()
            .short()
            .numpy(),
            clean,
        )
        for seed in range(passes)
    ]
    return {key: float(np.mean([result[key] for result in results])) for key in results[0]}


@pytest.mark.parametrize("name", load_spec("cifar10_c").corruptions)
@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_statistics_agree_with_the_original_functions(reference: Any, family: str, name: str) -> None:
    with reference.path(f"corruptions/{STATISTICS[family]}").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["corruption"] == name]
    spec = load_spec(TABLES[family], frost_root=reference.path("frost"))
    images = reference.images(family)
    passes = 1 if all(float(row["seed_sd"]) == 0 for row in rows) else PASSES[family]
    by_severity = {severity: measured(spec, images, name, severity, passes) for severity in range(1, 6)}
    compared = 0
    for row in rows:
        if row["statistic"].startswith("draw_sd"):
            continue
        value, spread = float(row["value"]), float(row["seed_sd"])
        floor = 1.0 if row["statistic"] in ("p1", "p99") else 0.01 * value
        allowed = max(6 * spread * math.sqrt(1 / passes + 1 / int(row["n_seeds"])), floor)
        if spread == 0:
            allowed = float(row["tolerance"])
        got = by_severity[int(row["severity"])][row["statistic"]]
        assert abs(got - value) <= allowed, (row["severity"], row["statistic"], got, value, allowed)
        compared += 1
    assert compared == 5 * 19
