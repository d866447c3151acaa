"""Corrupted images: generated, exported earlier, or published."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustcsc.adaptive.policies import dataset_lambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.corruptions import Spec, corrupt, load_spec
from robustcsc.corruptions.export import Export
from robustcsc.corruptions.manifest import MANIFEST
from robustcsc.data import Batch, ImageSet, load
from robustcsc.errors import DataError
from robustcsc.evaluation import sources
from robustcsc.evaluation.fooling.plans import uap_plan
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs, images_fact, kept, planned_corruptions
from robustcsc.measurements import facts
from robustcsc.measurements.perturbations import Corruption, Crafting, Pixels, Source
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel

Measure = Callable[..., list[Record]]


@pytest.fixture
def sweep(model: LoadedModel, images: ImageSet, spec: Spec, measure: Measure) -> Callable[..., list[Record]]:
    """Measures some corruptions at some severities under some policies."""

    def run(
        names: list[str], severities: list[int], policies: tuple[str, ...], root: Path | None = None, **settings: Any
    ) -> list[Record]:
        inputs = Inputs(images=images, spec=spec, corrupted_root=root)
        made = planned_corruptions(inputs, names, severities, **settings)
        chosen = model.facts.policies(policies)
        return measure(model, lambda planner: planner.sweep(made, chosen), spec=spec, corrupted_root=root)

    return run


def made_of(record: Record) -> Corruption:
    made = record.measurement.perturbation
    assert isinstance(made, Corruption)
    return made


def test_images_are_named_by_their_content(images: ImageSet) -> None:
    fingerprint = images.fingerprint
    assert images_fact(images) == Images(dataset="digits", split="test", fingerprint=fingerprint, count=60)


def test_generated_corruptions_name_table_and_seed(images: ImageSet, spec: Spec) -> None:
    inputs = Inputs(images=images, spec=spec)
    made = list(planned_corruptions(inputs, ["fog", "snow"], [1, 3], seed=9))
    assert [(each.name, each.severity) for each in made] == [("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)]
    for each in made:
        assert (each.table, each.seed, each.files) == (spec.table, 9, "")
        assert (each.source, each.pixels) == (Source.GENERATED, Pixels.BYTES)
    (exact,) = planned_corruptions(inputs, ["fog"], [1], seed=9, as_published=False)
    assert exact == facts.replace(made[0], pixels=Pixels.FLOAT)
    large = Inputs(images=images, spec=load_spec("imagenet_c"))
    assert next(planned_corruptions(large, ["fog"], [1])).pixels is Pixels.JPEG


def test_other_photographs_of_frost_are_another_table(tmp_path: Path, images: ImageSet, spec: Spec) -> None:
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        (tmp_path / name).write_bytes(b"a photograph")

    def digest(frost_root: Path | None) -> str:
        chosen = Inputs(images=images, spec=replace(spec, frost_root=frost_root))
        (made,) = planned_corruptions(chosen, ["frost"], [1])
        assert (made.table.name, made.table.digest) == ("cifar10_c", spec.digest)
        return made.table.photographs

    first = digest(tmp_path)
    assert digest(None) == "" and len(first) == 8
    (tmp_path / "frost3.png").write_bytes(b"another one")
    assert digest(tmp_path) not in (first, "")


def test_truncated_images_are_those_that_are_scored(
    model: LoadedModel, images: ImageSet, spec: Spec, sweep: Callable[..., list[Record]]
) -> None:
    (exact,) = sweep(["gaussian_noise"], [5], ("adaptive",), as_published=False)
    (cut,) = sweep(["gaussian_noise"], [5], ("adaptive",))
    assert (made_of(exact).pixels, made_of(cut).pixels) == (Pixels.FLOAT, Pixels.BYTES)
    (batch,) = images.batches(60)
    seen = corrupt(batch.images, spec, "gaussian_noise", 5, seed=0, indices=batch.indices)
    lam = dataset_lambda(model.model, model.fits["gaussian"], [seen.mul(255).floor().div(255)])
    assert cut.lam == pytest.approx(lam, abs=1e-5)
    assert cut.lam != exact.lam


def test_one_pass_of_corruption_serves_all_policies(
    images: ImageSet, sweep: Callable[..., list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[str, int]] = []

    def counted(batch: torch.Tensor, spec: Spec, corruption: str, severity: int, **settings: Any) -> torch.Tensor:
        passes.extend([(corruption, severity)] * len(batch))
        return corrupt(batch, spec, corruption, severity, **settings)

    monkeypatch.setattr(sources, "corrupt_unchecked", counted)
    records = sweep(["gaussian_noise", "fog"], [2, 5], ("train", "adaptive", "adaptive-image", "oracle"))
    assert len(records) == 16
    cells = [("gaussian_noise", 2), ("gaussian_noise", 5), ("fog", 2), ("fog", 5)]
    assert passes == [cell for cell in cells for _ in range(len(images))]


@pytest.mark.parametrize(("most", "passes"), [(60 * 64 * 4, 1), (60 * 64 * 4 - 1, 2)])
def test_batches_are_kept_up_to_a_size_and_read_anew_beyond_it(images: ImageSet, most: int, passes: int) -> None:
    read: list[weakref.ref[torch.Tensor]] = []

    def batches() -> Iterator[Batch]:
        for batch in images.batches(25):
            read.append(weakref.ref(batch.images))
            yield batch

    again = kept(batches, most)
    first, second = ([batch.images.sum().item() for batch in again()] for _ in range(2))
    assert first == second and len(first) == 3
    assert len(read) == 3 * passes
    assert all((it() is None) == (passes == 2) for it in read)  # in memory, or all gone


def test_a_pass_that_was_given_up_is_not_kept(images: ImageSet) -> None:
    again = kept(lambda: images.batches(25), 1 << 20)
    next(again())
    assert sum(len(batch.labels) for batch in again()) == 60


def test_the_seed_decides_the_noise(sweep: Callable[..., list[Record]]) -> None:
    def counts(seed: int) -> list[tuple[int, float | None]]:
        records = sweep(["gaussian_noise", "shot_noise"], [4, 5], ("adaptive",), seed=seed)
        return [(record.met, record.lam) for record in records]

    first, other = counts(0), counts(1)
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert len({lam for _, lam in first}) == 4  # and so do corruption and severity


def test_exported_files_give_the_counts_of_the_sweep_that_is_truncated_to_8_bits(
    images: ImageSet, spec: Spec, store: ResultStore, tmp_path: Path, sweep: Callable[..., list[Record]]
) -> None:
    names = ["gaussian_noise", "shot_noise"]
    Export(images=images, spec=spec, form="cifar-c", seed=4).write(tmp_path / "files", names)
    generated = sweep(names, [2, 5], ("train", "adaptive"), seed=4)
    read = sweep(names, [2, 5], ("train", "adaptive"), tmp_path / "files", seed=9)
    assert [(r.outcomes, r.lam) for r in read] == [(r.outcomes, r.lam) for r in generated]
    for record, other in zip(read, generated, strict=True):
        # no published files, and with the seed they were made with: nothing but the source differs
        exported = facts.replace(made_of(other), source=Source.EXPORTED)
        assert record.measurement == facts.replace(other.measurement, perturbation=exported)
    assert len(store.records()) == 16


def test_published_files_are_read_when_given(
    model: LoadedModel, images: ImageSet, spec: Spec, tmp_path: Path, sweep: Callable[..., list[Record]]
) -> None:
    folder = tmp_path / "digits-c"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5 * 500, 8, 8, 1), dtype=np.uint8)
    labels = np.zeros(500, dtype=np.int64)
    labels[images.positions.numpy()] = images.labels.numpy()
    np.save(folder / "impulse_noise.npy", pixels)
    np.save(folder / "labels.npy", labels)
    records = sweep(["impulse_noise"], [1, 4], ("train", "adaptive"), folder)
    fingerprints = set()
    for (severity, policy), record in zip(itertools.product((1, 4), ("train", "adaptive")), records, strict=True):
        rows = pixels[(severity - 1) * 500 + images.positions.numpy()]
        seen = torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 255
        lam = 0.1 if policy == "train" else dataset_lambda(model.model, model.fits["gaussian"], [seen])
        assert record.lam == pytest.approx(lam, abs=1e-5)
        with torch.no_grad():
            right = logits_at(model.model.eval(), seen, lam).argmax(1) == images.labels
        assert record.outcomes is not None and record.outcomes.to_list() == right.tolist()
        made = made_of(record)
        assert (made.source, made.pixels, made.severity, made.seed) == (Source.OFFICIAL, Pixels.BYTES, severity, 0)
        assert record.measurement.images.fingerprint == images.fingerprint
        fingerprints.add(made.files)
    assert len(fingerprints) == 2 and "" not in fingerprints
    assert sweep(["impulse_noise"], [1, 4], ("train", "adaptive"), folder, seed=3) == records  # nothing is random
    with pytest.raises(DataError, match="no corruption 'snow'"):
        sweep(["snow"], [1], ("train",), folder)


def test_files_without_a_manifest_count_as_published(
    spec: Spec, tmp_path: Path, sweep: Callable[..., list[Record]]
) -> None:
    folder = tmp_path / "files"
    Export(images=load("digits", split="test"), spec=spec, form="cifar-c", seed=4).write(folder, ["shot_noise"])
    (folder / MANIFEST).unlink()
    (record,) = sweep(["shot_noise"], [1], ("train",), folder, seed=3)
    assert (made_of(record).source, made_of(record).seed) == (Source.OFFICIAL, 0)


def test_records_of_files_need_their_folder(
    model: LoadedModel, images: ImageSet, spec: Spec, measure: Measure, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    Export(images=images, spec=spec, form="cifar-c").write(folder, ["shot_noise"])
    made = list(planned_corruptions(Inputs(images=images, spec=spec, corrupted_root=folder), ["shot_noise"], [1]))
    with pytest.raises(DataError, match="name their folder with --corrupted-root"):
        measure(model, lambda planner: planner.sweep(made, model.facts.policies(("train",))), spec=spec)


def test_inputs_that_lack_what_is_measured_are_a_sentence(
    model: LoadedModel, images: ImageSet, spec: Spec, measure: Measure
) -> None:
    made = list(planned_corruptions(Inputs(images=images, spec=spec), ["fog"], [1]))
    with pytest.raises(DataError, match="needs `spec`, which its inputs lack"):
        measure(model, lambda planner: planner.sweep(made, model.facts.policies(("train",))))
    with pytest.raises(DataError, match="needs `spec`, which its inputs lack"):
        list(planned_corruptions(Inputs(images=images), ["fog"], [1]))
    threat = ThreatModel("linf", 0.1)
    crafting = Crafting(images="", count=1, delta=0.2, passes=1, batch_size=1)
    with pytest.raises(DataError, match="needs `crafting_images`, which its inputs lack"):
        measure(model, lambda planner: uap_plan(planner, crafting, [threat], [Protocol.PLAIN], []))
