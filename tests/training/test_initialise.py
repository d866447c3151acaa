from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from robustcsc.data import DecodedImages, MemoryImages, load
from robustcsc.errors import DataError
from robustcsc.layers.elastic_net import elastic_net
from robustcsc.models.catalog import ModelSpec, build, default_spec
from robustcsc.models.tddl import TaskDriven
from robustcsc.training.initialise import BATCH_SIZE, PASSES, fit_classifier, initialise, learn_atoms


@pytest.fixture(scope="module")
def many() -> MemoryImages:
    """400 digits of the training split."""
    images = load("digits", split="train")
    assert isinstance(images, MemoryImages)
    return images.subset(torch.arange(400))


def test_damaged_files_have_no_part_in_the_start(many: MemoryImages, tmp_path: Path) -> None:
    for row, (pixels, label) in enumerate(zip(many.pixels, many.labels.tolist(), strict=True)):
        path = tmp_path / "train" / str(label) / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(path)
    (tmp_path / "train" / str(int(many.labels[7])) / "007.png").write_bytes(b"no image")
    images = load("imagefolder", tmp_path, "train")
    assert isinstance(images, DecodedImages)
    started = []
    for its in (images, images.in_memory):
        model, network = fresh()
        initialise(model, its, nu=0.1)
        started.append((network.code.dictionary, network.head.weight))
    assert len(images.in_memory) == 399
    torch.testing.assert_close(started[0], started[1], rtol=0, atol=0)


def fresh(name: str = "tddl-cnn", **options: Any) -> tuple[Any, TaskDriven]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(default_spec(name, 10, (1, 8, 8), options={"atoms": 33, **options}))
    network = model.get_submodule("network")
    assert isinstance(network, TaskDriven)
    return model, network


def test_online_learning_finds_planted_atoms() -> None:
    generator = torch.Generator().manual_seed(0)
    planted = F.normalize(torch.randn(20, 5, generator=generator), dim=0)
    codes = torch.randn(3000, 5, generator=generator) * (torch.rand(3000, 5, generator=generator) < 0.3)
    found = learn_atoms(codes @ planted.T + 1e-3 * torch.randn(3000, 20, generator=generator), 5, 0.2, seed=1)
    assert found.norm(dim=0).max() <= 1 + 1e-6
    assert (F.normalize(found, dim=0).T @ planted).abs().amax(0).min() > 0.98


@pytest.mark.parametrize("count", [130, 400])
def test_dictionary_learning_makes_all_the_passes_it_states(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[MiniBatchDictionaryLearning] = []

    class Kept(MiniBatchDictionaryLearning):  # type: ignore[misc]
        def fit(self, features: Any, y: object = None) -> Any:
            ended.append(self)
            return super().fit(features, y)

    monkeypatch.setattr("sklearn.decomposition.MiniBatchDictionaryLearning", Kept)
    features = torch.randn(count, 20, generator=torch.Generator().manual_seed(0))
    learn_atoms(features, 8, 0.5, seed=1)
    assert ended[0].n_steps_ == PASSES * math.ceil(count / BATCH_SIZE)


def test_the_classifier_is_the_minimum_of_its_objective() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(200, 12, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    codes[torch.arange(200), labels] += 1
    nu = 0.1
    weight = fit_classifier(codes, labels, 4, nu)
    reference = LogisticRegression(C=1 / (nu * 200), fit_intercept=False, tol=1e-8, max_iter=1000)
    reference.fit(codes.numpy(), labels.numpy())
    np.testing.assert_allclose(weight.numpy(), reference.coef_, atol=2e-4)


def test_every_class_has_its_share_of_atoms_and_the_classifier_knows_it(many: MemoryImages) -> None:
    model, network = fresh(lam=1.0)
    before = network.features.state_dict()
    kept = {name: value.clone() for name, value in before.items()}
    initialise(model, many, nu=0.1)
    torch.testing.assert_close(network.features.state_dict(), kept)  # the features stay as they were drawn
    assert network.code.dictionary.detach().norm(dim=0).max() <= 1 + 1e-6
    owners = torch.repeat_interleave(torch.arange(10), torch.tensor([4, 4, 4, *[3] * 7]))  # 33 atoms for ten classes
    strongest = network.head.weight.detach().argmax(0)
    assert (strongest == owners).float().mean() > 0.7  # guessing gives 0.1
    (batch,) = many.batches(400)
    with torch.no_grad():
        assert (model.eval()(batch.images).argmax(1) == batch.labels).float().mean() > 0.8


def test_the_dictionary_explains_the_features_better_than_random_atoms(many: MemoryImages) -> None:
    model, network = fresh()
    (batch,) = many.batches(400)

    def objective() -> float:
        with torch.no_grad():
            features = network.features(batch.images)
            lam = torch.full((400,), network.code.lam0)
            codes = elastic_net(features, network.code.dictionary, lam)
            fit = (features - codes @ network.code.dictionary.T).square().sum(1) / 2
            return float((fit + lam * codes.abs().sum(1)).mean())

    random = objective()
    initialise(model, many, nu=0.1)
    assert objective() < 0.7 * random


def test_the_same_seed_starts_the_same_and_another_one_differently(many: MemoryImages) -> None:
    def dictionary(seed: int) -> Tensor:
        model, network = fresh()
        initialise(model, many, nu=0.1, seed=seed)
        return network.code.dictionary.detach()

    before = torch.random.get_rng_state()
    assert torch.equal(dictionary(0), dictionary(0))
    assert not torch.equal(dictionary(0), dictionary(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_modes_are_as_before(many: MemoryImages) -> None:
    model, _ = fresh()
    model.train()
    initialise(model, many, nu=0.1)
    assert all(module.training for module in model.modules())


def test_other_models_stay_as_they_are(many: MemoryImages, spec: ModelSpec) -> None:
    model = build(spec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, many, nu=0.1)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("atoms", [60, 5])
def test_a_class_without_enough_images_is_one_sentence(digits: MemoryImages, atoms: int) -> None:
    few = digits.subset(torch.arange(40))
    with pytest.raises(DataError, match=r"^Class '\d' has \d+ training images for its \d+ of .*--model-option atoms=N"):
        initialise(fresh(atoms=atoms)[0], few, nu=0.1)
