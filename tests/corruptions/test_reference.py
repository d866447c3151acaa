"""The noises against outputs and statistics of the original CIFAR-10-C and ImageNet-C functions."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from robustcsc.corruptions import Spec, corrupt, load_spec, truncate
from robustcsc.corruptions.noise import add_noise, scale_noise

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "corruptions"
PASSES = {"cifar_stats_32.csv": 8, "imagenet_stats_4.csv": 2}
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason=f"the reference outputs of the corruptions are not at {REFERENCE}"
)


def tensor(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) 0..255 as (N, C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.moveaxis(images, -1, -3).astype(np.float32) / 255)


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / name) as content:
        return {key: content[key] for key in content.files if "noise" in key or key in ("images", "rows")}


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
@pytest.mark.parametrize(("name", "apply"), [("gaussian_noise", add_noise), ("speckle_noise", scale_noise)])
def test_recorded_draws_give_the_original_pixels(family: str, name: str, apply: Callable[..., torch.Tensor]) -> None:
    replay = arrays(f"{family}_replay.npz")
    spec = load_spec("cifar10_c" if family == "cifar" else "imagenet_c")
    draws = torch.from_numpy(np.moveaxis(replay["draw_noise_z"].astype(np.float32), -1, 1))
    images = tensor(arrays(f"{family}_images.npz")["images"][: len(draws)])
    rows = replay.get("rows", np.arange(images.shape[2]))
    for level, expected in zip(spec.corruptions[name].levels, replay[name], strict=True):
        got = truncate(apply(images, draws, std=level["std"]))[:, :, rows].mul(255).round().numpy()
        difference = np.abs(got - np.moveaxis(expected.astype(np.float32), -1, 1))
        assert difference.max() <= 1 and difference.mean() <= 0.01


def statistics(corrupted: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """The statistics of the reference tables, of (N, C, H, W) levels 0..255."""
    error = corrupted - clean
    height, width = clean.shape[2:]
    power = (np.abs(np.fft.fft2(error)) ** 2).mean(axis=(0, 1)) / (height * width) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    ring = np.minimum((frequency / math.sqrt(0.5) * 8).astype(int), 7)
    share = np.cumsum(np.bincount(corrupted.astype(int).ravel(), minlength=256)) / corrupted.size
    return {
        "mean": corrupted.mean(),
        "std": corrupted.std(),
        **{f"mean_{colour}": corrupted[:, channel].mean() for channel, colour in enumerate("rgb")},
        "mad": np.abs(error).mean(),
        "mse": (error**2).mean(),
        "p1": float(np.argmax(share >= 0.01)),
        "p99": float(np.argmax(share >= 0.99)),
        "grad_h": np.abs(np.diff(corrupted, axis=3)).mean(),
        "grad_v": np.abs(np.diff(corrupted, axis=2)).mean(),
        **{f"band{band}": power[ring == band].sum() for band in range(8)},
    }


def measured(spec: Spec, images: torch.Tensor, name: str, severity: int, passes: int) -> dict[str, float]:
    clean = images.mul(255).round().double().numpy()
    indices = torch.arange(len(images))
    results = [
        statistics(
            corrupt(images, spec, name, severity, seed=seed, indices=indices, quantize=True)
            .mul(255)
            .round()
            .double()
            .numpy(),
            clean,
        )
        for seed in range(passes)
    ]
    return {key: float(np.mean([result[key] for result in results])) for key in results[0]}


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize(
    ("table", "images", "statistic_file"),
    [
        ("cifar10_c", "cifar_images.npz", "cifar_stats_32.csv"),
        ("imagenet_c", "imagenet_images.npz", "imagenet_stats_4.csv"),
    ],
)
def test_statistics_agree_with_the_original_functions(table: str, images: str, statistic_file: str, name: str) -> None:
    spec, pixels, passes = load_spec(table), tensor(arrays(images)["images"]), PASSES[statistic_file]
    with (REFERENCE / statistic_file).open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["corruption"] == name]
    by_severity = {severity: measured(spec, pixels, name, severity, passes) for severity in range(1, 6)}
    compared = 0
    for row in rows:
        if row["statistic"].startswith("draw_sd"):
            continue
        value, spread = float(row["value"]), float(row["seed_sd"])
        floor = 1.0 if row["statistic"] in ("p1", "p99") else 0.01 * value
        allowed = max(6 * spread * math.sqrt(1 / passes + 1 / int(row["n_seeds"])), floor)
        got = by_severity[int(row["severity"])][row["statistic"]]
        assert abs(got - value) <= allowed, (row["severity"], row["statistic"], got, value, allowed)
        compared += 1
    assert compared == 5 * 19
