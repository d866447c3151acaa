from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from robustcsc.data import MemoryImages, hold_out, load
from robustcsc.errors import CheckpointError, DataError, RobustCSCError
from robustcsc.measurements.records import Location
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, build, default_spec
from robustcsc.models.checkpoint import Checkpoint, load_shipped, weights_hash
from robustcsc.runs import Run, create
from robustcsc.training.loop import Epoch, train
from robustcsc.training.parts import balanced_subset, heldout_images
from robustcsc.training.recipes import RECIPES, Recipe
from robustcsc.training.run import Hardware, train_run


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=1)


def test_the_held_out_part_is_kept_out_of_training_and_found_again(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    run = create("r", tmp_path)
    trained = train_run(run, spec, digits, short, data="digits", heldout_fraction=0.2, seed=3)
    part, known = heldout_images(digits, trained)
    assert not known
    others, expected = hold_out(digits, 0.2, 3)
    assert part.positions.tolist() == expected.positions.tolist()
    assert len(part) == pytest.approx(20, abs=5)
    # The same weights come from training on the other images alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build(spec)
    train(model, others, short, fabric=Fabric(accelerator="cpu", devices=1), seed=3)
    assert weights_hash(model, spec) == trained.weights
    assert not set(part.positions.tolist()) & set(others.positions.tolist())


def test_a_model_trained_on_everything_says_so(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    trained = train_run(create("r", tmp_path), spec, digits, short, data="digits", heldout_fraction=0, seed=0)
    part, known = heldout_images(digits, trained)
    assert known
    assert 0 < len(part) < 25


def test_a_model_of_unknown_or_other_training_says_so_too(digits: MemoryImages, spec: ModelSpec) -> None:
    heldout = {"fraction": 0.2, "seed": 0, "fingerprint": hold_out(digits, 0.2, 0)[1].fingerprint}
    for training in ({}, {"heldout": {**heldout, "fingerprint": "0" * 16}}):
        foreign = Checkpoint(spec=spec, model=build(spec), weights="", training=training)
        assert heldout_images(digits, foreign)[1]
    assert not heldout_images(
        digits, Checkpoint(spec=spec, model=build(spec), weights="", training={"heldout": heldout})
    )[1]


@pytest.mark.parametrize("facts", [{"heldout_fraction": 0.2}, {"heldout_fraction": 0.0, "train_images": 40}])
def test_a_renamed_folder_still_holds_the_images_that_were_held_out(
    facts: dict[str, Any], digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "cifar10-jpeg"
    for position, (pixels, label) in enumerate(zip(digits.pixels, digits.labels.tolist(), strict=True)):
        path = folder / "train" / str(label) / f"{position:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(path)
    images = load("imagefolder", folder, "train")
    trained = train_run(create("r", tmp_path), spec, images, short, data="imagefolder", **facts)
    part, known = heldout_images(images, trained)
    renamed = load("imagefolder", folder.rename(tmp_path / "images"), "train")
    again, known_again = heldout_images(renamed, trained)
    assert renamed.name == "images" != images.name
    assert (known, known_again) == (False, False)
    assert again.positions.tolist() == part.positions.tolist()
    Image.fromarray(255 - digits.pixels[0, 0].numpy()).save(tmp_path / "images/train/0/000.png")
    changed = load("imagefolder", tmp_path / "images", "train")
    assert changed.fingerprint != trained.training["images"]


def test_the_shipped_digits_model_was_never_trained_on_its_held_out_images() -> None:
    part, known = heldout_images(load("digits", split="train"), load_shipped("sdnet-digits"))
    assert not known
    assert len(part) == pytest.approx(130, abs=5)


def test_test_images_are_refused(spec: ModelSpec, short: Recipe, tmp_path: Path) -> None:
    images = load("digits", split="test")
    with pytest.raises(RobustCSCError, match="training split, not on 'test'"):
        train_run(Run(tmp_path), spec, images, short, data="digits")


def test_the_run_holds_the_weights_and_how_they_were_made(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    run = create("r", tmp_path)
    epochs: list[Epoch] = []
    images = replace(digits, location=Location(data="digits", root=str(tmp_path)))
    trained = train_run(run, spec, images, short, data="digits", seed=5, augment="gaussian", on_epoch=epochs.append)
    loaded = checkpoint.load(run.weights_path)
    assert loaded.weights == trained.weights
    assert loaded.spec == spec
    facts = loaded.training
    assert (facts["data"], facts["root"], facts["seed"], facts["augment"]) == ("digits", str(tmp_path), 5, "gaussian")
    assert facts["images"] == digits.fingerprint
    assert (facts["recipe"]["learning_rate"], facts["final_epoch"]["loss"]) == (0.1, epochs[-1].loss)
    assert {"fraction": 0.1, "seed": 5}.items() <= facts["heldout"].items()


def test_an_interrupted_run_resumes_to_the_same_weights(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path
) -> None:
    two = replace(recipe, epochs=2)
    whole = train_run(create("whole", tmp_path), spec, digits, two, data="digits")

    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    run = create("stopped", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_run(run, spec, digits, two, data="digits", on_epoch=interrupt)
    assert not run.weights_path.exists()
    with pytest.raises(CheckpointError):  # another held-out part: other training images
        train_run(run, spec, digits, two, data="digits", heldout_fraction=0.2, resume=True)
    resumed = train_run(run, spec, digits, two, data="digits", resume=True)
    assert resumed.weights == whole.weights
    assert resumed.weights == checkpoint.load(run.weights_path).weights


def test_training_does_not_depend_on_the_global_random_state(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    weights = set()
    with torch.random.fork_rng(devices=[]):
        for seed in (11, 12):
            torch.manual_seed(seed)
            run = create(str(seed), tmp_path)
            weights.add(train_run(run, spec, digits, short, data="digits").weights)
    assert len(weights) == 1


def test_bfloat16_trains_close_to_32_bit_and_keeps_32_bit_weights(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path
) -> None:
    two = replace(recipe, epochs=2)
    losses: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    models = {}
    for precision in ("32-true", "bf16-mixed"):
        models[precision] = train_run(
            create(precision, tmp_path),
            spec,
            digits,
            two,
            data="digits",
            hardware=Hardware(precision=precision),
            on_epoch=lambda epoch, precision=precision: losses[precision].append(epoch.loss),  # type: ignore[misc]
        )
    assert models["bf16-mixed"].weights != models["32-true"].weights
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
    assert {p.dtype for p in models["bf16-mixed"].model.parameters()} == {torch.float32}


def test_a_balanced_subset_has_equally_many_of_each_class_and_follows_the_seed() -> None:
    images = load("digits", split="train")
    subset = balanced_subset(images, 104, 0)
    assert torch.bincount(subset.labels).tolist() == [11] * 4 + [10] * 6
    assert subset.positions.tolist() == sorted(set(subset.positions.tolist()))
    assert balanced_subset(images, 104, 0).fingerprint == subset.fingerprint
    assert balanced_subset(images, 104, 1).fingerprint != subset.fingerprint


@pytest.mark.parametrize("count", [9, 2000])
def test_a_subset_that_cannot_be_balanced_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"balanced subset of {count} images needs .*choose another --train-images"):
        balanced_subset(load("digits", split="train"), count, 0)


def test_a_model_of_few_images_says_which_and_keeps_its_held_out_part(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    trained = train_run(create("r", tmp_path), spec, digits, short, data="digits", train_images=40, seed=2)
    others, held = hold_out(digits, 0.1, 2)
    assert trained.training["subset"] == {
        "images": 40,
        "fingerprint": balanced_subset(others, 40, 2).fingerprint,
    }
    assert trained.training["trained_on"] == 40
    part, known = heldout_images(digits, trained)
    assert (part.fingerprint, known) == (held.fingerprint, False)


def test_without_a_held_out_part_the_images_outside_the_subset_take_its_place(
    digits: MemoryImages, spec: ModelSpec, short: Recipe, tmp_path: Path
) -> None:
    trained = train_run(
        create("r", tmp_path),
        spec,
        digits,
        short,
        data="digits",
        heldout_fraction=0,
        train_images=40,
        seed=2,
    )
    part, known = heldout_images(digits, trained)
    seen = set(balanced_subset(digits, 40, 2).positions.tolist())
    assert not known
    assert len(part) == len(digits) - 40
    assert not seen & set(part.positions.tolist())


def test_a_task_driven_model_starts_from_its_classes_and_resumes_to_the_same_weights(
    digits: MemoryImages, tmp_path: Path
) -> None:
    spec = default_spec("tddl-cnn", 10, (1, 8, 8), options={"atoms": 20})
    counted = replace(RECIPES["tddl-1k"], iterations=5, batch_size=32)
    losses: list[float] = []

    def note(epoch: Epoch) -> None:
        losses.append(epoch.loss)

    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    settings: dict[str, Any] = {"data": "digits"}
    whole = train_run(create("whole", tmp_path), spec, digits, counted, on_epoch=note, **settings)
    assert losses[0] < 1.5  # chance is log 10 = 2.3, which fresh weights exceed
    run = create("stopped", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_run(run, spec, digits, counted, on_epoch=interrupt, **settings)
    assert train_run(run, spec, digits, counted, resume=True, **settings).weights == whole.weights
