from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from robustcsc.attacks.catalog import Chosen
from robustcsc.measurements.threats import ThreatModel
from robustcsc.data import ImageSet
from robustcsc.errors import StoreError
from robustcsc.evaluation.adversarial import attack_target
from robustcsc.evaluation.crafting import Bench, Workshop
from robustcsc.evaluation.protocols import targets
from robustcsc.evaluation.saved import load_adversarial, save_adversarial, score_adversarial
from robustcsc.evaluation.subject import Subject
from robustcsc.measurements.store import ResultStore

PGD = Chosen("pgd", {"steps": 3, "step_size": 0.05})


@pytest.fixture
def workshop(subject: Subject, images: ImageSet, store: ResultStore) -> Workshop:
    bench = Bench(subject=subject, images=images, store=store, batch_size=40, checks=False)
    return Workshop(bench, ThreatModel("linf", 0.05))


def test_saved_images_are_those_that_were_scored(
    workshop: Workshop, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = targets(workshop.bench.subject, "plain")
    path = tmp_path / "new" / "images.safetensors"
    save_adversarial(workshop, target, PGD, path)
    monkeypatch.setattr(Chosen, "craft", None)  # nothing is crafted again
    (record,) = attack_target(workshop, target, [PGD])
    batch, condition, classes = load_adversarial(path)
    assert torch.equal(batch.labels, images.labels) and torch.equal(batch.indices, images.positions)
    assert classes == 10 and condition == replace(record.condition, policy="none")
    clean = torch.cat([each.images for each in images.batches(60)])
    assert 0.04 < (batch.images - clean).abs().max() <= 0.05 + 1e-7
    (again,) = score_adversarial(workshop.bench.subject, path, workshop.bench.store, policies=("train",))
    assert (again.correct, again.outcomes) == (record.correct, record.outcomes)
    digest = hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()
    assert again.condition.protocol == f"plain, saved from tiny@5d5d5d5d as {digest[:8]}"


def test_two_files_made_alike_are_two_measurements(workshop: Workshop, tmp_path: Path) -> None:
    (target,) = targets(workshop.bench.subject, "plain")
    first, second = tmp_path / "first", tmp_path / "second"
    save_adversarial(workshop, target, PGD, first)
    with safetensors.safe_open(first, "pt") as opened:
        tensors, facts = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    save_file({**tensors, "images": torch.zeros_like(tensors["images"])}, second, facts)  # as after a new fit, say
    store, subject = workshop.bench.store, workshop.bench.subject
    (one,) = score_adversarial(subject, first, store, policies=("train",))
    (other,) = score_adversarial(subject, second, store, policies=("train",))
    with torch.no_grad():
        blank = int((subject.model(torch.zeros_like(tensors["images"])).argmax(1) == tensors["labels"]).sum())
    assert other.correct == blank and one.condition != other.condition


@pytest.mark.parametrize(
    "wrong", [{"kind": "clean"}, {"kind": "corruption"}, {"epsilon": "x"}, {"protocol": None}, {"norm": "l1"}]
)
def test_a_file_that_claims_to_be_no_attack_is_refused(
    wrong: dict[str, object], workshop: Workshop, tmp_path: Path
) -> None:
    (target,) = targets(workshop.bench.subject, "plain")
    path = tmp_path / "images"
    save_adversarial(workshop, target, PGD, path)
    with safetensors.safe_open(path, "pt") as opened:
        tensors, facts = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    save_file(tensors, path, {**facts, "condition": json.dumps({**json.loads(facts["condition"]), **wrong})})
    with pytest.raises(StoreError, match="holds no adversarial images"):
        load_adversarial(path)


def test_another_model_is_scored_on_them(workshop: Workshop, plain: Subject, tmp_path: Path) -> None:
    (target,) = targets(workshop.bench.subject, "plain")
    save_adversarial(workshop, target, PGD, tmp_path / "images.safetensors")
    (record,) = score_adversarial(
        plain, tmp_path / "images.safetensors", workshop.bench.store, policies=("none",), batch_size=7
    )
    batch, _, _ = load_adversarial(tmp_path / "images.safetensors")
    with torch.no_grad():
        expected = int((plain.model(batch.images).argmax(1) == batch.labels).sum())
    assert (record.correct, record.total, record.condition.weights) == (expected, 60, plain.weights)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no file"):
        load_adversarial(tmp_path / "nowhere")
    (tmp_path / "other").write_bytes(b"PK" * 100)
    with pytest.raises(StoreError, match="holds no adversarial images"):
        load_adversarial(tmp_path / "other")
