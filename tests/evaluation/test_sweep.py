from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import Spec
from robustcsc.corruptions.export import Export
from robustcsc.corruptions.manifest import MANIFEST
from robustcsc.data import Batch, ImageSet, StreamedImages, load
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean, sweep
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.records import Record
from robustcsc.measurements.store import ResultStore

ALL = ("train", "fixed=0.5", "adaptive", "adaptive-batch", "adaptive-image", "oracle")
GRID = [k / 10 for k in range(1, 16)]


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
    for heldout in ("feed", "other"):
        evaluate_clean(with_fit(heldout=heldout), images, store, policies=("train", "adaptive-image"))
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


def test_exported_files_give_the_counts_of_the_sweep_that_is_truncated_to_8_bits(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore, tmp_path: Path
) -> None:
    names = ["gaussian_noise", "shot_noise"]
    Export(images=images, spec=spec, form="cifar-c", seed=4).write(tmp_path / "files", names)

    def measure(**settings: Any) -> list[Record]:
        chosen: dict[str, Any] = {"corruptions": names, "severities": (2, 5), "policies": ("train", "adaptive")}
        return list(sweep(subject, images, spec, store, **chosen, **settings))

    generated = measure(seed=4, quantize=True)
    read = measure(official_root=tmp_path / "files", seed=9, quantize=True)
    assert [(r.correct, r.total, r.lam) for r in read] == [(r.correct, r.total, r.lam) for r in generated]
    assert {r.condition.source for r in generated} == {"generated, 8 bit"}
    for record, other in zip(read, generated, strict=True):
        # no published files, and with the seed they were made with: nothing but the source differs
        assert record.condition == replace(other.condition, source="generated, 8 bit, from files")
    assert len(store.records()) == 16


def test_published_files_are_recorded_as_such(
    subject: Subject, images: ImageSet, spec: Spec, store: ResultStore, tmp_path: Path
) -> None:
    whole = load("digits", split="test")
    Export(images=whole, spec=spec, form="cifar-c", seed=4).write(tmp_path / "files", ["shot_noise"])
    (tmp_path / "files" / MANIFEST).unlink()
    (record,) = sweep(
        subject,
        images,
        spec,
        store,
        corruptions=["shot_noise"],
        severities=[1],
        policies=("train",),
        seed=3,
        official_root=tmp_path / "files",
    )
    assert (record.condition.source, record.condition.seed) == ("official", 0)
    assert record.condition.images.endswith(f"/{images.fingerprint}")


@pytest.mark.parametrize("policies", [("train",), ("adaptive", "adaptive-image", "oracle")])
def test_a_sweep_holds_no_batch_of_an_image_folder_but_the_current_one(
    policies: tuple[str, ...],
    subject: Subject,
    spec: Spec,
    store: ResultStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for label in range(10):
        for number in range(2):
            path = tmp_path / "tree" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 20 * label + number, np.uint8)).save(path)
    monkeypatch.setattr("robustcsc.data.folder.MEMORY_LIMIT_BYTES", 0)
    images = load("imagefolder", tmp_path / "tree", workers=0)
    assert isinstance(images, StreamedImages)
    given: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    whole = StreamedImages.batches

    def watched(self: StreamedImages, batch_size: int, **settings: Any) -> Iterator[Batch]:
        for batch in whole(self, batch_size, **settings):
            given.append(weakref.ref(batch.images))
            alive.append(sum(reference() is not None for reference in given))
            yield batch

    monkeypatch.setattr(StreamedImages, "batches", watched)
    settings: dict[str, Any] = {"corruptions": ["gaussian_noise"], "severities": [1, 5], "policies": policies}
    records = list(sweep(subject, images, spec, store, batch_size=2, **settings))
    assert {record.total for record in records} == {20}
    assert len(alive) >= 20
    assert max(alive) <= 2
