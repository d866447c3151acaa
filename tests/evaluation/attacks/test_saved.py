from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from robustcsc.data import ImageSet
from robustcsc.errors import AttackError, StoreError
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.attacks.saved import AdversarialFile, load_adversarial, save_adversarial
from robustcsc.evaluation.jobs import Job
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Cell, Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import SavedImages, Surrogate
from robustcsc.measurements.policies import Adaptive, NoLambda, Policy, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import AttackDetails, Measurement, Record
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import silent

Measure = Callable[..., list[Record]]
PGD = AttackStep.of("pgd", steps=3, step_size=0.05)

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def planner(model: LoadedModel, images: ImageSet) -> Planner:
    return Planner(model=model.facts, images=images_fact(images), batch_size=40)


@pytest.fixture
def evaluator(model: LoadedModel, images: ImageSet) -> Evaluator:
    return Evaluator(model=model, inputs=Inputs(images=images), batch_size=40)


@pytest.fixture
def measurement(planner: Planner) -> Measurement:
    """A plain attack."""
    request = AttackRequest(steps=(PGD,), threats=(ThreatModel("linf", 0.05),), protocols=(Protocol.PLAIN,))
    ((cell,),) = attack_plan(planner, request)
    return cell.measurements[0]


@pytest.fixture
def path(evaluator: Evaluator, measurement: Measurement, images: ImageSet, tmp_path: Path) -> Path:
    """Where its images are kept."""
    path = tmp_path / "new" / "images.safetensors"
    batches = evaluator.crafted(measurement).stream(torch.device("cpu"), silent)
    save_adversarial(path, batches, measurement, images)
    return path


@pytest.fixture
def score(measure: Measure) -> Callable[..., list[Record]]:
    """Scores saved images, in batches of 25."""

    def run(model: LoadedModel, saved: AdversarialFile, *policies: Policy, **settings: Any) -> list[Record]:
        def plan(planner: Planner) -> list[Chain]:
            return [(planner.cell(saved.attack, policies),)]

        return measure(model, plan, saved=saved, **{"batch_size": 25, **settings})

    return run


