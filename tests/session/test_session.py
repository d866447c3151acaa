"""Sessions: which fits and weights a call may use, and what it tells of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustcsc as rc
from robustcsc.data import ImageSet, load
from robustcsc.errors import DataError, PolicyError, StoreError
from robustcsc.evaluation.attacks.plans import AttackRequest
from robustcsc.measurements.adaptations import Shift
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace as replace_fact
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.policies import Adapted, Adaptive, Scope, TrainingLambda
from robustcsc.measurements.references import Reference
from robustcsc.measurements.threats import ThreatModel
from robustcsc.session.choices import DataChoice
from robustcsc.session.measuring import Measuring
from robustcsc.session.session import Session
from robustcsc.training.parts import heldout_images

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sdnet() -> Session:
    return rc.open("sdnet-digits", data=DataChoice(limit=20))


@pytest.fixture
def fit(sdnet: Session) -> LambdaFit:
    """A line of the model, kept in no run."""
    line = Line(slope=0.0, intercept=0.3, r2=1.0)
    return LambdaFit(
        model=sdnet.trained.spec.name,
        weights=sdnet.trained.weights,
        dataset="digits",
        noise="gaussian",
        seed=0,
        heldout="feed",
        trained_on_heldout=False,
        lam0=0.1,
        grid=(0.1, 0.5),
        levels=(),
        lines={"squared": line, "norm": line, "relative": line},
        dataset_definition="squared",
        image_definition="squared",
        image_line=line,
        image_candidates={},
        created="2026-01-01T00:00:00+00:00",
    )


def test_a_fit_that_is_given_is_used_and_is_no_other_policys(sdnet: Session, fit: LambdaFit) -> None:
    (record,) = sdnet.evaluate(policies=[fit])
    assert record.measurement.policy == Adaptive(scope=Scope.DATASET, fit=fit.digest)
    assert record.lam == 0.3
    with pytest.raises(PolicyError, match="has no lambda fit"):
        sdnet.evaluate(policies=[fit, "adaptive"])


def test_a_fit_of_other_weights_is_refused(sdnet: Session, fit: LambdaFit, place: Path) -> None:
    with pytest.raises(PolicyError, match="belongs to other weights"):
        sdnet.evaluate(policies=[replace_fact(fit, weights="5d" * 32)])
    assert not list(place.iterdir())


@pytest.mark.parametrize("test_time", [(), ("bn",)])
def test_a_fit_of_images_that_were_stored_otherwise_is_used_with_a_note(
    test_time: tuple[str, ...], sdnet: Session, fit: LambdaFit
) -> None:
    told: list[str] = []
    few = replace(sdnet, measuring=Measuring(note=told.append, test_time=test_time))
    images = few.images(limit=4)
    same = replace_fact(fit, pixels=Pixels.BYTES)
    for given, as_published, note in (
        (same, True, ""),
        (
            fit,
            True,
            "(gaussian) are to noisy images stored as floats, these are stored as 8 bit: `robustcsc fit-lambda` ",
        ),
        (same, False, "images stored as 8 bit, these are stored as floats: `robustcsc fit-lambda --float` fits"),
    ):
        told.clear()
        few.sweep(images, corruptions="contrast", severities=[1], policies=[given], as_published=as_published)
        assert any(note in it for it in told) if note else not told


def test_each_precision_has_lambda_fits_of_its_own(sdnet: Session, fit: LambdaFit, place: Path) -> None:
    told: list[str] = []
    reduced = rc.open(
        "sdnet-digits", data=DataChoice(limit=20), measuring=Measuring(precision="bf16", note=told.append)
    )
    fit.save(sdnet.run.fit_path("gaussian"))
    for asked, sentence in (
        (fit, r"was made in fp32, .* with --precision bf16\.$"),
        ("adaptive", "no lambda fit .* in bf16"),
    ):
        with pytest.raises(PolicyError, match=sentence):
            reduced.evaluate(policies=[asked])
    made = reduced.fit_lambdas(["gaussian"], limit=20, grid=(0.1, 0.5))["gaussian"]
    assert (made.precision, LambdaFit.load(reduced.run.fit_path("gaussian", "bf16"))) == ("bf16", made)
    assert LambdaFit.load(sdnet.run.fit_path("gaussian")) == fit
    (record,) = reduced.evaluate(policies=["adaptive"])
    assert record.measurement.policy == Adaptive(scope=Scope.DATASET, fit=made.digest)
    (plain,) = sdnet.evaluate(policies=["adaptive"])
    assert plain.measurement.policy == Adaptive(scope=Scope.DATASET, fit=fit.digest)


@pytest.mark.parametrize(("unit", "told"), [(False, 1), (True, 0), (None, 0)])
def test_a_slow_bfloat16_is_told(unit: bool | None, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcsc.session.choices.has_bfloat16", lambda: unit)
    notes: list[str] = []
    for precision in ("fp32", "bf16"):
        how = Measuring(precision=precision, note=notes.append)
        rc.open("sdnet-digits", data=DataChoice(limit=5), measuring=how).evaluate()
    assert sum(note.startswith("This processor has no unit for bfloat16") for note in notes) == told


def test_the_fit_of_the_run_given_twice_is_measured_once(sdnet: Session, fit: LambdaFit) -> None:
    with sdnet.kept():
        pass
    fit.save(sdnet.run.fit_path("gaussian"))
    (record,) = sdnet.evaluate(policies=["adaptive", fit])
    assert record.measurement.policy == Adaptive(scope=Scope.DATASET, fit=fit.digest)


class Mean(nn.Module):
    """Two logits from the mean of the image, which are no probabilities."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean((1, 2, 3)) * self.weight
        return torch.stack((mean, 2 - mean), 1) - 0.5


