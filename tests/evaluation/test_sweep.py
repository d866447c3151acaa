from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.lines import LambdaFit
from robustcsc.adaptive.residuals import residuals
from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import DataError
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean, sweep
from robustcsc.layers.csc import set_lambda
from robustcsc.metrics import wilson_interval
from robustcsc.records import Record
from robustcsc.store import ResultStore

ALL = ("train", "fixed=0.5", "adaptive", "adaptive-batch", "adaptive-image", "oracle")
GRID = [k / 10 for k in range(1, 16)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    with ResultStore(tmp_path / "results.sqlite") as opened:
        yield opened


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
def naive_lambdas(subject: Subject, fit: LambdaFit, images: Tensor, size: int, share: float) -> list[float]:
    """The line at each image's residual, mixed with the mean of its batch, clamped to the grid."""
    lambdas: list[float] = []
    for part in torch.split(images, size):
        own = [residuals(subject.model, image[None]).mean().item() for image in part]
        mean = sum(own) / len(own)
        line = fit.image_line
        mixed = [line.intercept + line.slope * ((1 - share) * value + share * mean) for value in own]
        lambdas += [min(max(lam, fit.grid[0]), fit.grid[-1]) for lam in mixed]
    return lambdas


def noisy(images: ImageSet, spec: Spec, corruption: str, severity: int, seed: int = 0) -> Batch:
    """Corrupts one image after the other."""
    (batch,) = images.batches(len(images))
    changed = [
        corrupt(image[None], spec, corruption, severity, seed=seed, indices=index[None])
        for image, index in zip(batch.images, batch.indices, strict=True)
    ]
    return batch._replace(images=torch.cat(changed))


def naive_records(
    subject: Subject, fit: LambdaFit, batch: Batch, size: int, share: float = 0.0
) -> dict[str, tuple[int, float]]:
    """Counts and (mean) lambda of every policy."""
    images, labels = batch.images, batch.labels
    grid = [naive_count(subject, images, labels, lam) for lam in GRID]
    best = grid.index(max(grid))
    per_set = naive_lambdas(subject, fit, images, len(images), 1.0)
    per_batch = naive_lambdas(subject, fit, images, size, 1.0)
    per_image = naive_lambdas(subject, fit, images, size, share)
    expected = {
        "train": (naive_count(subject, images, labels, 0.1), 0.1),
        "fixed=0.5": (grid[4], 0.5),
        "oracle": (grid[best], GRID[best]),
    }
    for policy, lambdas in (("adaptive", per_set), ("adaptive-batch", per_batch), ("adaptive-image", per_image)):
        expected[policy] = naive_count(subject, images, labels, lambdas), sum(lambdas) / len(lambdas)
    return expected


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_every_policy_counts_what_a_naive_loop_counts(
    with_fit: Callable[..., Subject], images: ImageSet, spec: Spec, store: ResultStore, share: float
) -> None:
    subject = with_fit(image_shrinkage=share, grid=(0.4, 0.77))  # cuts off some lambdas, so that the means differ
    fit = subject.fits["gaussian"]
    clean = evaluate_clean(subject, images, store, policies=ALL, batch_size=25)
    settings = {"corruptions": ["gaussian_noise"], "severities": [5], "policies": ALL, "batch_size": 25, "seed": 4}
    corrupted = list(sweep(subject, images, spec, store, **settings))  # type: ignore[arg-type]
    (batch,) = images.batches(60)
    for records, seen in ((clean, batch), (corrupted, noisy(images, spec, "gaussian_noise", 5, seed=4))):
        expected = naive_records(subject, fit, seen, 25, share)
        assert [record.condition.policy for record in records] == list(ALL)
        for record in records:
            count, lam = expected[record.condition.policy]
            assert (record.condition.policy, record.correct, record.total) == (record.condition.policy, count, 60)
            assert record.lam == pytest.approx(lam, abs=1e-5)
    # The numbers can tell the policies apart.
    assert len({record.lam for record in corrupted[2:5]}) == 3
    assert len({record.correct for record in corrupted}) > 1


def test_records_say_what_was_measured(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore, fit: LambdaFit
) -> None:
    (clean,) = evaluate_clean(subject, images, store, policies=("train",))
    train, adaptive = sweep(
        subject,
        images,
        spec,
        store,
        corruptions=["impulse_noise"],
        severities=[2],
        policies=("train", "adaptive"),
        seed=9,
    )
    assert (clean.condition.kind, clean.condition.name, clean.condition.severity) == ("clean", "clean", None)
    assert (clean.condition.source, clean.condition.spec, clean.condition.seed) == ("original", "", 0)
    for record in (train, adaptive):
        it = record.condition
        assert (it.run, it.model, it.weights, it.dataset, it.split) == ("r", "tiny", "5d" * 32, "digits", "test")
        assert (it.kind, it.name, it.severity, it.seed, it.source) == ("corruption", "impulse_noise", 2, 9, "generated")
        assert it.spec == f"cifar10_c@{spec.digest}"
        assert it.images == images.fingerprint
        assert wilson_interval(record.correct, record.total)[0] < record.correct / 60
        assert record.device.startswith("cpu")
        assert f"torch {torch.__version__}" in record.versions
    assert (train.condition.fit, adaptive.condition.fit) == ("", fit.digest)


def test_nothing_is_measured_twice_unless_asked(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore, calls: object
) -> None:
    def measure(policies: tuple[str, ...], remeasure: bool = False) -> list[Record]:
        records = evaluate_clean(subject, images, store, policies=policies, remeasure=remeasure)
        records += sweep(
            subject,
            images,
            spec,
            store,
            corruptions=["impulse_noise", "speckle_noise"],
            severities=[1, 4],
            policies=policies,
            remeasure=remeasure,
        )
        return records

    def passes() -> int:
        done, calls.count = calls.count, 0  # type: ignore[attr-defined]
        return int(done)

    first = measure(("train", "adaptive"))
    assert len(first) == 10
    assert passes() == 5 * 3  # training lambda; residual of the data set and its lambda
    assert measure(("train", "adaptive")) == first
    assert passes() == 0
    more = measure(("adaptive", "fixed=0.7", "train"))
    assert passes() == 5  # the new policy alone
    assert [record for record in more if record.condition.policy == "train"] == first[::2]
    again = measure(("train", "adaptive"), remeasure=True)
    assert passes() == 5 * 3
    assert [(r.condition, r.correct, r.lam) for r in again] == [(r.condition, r.correct, r.lam) for r in first]
    assert len(store.records()) == 15


def test_a_refit_is_measured_anew_and_the_old_record_stays(
    with_fit: Callable[..., Subject], images: ImageSet, store: ResultStore
) -> None:
    for shrinkage in (0.0, 0.5):
        evaluate_clean(with_fit(image_shrinkage=shrinkage), images, store, policies=("train", "adaptive-image"))
    assert [record.condition.policy for record in store.records()] == ["train", "adaptive-image", "adaptive-image"]


def test_a_stopped_sweep_keeps_every_finished_cell(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore
) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if label == "impulse_noise 3":
            raise KeyboardInterrupt

    def cells(**settings: object) -> Iterator[Record]:
        return sweep(
            subject,
            images,
            spec,
            store,
            corruptions=["speckle_noise", "impulse_noise"],
            severities=[1, 3],
            policies=("train",),
            batch_size=30,
            **settings,  # type: ignore[arg-type]
        )

    with pytest.raises(KeyboardInterrupt):
        list(cells(progress=stop))
    kept = store.records()
    assert [(r.condition.name, r.condition.severity) for r in kept] == [
        ("speckle_noise", 1),
        ("speckle_noise", 3),
        ("impulse_noise", 1),
    ]
    measured: set[str] = set()
    assert list(cells(progress=lambda label, done, total: measured.add(label)))[:3] == kept
    assert measured == {"impulse_noise 3"}


@pytest.mark.parametrize("policies", [("train", "fixed=0.5", "adaptive", "adaptive-image")])
def test_results_do_not_depend_on_the_batch_size(
    subject: Subject, images: ImageSet, spec: Spec, tmp_path: Path, policies: tuple[str, ...]
) -> None:
    results = []
    for size in (60, 7):
        with ResultStore(tmp_path / f"{size}.sqlite") as store:
            records = evaluate_clean(subject, images, store, policies=policies, batch_size=size)
            settings = {"corruptions": ["shot_noise", "impulse_noise"], "severities": [3], "policies": policies}
            records += sweep(subject, images, spec, store, batch_size=size, **settings)  # type: ignore[arg-type]
        results.append([(r.condition.key, r.correct, pytest.approx(r.lam, abs=2e-6)) for r in records])
    assert results[0] == results[1]


def test_the_seed_decides_the_noise(subject: Subject, images: ImageSet, spec: Spec, tmp_path: Path) -> None:
    def counts(seed: int, name: str) -> list[tuple[int, float | None]]:
        with ResultStore(tmp_path / name) as store:
            settings = {"corruptions": ["gaussian_noise", "shot_noise"], "severities": [4, 5]}
            records = sweep(subject, images, spec, store, policies=("adaptive",), seed=seed, **settings)  # type: ignore[arg-type]
            return [(record.correct, record.lam) for record in records]

    first = counts(0, "a")
    assert counts(0, "b") == first
    other = counts(1, "c")
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert len({lam for _, lam in first}) == 4  # and so do corruption and severity


def test_modes_and_lambdas_are_restored(subject: Subject, images: ImageSet, spec: Spec, store: ResultStore) -> None:
    subject.model.train()
    subject.model.norm.eval()  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    modes = [module.training for module in subject.model.modules()]
    list(sweep(subject, images, spec, store, corruptions=["impulse_noise"], severities=[1], policies=ALL))
    assert [module.training for module in subject.model.modules()] == modes
    torch.testing.assert_close(subject.model.state_dict(), before, rtol=0, atol=0)


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
    assert cut.lam == pytest.approx(sum(naive_lambdas(subject, subject.fits["gaussian"], seen, 60, 1.0)) / 60, abs=1e-5)
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
        lam = 0.1 if policy == "train" else naive_lambdas(subject, subject.fits["gaussian"], seen, 60, 1.0)[0]
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
