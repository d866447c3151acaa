from dataclasses import replace
from pathlib import Path

from robustcsc.measurements.trainings import Training
from robustcsc.models import checkpoint
from robustcsc.models.catalog import build, default_spec

TRAINING = Training(
    weights="5d" * 32,
    model="sdnet18",
    options={"num_steps": 2},
    parameters=100,
    data="cifar10",
    trained_on=45_000,
    images="feed",
    recipe={"batch_size": 128, "epochs": 16},
    augment="none",
    adversarial=None,
    precision="32-true",
    epochs=16,
    seed=3,
    seconds=12.5,
)


def test_trainings_that_differ_in_seed_weights_and_time_alone_are_one_way_of_training() -> None:
    other = replace(TRAINING, weights="ab" * 32, seed=4, seconds=13.0)
    assert other != TRAINING
    assert other.without_seed == TRAINING.without_seed
    assert len({it.without_seed: it for it in (TRAINING, other)}) == 1
    for changed in (replace(other, options={"num_steps": 3}), replace(other, recipe={"epochs": 16})):
        assert len({it.without_seed: it for it in (TRAINING, changed)}) == 2


def test_the_way_of_training_names_recipe_augmentation_adversary_and_precision() -> None:
    assert replace(TRAINING, seed=4, model="other", options={}).how == TRAINING.how
    attacked = replace(TRAINING, adversarial={"name": "pgd-7"})
    ways = (TRAINING, replace(TRAINING, augment="gaussian"), replace(TRAINING, precision="bf16-mixed"), attacked)
    assert len({it.how for it in (*ways, replace(TRAINING, recipe={"epochs": 16}))}) == 5


def test_a_checkpoint_tells_how_it_was_trained(tmp_path: Path) -> None:
    spec = default_spec("detrame-resnet8", 10, (3, 32, 32), normalization="cifar10")
    model = build(spec)
    facts = {
        "data": "cifar10",
        "trained_on": 45_000,
        "images": "feed",
        "recipe": {"epochs": 16, "batch_size": 128},
        "augment": "none",
        "hardware": {"precision": "32-true"},
        "seed": 3,
        "seconds": 12.5,
    }
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path, spec, model, facts)
    found = Training.read(path)
    assert found is not None
    assert (found.model, found.seed, found.epochs, found.seconds) == ("detrame-resnet8", 3, 16, 12.5)
    assert found.parameters == sum(it.numel() for it in model.parameters())
    assert found.weights == checkpoint.load(path).weights
    assert found.options["num_steps"] == 3
    assert list(found.recipe.items()) == [("batch_size", 128), ("epochs", 16)]
    assert (found.augment, found.adversarial, found.precision) == ("none", None, "32-true")
    checkpoint.save(path, spec, model, facts | {"recipe": []})
    assert Training.read(path) is None
    checkpoint.save(path, spec, model, {"data": "cifar10"})
    assert Training.read(path) is None
    path.write_bytes(b"damaged")
    assert Training.read(path) is None
    assert Training.read(tmp_path / "absent") is None
