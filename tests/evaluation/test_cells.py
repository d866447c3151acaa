"""Counts of every policy against a naive loop that sets lambda by hand."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.residuals import residuals
from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import DataError
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean, sweep
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Record
from robustcsc.measurements.store import ResultStore

ALL = ("train", "fixed=0.5", "adaptive", "adaptive-batch", "adaptive-image", "oracle")
GRID = [k / 10 for k in range(1, 16)]


@torch.no_grad()
def naive_count(subject: Subject, images: Tensor, labels: Tensor, lambdas: float | list[float]) -> int:
    """Sets lambda by hand; where it differs between images, one image after the other."""
    model = copy.deepcopy(subject.model).eval()
    if isinstance(lambdas, float):
        set_lambda(model, lambdas)
        return sum(int(logits.argmax()) == label for logits, label in zip(model(images), labels.tolist(), strict=True))
    correct = 0
    for image, label, lam in zip(images, labels.tolist(), lambdas, strict=True):
        set_lambda(model, lam)
        correct += int(model(image[None])[0].argmax()) == label
    return correct


@torch.no_grad()
def naive_lambdas(subject: Subject, fit: LambdaFit, images: Tensor, size: int) -> list[float]:
    """The line at the mean residual of every `size` images, clamped to the grid; one lambda per image."""
    line = fit.image_line
    lambdas: list[float] = []
    for part in torch.split(images, size):
        mean = sum(residuals(subject.model, image[None]).mean().item() for image in part) / len(part)
        lam = line.intercept + line.slope * mean
        lambdas += [min(max(lam, fit.grid[0]), fit.grid[-1])] * len(part)
    return lambdas


def noisy(images: ImageSet, spec: Spec, corruption: str, severity: int, seed: int = 0) -> Batch:
    """Corrupts one image after the other."""
    (batch,) = images.batches(len(images))
    changed = [
        corrupt(image[None], spec, corruption, severity, seed=seed, indices=index[None])
        for image, index in zip(batch.images, batch.indices, strict=True)
    ]
    return batch._replace(images=torch.cat(changed))


def naive_records(subject: Subject, fit: LambdaFit, batch: Batch, size: int) -> dict[str, tuple[int, float]]:
    """Counts and (mean) lambda of every policy."""
    images, labels = batch.images, batch.labels
    grid = [naive_count(subject, images, labels, lam) for lam in GRID]
    best = grid.index(max(grid))
    per_set = naive_lambdas(subject, fit, images, len(images))
    per_batch = naive_lambdas(subject, fit, images, size)
    per_image = naive_lambdas(subject, fit, images, 1)
    expected = {
        "train": (naive_count(subject, images, labels, 0.1), 0.1),
        "fixed=0.5": (grid[4], 0.5),
        "oracle": (grid[best], GRID[best]),
    }
    for policy, lambdas in (("adaptive", per_set), ("adaptive-batch", per_batch), ("adaptive-image", per_image)):
        expected[policy] = naive_count(subject, images, labels, lambdas), sum(lambdas) / len(lambdas)
    return expected


def test_every_policy_counts_what_a_naive_loop_counts(
    with_fit: Callable[..., Subject], images: ImageSet, spec: Spec, store: ResultStore
) -> None:
    subject = with_fit(grid=(0.4, 0.77))  # cuts off some lambdas, so that the means differ
    fit = subject.fits["gaussian"]
    clean = evaluate_clean(subject, images, store, policies=ALL, batch_size=25)
    settings = {"corruptions": ["gaussian_noise"], "severities": [5], "policies": ALL, "batch_size": 25, "seed": 4}
    corrupted = list(sweep(subject, images, spec, store, **settings))  # type: ignore[arg-type]
    (batch,) = images.batches(60)
    for records, seen in ((clean, batch), (corrupted, noisy(images, spec, "gaussian_noise", 5, seed=4))):
        expected = naive_records(subject, fit, seen, 25)
        assert [record.condition.policy for record in records] == list(ALL)
        for record in records:
            count, lam = expected[record.condition.policy]
            assert (record.condition.policy, record.correct, record.total) == (record.condition.policy, count, 60)
            assert record.lam == pytest.approx(lam, abs=1e-5)
    # The numbers can tell the policies apart.
    assert len({record.lam for record in corrupted[2:5]}) == 3
    assert len({record.correct for record in corrupted}) > 1


def test_a_model_without_lambda_is_measured_as_it_is(
    plain: Subject, images: ImageSet, spec: Spec, store: ResultStore
) -> None:
    (clean,) = evaluate_clean(plain, images, store, policies=("none",))
    (noisier,) = sweep(plain, images, spec, store, corruptions=["impulse_noise"], severities=[2], policies=("none",))
    (batch,) = images.batches(60)
    for record, seen in ((clean, batch), (noisier, noisy(images, spec, "impulse_noise", 2))):
        with torch.no_grad():
            expected = int((plain.model(seen.images).argmax(1) == seen.labels).sum())
        assert (record.correct, record.total, record.lam) == (expected, 60, None)


def test_quantised_corruptions_are_another_source(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore
) -> None:
    settings = {"corruptions": ["gaussian_noise"], "severities": [5], "policies": ("adaptive",)}
    (exact,) = sweep(subject, images, spec, store, **settings)  # type: ignore[arg-type]
    (cut,) = sweep(subject, images, spec, store, quantize=True, **settings)  # type: ignore[arg-type]
    assert (exact.condition.source, cut.condition.source) == ("generated", "generated, 8 bit")
    seen = noisy(images, spec, "gaussian_noise", 5).images.mul(255).floor().div(255)
    assert cut.lam == pytest.approx(sum(naive_lambdas(subject, subject.fits["gaussian"], seen, 60)) / 60, abs=1e-5)
    assert cut.lam != exact.lam


def test_published_files_are_read_when_given(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore, tmp_path: Path
) -> None:
    folder = tmp_path / "digits-c"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5 * 500, 8, 8, 1), dtype=np.uint8)
    labels = np.zeros(500, dtype=np.int64)
    labels[images.positions.numpy()] = images.labels.numpy()
    np.save(folder / "impulse_noise.npy", pixels)
    np.save(folder / "labels.npy", labels)

    def read(severities: list[int], seed: int = 0, **settings: object) -> list[Record]:
        policies = ("train", "adaptive")
        chosen = {
            "corruptions": ["impulse_noise"],
            "severities": severities,
            "policies": policies,
            "official_root": folder,
        }
        return list(sweep(subject, images, spec, store, seed=seed, **(chosen | settings)))  # type: ignore[arg-type]

    records = read([1, 4])
    for (severity, policy), record in zip(itertools.product((1, 4), ("train", "adaptive")), records, strict=True):
        rows = pixels[(severity - 1) * 500 + images.positions.numpy()]
        seen = torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 255
        lam = 0.1 if policy == "train" else naive_lambdas(subject, subject.fits["gaussian"], seen, 60)[0]
        assert record.lam == pytest.approx(lam, abs=1e-5)
        assert record.correct == naive_count(subject, seen, images.labels, lam)
        assert (record.condition.source, record.condition.severity) == ("official", severity)
    assert read([1, 4], seed=3) == records  # nothing random: the same cells
    with pytest.raises(DataError, match="no corruption 'snow'"):
        read([1], corruptions=["snow"])


def test_the_oracle_breaks_ties_towards_the_smaller_lambda(
    subject: Subject, images: ImageSet, store: ResultStore
) -> None:
    torch.nn.init.zeros_(subject.model.head.weight)  # type: ignore[union-attr,arg-type]
    model = replace(subject, weights="00")
    (record,) = evaluate_clean(model, images, store, policies=("oracle",))
    assert record.lam == pytest.approx(0.1)