def write_images(folder: Path) -> None:
    values = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for at in range(3):
            pixels = values.integers(0, 256, (224, 224, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{at}.png")


@pytest.fixture
def folder(place: Path) -> ImageSet:
    write_images(place / "images" / "test")
    return load("imagefolder", place / "images", "test", image_size=224)


def test_a_module_with_other_weights_is_no_longer_the_run(folder: ImageSet) -> None:
    rc.open("mine", model=Mean(1.0), images=folder).evaluate()
    again = rc.open("mine", model=Mean(1.0), images=folder)
    assert len(again.evaluate()) == 1
    with pytest.raises(StoreError, match="'mine' holds other weights"):
        rc.open("mine", model=Mean(2.0), images=folder)


def test_files_of_every_severity_are_looked_for_first(folder: ImageSet, place: Path) -> None:
    write_images(place / "corrupted" / "fog" / "1")
    session = rc.open("mine", model=Mean(1.0), images=folder)
    with pytest.raises(DataError, match="no folder for severity 2"):
        session.sweep(corruptions="fog", severities=[1, 2], corrupted_root="corrupted")
    assert not (place / "runs").exists()


def test_corrupted_files_that_cannot_be_read_are_told(folder: ImageSet, place: Path) -> None:
    write_images(place / "corrupted" / "fog" / "1")
    (place / "corrupted" / "fog" / "1" / "dog" / "2.png").write_bytes(b"no image")
    told: list[str] = []
    session = rc.open("mine", model=Mean(1.0), images=folder, measuring=Measuring(note=told.append))
    clean, fog = session.sweep(corruptions="fog", severities=[1], corrupted_root=place / "corrupted")
    assert (clean.total, fog.total) == (6, 5)
    seen, left_out = told
    assert "Mean on 6 clean images: 3 right, one finite logit per class" in seen
    assert left_out == f"1 unreadable file was left out: {place / 'corrupted/fog/1/dog/2.png'}."
    assert replace_fact(fog.measurement, perturbation=clean.measurement.perturbation) == clean.measurement


def test_paths_may_be_text(sdnet: Session, place: Path) -> None:
    steps = (AttackStep.of("pgd", steps=1),)
    threats = (ThreatModel("linf", 8 / 255),)
    sdnet.attack(request=AttackRequest(steps=steps, threats=threats), save="kept.safetensors")
    (record,) = sdnet.score("kept.safetensors")
    assert record.location.files == str(place / "kept.safetensors")
    paths = rc.report(["sdnet-digits"], folder="out", html="page.html")
    assert (place / "page.html").read_bytes() == paths.page.read_bytes()


def test_shift_is_measured_with_clean_training_images_that_the_run_keeps(sdnet: Session) -> None:
    told: list[str] = []
    shift = replace(sdnet, measuring=Measuring(test_time=("shift:batch=10",), note=told.append))
    planned = replace(shift, measuring=replace(shift.measuring, dry_run=True))
    assert len(planned.evaluate(policies=["train"]).missing) == 1 and not sdnet.run.folder.exists()
    (record,) = shift.evaluate(policies=["train"])
    kept = Reference.load(sdnet.run.folder)
    assert kept is not None
    assert record.measurement.policy == Adapted(by=Shift(batch=10, reference=kept.digest), policy=TrainingLambda())
    images, trained_on = heldout_images(sdnet.images("train"), sdnet.trained)
    assert (kept.heldout, kept.images, kept.trained_on_heldout) == (images.fingerprint, len(images), trained_on)
    said = f"What the model makes of {len(images)} clean training images is measured first."
    assert told.count(said) == 2  # a dry run does not keep it
    assert list(shift.evaluate(policies=["train"])) == [record] and told.count(said) == 2
