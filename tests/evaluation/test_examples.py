from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.corruptions import corrupt, load_spec
from robustcsc.data import load
from robustcsc.evaluation.examples import SEVERITY, SHOWN, make_examples
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.examples import ExampleSheet
from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.records import Subject
from robustcsc.models.checkpoint import load_shipped


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    shipped = load_shipped("sdnet-digits")
    subject = Subject(run="demo", model="sdnet-digits", weights=shipped.weights)
    return LoadedModel(subject=subject, model=shipped.model, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def sheet(model: LoadedModel) -> ExampleSheet:
    noises = ("gaussian_noise", "shot_noise")
    return make_examples(model, load("digits", split="test"), count=4, spec=load_spec("cifar10_c"), corruptions=noises)


def pixels(png: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)))).float() / 255


def test_images_are_evenly_spaced_and_come_in_every_version(sheet: ExampleSheet) -> None:
    count = len(load("digits", split="test"))
    assert [example.position for example in sheet.examples] == [at * count // 4 for at in range(4)]
    assert (sheet.images.count, sheet.images.dataset, sheet.subject.run) == (count, "digits", "demo")
    for example in sheet.examples:
        clean, *noisy, attacked = [version.perturbation for version in example.versions]
        assert clean == Clean()
        assert [(it.name, it.severity) for it in noisy if isinstance(it, Corruption)] == [
            ("gaussian_noise", SEVERITY),
            ("shot_noise", SEVERITY),
        ]
        assert isinstance(attacked, Attack) and attacked.threat.epsilon == 8 / 255


def test_pictures_are_the_images_that_are_measured(sheet: ExampleSheet) -> None:
    images = load("digits", split="test")
    example = sheet.examples[2]
    (batch,) = images.subset(torch.tensor([example.position])).batches(1)
    spec, indices = load_spec("cifar10_c"), batch.indices
    noisy = corrupt(batch.images, spec, "gaussian_noise", SEVERITY, seed=0, indices=indices, as_published=True)
    for version, image in zip(example.versions, (batch.images, noisy), strict=False):
        assert torch.equal(pixels(version.png), image[0, 0])
    adversarial = pixels(example.versions[3].png)
    assert 0 < (adversarial - batch.images[0, 0]).abs().max() <= 8.5 / 255 + 1e-6
    assert example.label == images.classes[int(batch.labels[0])]


def test_answers_are_those_of_the_model(sheet: ExampleSheet, model: LoadedModel) -> None:
    images = load("digits", split="test")
    for example in sheet.examples:
        (batch,) = images.subset(torch.tensor([example.position])).batches(1)
        with torch.no_grad():
            chances = model.model.eval()(batch.images).softmax(1)[0]
        (answer,) = example.versions[0].answers
        assert answer.policy == TrainingLambda()
        assert answer.label == images.classes[int(chances.argmax())]
        assert answer.confidence == pytest.approx(float(chances.max()), abs=1e-3)
        assert answer.right == (answer.label == example.label)


def test_one_corruption_of_each_group_is_shown_by_default() -> None:
    groups = load_spec("cifar10_c").corruptions
    assert {groups[name].group for name in SHOWN} == {"noise", "blur", "weather", "digital"}
