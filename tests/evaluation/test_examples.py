from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import corrupt, load_spec
from robustcsc.data import load
from robustcsc.evaluation.examples import SEVERITY, SHOWN, make_examples
from robustcsc.evaluation.subject import Subject
from robustcsc.models.checkpoint import load_shipped
from robustcsc.report.examples import ExampleSheet, read_examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def subject() -> Subject:
    shipped = load_shipped("sdnet-digits")
    return Subject(
        run="demo", model_name="sdnet-digits", weights=shipped.weights, model=shipped.model, device=torch.device("cpu")
    )


@pytest.fixture(scope="module")
def sheet(folder: Path, subject: Subject) -> ExampleSheet:
    noises = ("gaussian_noise", "shot_noise")
    images = load("digits", split="test")
    make_examples(subject, images, folder / "examples", count=9, spec=load_spec("cifar10_c"), corruptions=noises)
    make_examples(subject, images, folder / "examples", count=4, spec=load_spec("cifar10_c"), corruptions=noises)
    found = read_examples(folder, "demo")
    assert found is not None
    return found


def pixels(png: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)))).float() / 255


def test_images_are_evenly_spaced_and_come_in_every_version(sheet: ExampleSheet, folder: Path) -> None:
    count = len(load("digits", split="test"))
    assert [example.position for example in sheet.examples] == [at * count // 4 for at in range(4)]
    words = ["clean", f"gaussian noise, severity {SEVERITY}", f"shot noise, severity {SEVERITY}", "PGD L∞ 8/255"]
    assert [[version.what for version in example.versions] for example in sheet.examples] == [words] * 4
    assert len(list((folder / "examples").glob("*.png"))) == 16  # none of the nine before are left


def test_pictures_are_the_images_that_are_measured(sheet: ExampleSheet) -> None:
    images = load("digits", split="test")
    example = sheet.examples[2]
    (batch,) = images.subset(torch.tensor([example.position])).batches(1)
    noisy = corrupt(batch.images, load_spec("cifar10_c"), "gaussian_noise", SEVERITY, seed=0, indices=batch.indices)
    for version, image in zip(example.versions, (batch.images, noisy), strict=False):
        assert (pixels(version.png) - image[0, 0]).abs().max() <= 0.5 / 255 + 1e-6
    adversarial = pixels(example.versions[3].png)
    assert 0 < (adversarial - batch.images[0, 0]).abs().max() <= 8.5 / 255 + 1e-6
    assert example.label == images.classes[int(batch.labels[0])]


def test_answers_are_those_of_the_model(sheet: ExampleSheet, subject: Subject) -> None:
    images = load("digits", split="test")
    for example in sheet.examples:
        (batch,) = images.subset(torch.tensor([example.position])).batches(1)
        with torch.no_grad():
            chances = subject.model.eval()(batch.images).softmax(1)[0]
        (answer,) = example.versions[0].answers
        assert answer.label == images.classes[int(chances.argmax())]
        assert answer.confidence == pytest.approx(float(chances.max()), abs=1e-3)
        assert answer.right == (answer.label == example.label)


def test_one_corruption_of_each_group_is_shown_by_default() -> None:
    groups = load_spec("cifar10_c").corruptions
    assert {groups[name].group for name in SHOWN} == {"noise", "blur", "weather", "digital"}