def _contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and facts of a file, without their digests, as in files of a time before there were any."""
    with safetensors.safe_open(path, "pt") as opened:
        facts = {name: text for name, text in opened.metadata().items() if name not in ("tensors", "sha256")}
        return {name: opened.get_tensor(name) for name in opened.keys()}, facts  # noqa: SIM118


def test_saved_images_are_those_that_were_scored(
    evaluator: Evaluator,
    measurement: Measurement,
    images: ImageSet,
    path: Path,
    score: Callable[..., list[Record]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robustcsc.evaluation.attacks.crafting.craft", None)  # nothing is crafted again
    (record,) = evaluator.measure(Job(cells=(Cell((measurement,)),))).records
    saved = load_adversarial(path)
    assert torch.equal(saved.batch.labels, images.labels) and torch.equal(saved.batch.indices, images.positions)
    assert (saved.num_classes, saved.measurement) == (10, measurement)
    clean = torch.cat([each.images for each in images.batches(60)])
    assert 0.04 < (saved.batch.images - clean).abs().max() <= 0.05 + 1e-7
    (again,) = score(evaluator.model, saved, TrainingLambda())
    assert (again.met, again.outcomes) == (record.met, record.outcomes)
    digest = hashlib.sha256(saved.batch.images.numpy().tobytes()).hexdigest()
    crafted_on = Surrogate(model="tiny", weights="5d" * 32)
    expected = replace(measurement.perturbation, saved=SavedImages(crafted_on=crafted_on, digest=digest))
    assert again.measurement.perturbation == expected
    assert isinstance(record.details, AttackDetails)
    assert again.details == AttackDetails(rounded_correct=record.details.rounded_correct)


def test_two_files_made_alike_are_two_measurements(
    model: LoadedModel, path: Path, tmp_path: Path, score: Callable[..., list[Record]]
) -> None:
    tensors, facts = _contents(path)
    blank = torch.zeros_like(tensors["images"])
    save_file({**tensors, "images": blank}, tmp_path / "second", facts)  # as after a new fit, say
    (one,) = score(model, load_adversarial(path), TrainingLambda())
    (other,) = score(model, load_adversarial(tmp_path / "second"), TrainingLambda())
    with torch.no_grad():
        right = int((model.model(blank).argmax(1) == tensors["labels"]).sum())
    assert other.met == right and one.measurement.key != other.measurement.key


def test_batches_are_of_the_size_that_the_record_says(
    with_fit: Callable[..., LoadedModel], evaluator: Evaluator, path: Path, score: Callable[..., list[Record]]
) -> None:
    model = with_fit(grid=(0.1, 0.72))  # cuts off some lambdas, so that the means differ
    saved, per_batch = load_adversarial(path), Adaptive(scope=Scope.BATCH)
    small = score(model, saved, TrainingLambda(), per_batch, batch_size=7)
    large = score(model, saved, TrainingLambda(), per_batch, batch_size=60)
    assert small[0] == large[0] and small[1].lam != large[1].lam
    assert [record.measurement.batch_size for record in (*small, *large)] == [None, 7, None, 60]
    other = Evaluator(model=model, inputs=Inputs(images=evaluator.inputs.images, saved=saved), batch_size=60)
    (again,) = other.measure(Job(cells=(Cell((small[1].measurement,)),))).records
    assert (again.lam, again.outcomes) == (small[1].lam, small[1].outcomes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"perturbation": {"type": "clean"}},
        {"perturbation": {"type": "random-noise", "rho": 0.1}},
        {"perturbation": None},
        {"images": {"dataset": "digits", "split": "test", "fingerprint": "feed", "count": 59}},
        {"policy": {"type": "fixed", "value": "x"}},
        {"subject": {"run": "r", "model": 3, "weights": "ab"}},
    ],
    ids=["clean", "noise", "nothing", "another count", "no number", "no text"],
)
def test_a_file_that_claims_to_be_no_attack_is_refused(wrong: dict[str, object], path: Path) -> None:
    tensors, facts = _contents(path)
    save_file(tensors, path, {**facts, "measurement": json.dumps({**json.loads(facts["measurement"]), **wrong})})
    with pytest.raises(StoreError, match="holds no adversarial images"):
        load_adversarial(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"norm":"linf"', '"norm":"l2"'), ('"dataset":"digits"', '"dataset":"digit5"'), ("", "")],
    ids=["another budget", "other images", "another pixel"],
)
def test_a_file_that_was_edited_is_refused(old: str, new: str, path: Path) -> None:
    with safetensors.safe_open(path, "pt") as opened:
        facts, (tensors, _) = opened.metadata(), _contents(path)
    if not old:
        tensors["images"][0, 0, 0, 0] = 0.5
    changed = {**facts, "measurement": facts["measurement"].replace(old, new)}
    assert not old or changed != facts, facts
    save_file(tensors, path, changed)
    with pytest.raises(StoreError, match=r"SHA-256 says, so .* damaged or edited"):
        load_adversarial(path)


def test_images_outside_the_range_are_refused(path: Path) -> None:
    tensors, facts = _contents(path)
    save_file({**tensors, "images": tensors["images"] * 2}, path, facts)
    with pytest.raises(AttackError, match="must lie in"):
        load_adversarial(path)


def test_another_model_is_scored_on_them(plain: LoadedModel, path: Path, score: Callable[..., list[Record]]) -> None:
    saved = load_adversarial(path)
    (record,) = score(plain, saved, NoLambda())
    with torch.no_grad():
        expected = int((plain.model(saved.batch.images).argmax(1) == saved.batch.labels).sum())
    assert (record.met, record.total, record.measurement.subject) == (expected, 60, plain.subject)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no file"):
        load_adversarial(tmp_path / "nowhere")
    (tmp_path / "other").write_bytes(b"PK" * 100)
    with pytest.raises(StoreError, match="holds no adversarial images"):
        load_adversarial(tmp_path / "other")


def test_places_that_cannot_be_written_are_a_sentence(
    evaluator: Evaluator, measurement: Measurement, images: ImageSet, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    batches = evaluator.crafted(measurement).stream(torch.device("cpu"), silent)
    with pytest.raises(StoreError, match="The images cannot be written"):
        save_adversarial(tmp_path / "file" / "images", batches, measurement, images)
