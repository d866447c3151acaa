from __future__ import annotations

import pytest

from robustcsc.training.recipes import RECIPES, Recipe, Schedule, adapted_recipe, default_recipe


def make(schedule: Schedule, epochs: int, milestones: tuple[int, ...] = ()) -> Recipe:
    return Recipe(
        epochs=epochs, batch_size=1, learning_rate=0.4, schedule=schedule, milestones=milestones, source="test"
    )


def test_cosine_starts_full_is_half_at_half_time_and_ends_at_zero() -> None:
    recipe = make("cosine", 200)
    assert recipe.rate_at(0) == 0.4
    assert recipe.rate_at(100) == pytest.approx(0.2)
    assert recipe.rate_at(200 / 3) == pytest.approx(0.3)  # (1 + cos 60 degrees) / 2 = 3/4
    assert recipe.rate_at(200) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0, 1), (29.99, 1), (30, 0.1), (59.9, 0.1), (60, 0.01), (89.9, 0.01), (90, 0.001), (100, 0.001)],
)
def test_steps_divide_by_ten_at_each_milestone(epoch: float, share: float) -> None:
    assert make("steps", 100, (30, 60, 90)).rate_at(epoch) == pytest.approx(0.4 * share)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0), (2, 0.5), (4, 1), (10, 0.5), (13, 0.25), (16, 0)])
def test_onecycle_peaks_after_a_quarter_and_is_zero_at_both_ends(epoch: float, share: float) -> None:
    assert make("onecycle", 16).rate_at(epoch) == pytest.approx(0.4 * share)


def test_the_paper_settings_are_those_of_section_4() -> None:
    cifar, imagenet = RECIPES["sdnet-cifar"], RECIPES["sdnet-imagenet"]
    assert (cifar.epochs, cifar.batch_size, cifar.learning_rate, cifar.schedule) == (220, 128, 0.1, "cosine")
    assert (cifar.momentum, cifar.weight_decay) == (0.9, 5e-4)
    assert (imagenet.epochs, imagenet.batch_size, imagenet.learning_rate) == (100, 512, 0.1)
    assert (imagenet.schedule, imagenet.milestones) == ("steps", (30, 60, 90))
    assert (imagenet.momentum, imagenet.nesterov) == (0.9, True)
    assert imagenet.weight_decay == 1e-4  # of the authors' code


def test_detrame_settings_are_those_of_section_5_2() -> None:
    cifar, svhn = RECIPES["detrame-cifar"], RECIPES["detrame-svhn"]
    for recipe in (cifar, svhn):
        assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 5e-4)
    assert [cifar.rate_at(epoch) for epoch in (0, 59.9, 60, 120, 160, 199.9)] == pytest.approx(
        [0.1, 0.1, 0.02, 0.004, 0.0008, 0.0008]
    )
    assert (cifar.epochs, cifar.crop_padding, cifar.flip) == (200, 4, True)
    assert [svhn.rate_at(epoch) for epoch in (0, 79.9, 80, 120)] == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    assert (svhn.epochs, svhn.crop_padding, svhn.flip) == (160, 0, False)  # no augmentation but on CIFAR


def test_tddl_settings_are_those_of_section_iv() -> None:
    many, few = RECIPES["tddl-60k"], RECIPES["tddl-1k"]
    assert (many.iterations, few.iterations) == (40_000, 1_000)
    for recipe in (many, few):
        assert (recipe.batch_size, recipe.learning_rate, recipe.turn) == (100, 0.05, 4_000)
        assert (recipe.weight_decay, recipe.decayed, recipe.momentum) == (0.1, "*.head.weight", 0.0)


def test_the_rate_is_constant_until_t0_and_then_falls_as_one_over_t() -> None:
    recipe = RECIPES["tddl-60k"]
    for t in (1, 600, 4_000, 4_001, 8_000, 40_000):
        assert recipe.rate_at((t - 1) / 600, 600) == pytest.approx(min(0.05, 0.05 * 4_000 / t))


def test_iterations_decide_the_number_of_epochs() -> None:
    recipe = RECIPES["tddl-60k"]
    assert (recipe.steps(600), recipe.length(600)) == (40_000, 67)  # 66 epochs of 600 and one of 400
    assert (RECIPES["digits"].steps(20), RECIPES["digits"].length(20)) == (400, 20)


def test_mdeq_settings_are_those_of_the_authors() -> None:
    large, tiny = RECIPES["mdeq-cifar"], RECIPES["mdeq-tiny"]
    assert (large.epochs, large.warm_steps, large.weight_decay, large.flip) == (220, 20_000, 0.0, True)
    assert (tiny.epochs, tiny.warm_steps, tiny.weight_decay, tiny.flip) == (50, 3_000, 2.5e-6, False)
    for recipe in (large, tiny):
        assert (recipe.optimiser, recipe.batch_size) == ("adam", 128)
        ends = [recipe.rate_at(epoch) for epoch in (0, recipe.epochs / 2, recipe.epochs)]
        assert ends == pytest.approx([1e-3, (1e-3 + 1e-6) / 2, 1e-6])


def test_a_shortened_training_has_as_large_a_warm_part() -> None:
    assert adapted_recipe("mdeq-cifar", epochs=22).warm_steps == 2_000


def test_records_name_what_recipes_can_say_since_later_only_where_it_is_said() -> None:
    """Keys and states of trainings before that stay what they were."""
    assert list(make("cosine", 3).facts) == [
        *("epochs", "batch_size", "learning_rate", "schedule", "source", "milestones", "drop", "momentum", "nesterov"),
        *("weight_decay", "decayed", "crop_padding", "flip", "iterations", "turn"),
    ]
    assert list(RECIPES["mdeq-tiny"].facts)[-3:] == ["optimiser", "final_rate", "warm_steps"]


@pytest.mark.parametrize(
    ("model", "data", "device", "recipe"),
    [
        ("mdeq", "cifar10", "cuda", "mdeq-cifar"),
        ("mdeq-tiny", "cifar10", "cpu", "mdeq-tiny"),
        ("mdeq-digits", "digits", "cpu", "mdeq-digits"),
        ("resnet20", "cifar10", "cpu", "cpu"),
        ("scn", "cifar10", "cuda", "scn-cifar"),
        ("scn-digits", "digits", "cuda", "digits"),
    ],
)
def test_the_default_recipe_is_one_that_trains_the_model(model: str, data: str, device: str, recipe: str) -> None:
    assert default_recipe(model, data, device, 1000) == recipe
