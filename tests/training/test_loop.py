from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustcsc.data import MemoryImages
from robustcsc.errors import CheckpointError
from robustcsc.layers.csc import csc_layers
from robustcsc.models.catalog import ModelSpec, build, default_spec
from robustcsc.training.batches import Augmentation
from robustcsc.training.loop import Epoch, train
from robustcsc.training.recipes import Recipe


class Stopped(Exception):
    """Stands for Ctrl-C."""


def fresh(spec: ModelSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec)


def everything(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, also those outside the state dict."""
    return {**model.state_dict(), **dict(model.named_buffers())}


def trained(model: nn.Module, images: MemoryImages, recipe: Recipe, **settings: Any) -> list[Epoch]:
    return train(model, images, recipe, fabric=Fabric(accelerator="cpu", devices=1), **settings)


def test_the_loss_falls_and_the_digits_are_learned(digits: MemoryImages, spec: ModelSpec, recipe: Recipe) -> None:
    model = fresh(spec)
    epochs = trained(model, digits, replace(recipe, epochs=12, batch_size=10, crop_padding=0))
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert not model.training
    (batch,) = digits.batches(100)
    with torch.no_grad():
        accuracy = (model(batch.images).argmax(1) == batch.labels).float().mean()
    assert accuracy > 0.6  # guessing gives 0.1


def test_atoms_have_unit_norm_and_fitting_step_sizes_after_every_step(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe
) -> None:
    model = fresh(spec)
    (layer,) = csc_layers(model).values()
    start = layer.dictionary.weight.detach().clone()
    steps = 0

    def check(label: str, done: float, total: float) -> None:
        nonlocal steps
        steps += 1
        atoms = layer.dictionary.weight.detach().flatten(1)
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(8))
        # A*A of an 8x8 image as a dense matrix: its largest eigenvalue is the squared spectral norm
        basis = layer.operator.as_matrix((8, 8)).detach()
        assert layer.dictionary.lipschitz.item() == pytest.approx(
            torch.linalg.matrix_norm(basis, 2).item() ** 2, rel=0.02
        )

    trained(model, digits, recipe, progress=check)
    assert steps == 3 * 3  # 100 images are three whole batches of 32
    assert not torch.allclose(layer.dictionary.weight, start)


def test_the_learning_rate_follows_the_recipe(digits: MemoryImages, spec: ModelSpec, recipe: Recipe) -> None:
    still, moving = fresh(spec), fresh(spec)
    before = {name: value.clone() for name, value in still.named_parameters()}
    trained(still, digits, replace(recipe, learning_rate=0.0))
    trained(moving, digits, recipe)
    torch.testing.assert_close(dict(still.named_parameters()), before)
    assert not torch.equal(before["network.head.weight"], dict(moving.named_parameters())["network.head.weight"])


@pytest.mark.parametrize("augment", ["none", "gaussian"])
@pytest.mark.parametrize("at", ["after epoch 1", "inside epoch 2"])
def test_a_resumed_training_has_the_same_bits(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path, augment: Augmentation, at: str
) -> None:
    whole = fresh(spec)
    expected = trained(whole, digits, recipe, augment=augment)

    def stop_after_epoch(epoch: Epoch) -> None:
        if at == "after epoch 1":
            raise Stopped

    def stop_inside(label: str, done: float, total: float) -> None:
        if at == "inside epoch 2" and label == "epoch 2/3" and done > 1.5:
            raise Stopped

    state = tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(
            fresh(spec),
            digits,
            recipe,
            augment=augment,
            state_path=state,
            on_epoch=stop_after_epoch,
            progress=stop_inside,
        )
    resumed = build(spec)  # other weights: nothing may remain of them
    numbers: list[int] = []
    epochs = trained(
        resumed,
        digits,
        recipe,
        augment=augment,
        state_path=state,
        resume=True,
        on_epoch=lambda epoch: numbers.append(epoch.number),
    )
    assert numbers == [2, 3]
    assert [(e.number, e.loss, e.accuracy) for e in epochs] == [(e.number, e.loss, e.accuracy) for e in expected]
    torch.testing.assert_close(everything(resumed), everything(whole), rtol=0, atol=0)


def test_a_finished_training_resumes_to_itself(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path
) -> None:
    short = replace(recipe, epochs=1)
    first, again = fresh(spec), build(spec)
    history = trained(first, digits, short, state_path=tmp_path / "s.pt")
    assert trained(again, digits, short, state_path=tmp_path / "s.pt", resume=True) == history
    torch.testing.assert_close(everything(again), everything(first), rtol=0, atol=0)


def test_augmentation_and_seed_matter(digits: MemoryImages, spec: ModelSpec, recipe: Recipe) -> None:
    short = replace(recipe, epochs=1)
    losses = [
        trained(fresh(spec), digits, short, **settings)[0].loss
        for settings in ({}, {}, {"seed": 1}, {"augment": "gaussian"})
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "seed": lambda it: {**it, "seed": 1},
    "augment": lambda it: {**it, "augment": "gaussian"},
    "recipe": lambda it: {**it, "recipe": replace(it["recipe"], learning_rate=0.05)},
    "images": lambda it: {**it, "images": it["images"].subset(torch.arange(99))},
    "size": lambda it: {**it, "spec": replace(it["spec"], options={"atoms": 9})},
    "lambda": lambda it: {**it, "spec": replace(it["spec"], options={"atoms": 8, "lam": 0.5})},
    "steps": lambda it: {**it, "spec": replace(it["spec"], options={"atoms": 8, "num_steps": 3})},
    "signed": lambda it: {**it, "spec": replace(it["spec"], options={"atoms": 8, "signed": True})},
}


def test_resuming_with_other_settings_is_refused(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"spec": spec, "images": digits, "recipe": replace(recipe, epochs=1), "seed": 0}

    def start(spec: ModelSpec, images: MemoryImages, recipe: Recipe, **more: Any) -> None:
        trained(build(spec), images, recipe, state_path=tmp_path / "s.pt", **more)

    start(**settings)
    for change in CHANGES.values():
        with pytest.raises(CheckpointError, match="another model, data, recipe or seed"):
            start(**change(settings), resume=True)


def test_a_damaged_state_is_one_sentence(digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "s.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="delete it to train from the start"):
        trained(fresh(spec), digits, recipe, state_path=tmp_path / "s.pt", resume=True)


def test_fewer_images_than_a_batch_are_one_batch(digits: MemoryImages, spec: ModelSpec, recipe: Recipe) -> None:
    seen: list[tuple[float, float]] = []
    few = digits.subset(torch.arange(10))
    trained(fresh(spec), few, replace(recipe, epochs=2), progress=lambda label, done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_recipe_that_counts_steps_ends_inside_an_epoch(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe, tmp_path: Path
) -> None:
    counted = replace(recipe, epochs=0, iterations=7, schedule="inverse", turn=2, momentum=0.0, nesterov=False)
    seen: list[tuple[str, float, float]] = []
    whole = fresh(spec)
    epochs = trained(whole, digits, counted, progress=lambda *told: seen.append(told))
    assert [label for label, _, _ in seen] == [f"epoch {epoch}/3" for epoch in (1, 1, 1, 2, 2, 2, 3)]
    assert [done / total for _, done, total in seen] == pytest.approx([1 / 9, 2 / 9, 3 / 9, 4 / 9, 5 / 9, 6 / 9, 1])
    assert len(epochs) == 3

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Stopped

    state = tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(fresh(spec), digits, counted, state_path=state, on_epoch=stop)
    resumed = build(spec)
    trained(resumed, digits, counted, state_path=state, resume=True)
    torch.testing.assert_close(everything(resumed), everything(whole), rtol=0, atol=0)


def test_weight_decay_reaches_only_the_parameters_that_are_named(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe
) -> None:
    """One plain step: the difference that decay makes is ``-rate * decay * weight`` where it is meant."""
    one = replace(recipe, epochs=0, iterations=1, schedule="inverse", turn=1, momentum=0.0, nesterov=False)
    models = {}
    for decay in (0.0, 0.5):
        models[decay] = fresh(spec)
        trained(models[decay], digits, replace(one, weight_decay=decay, decayed="*.head.weight"))
    start = dict(fresh(spec).named_parameters())
    without = dict(models[0.0].named_parameters())
    for name, decayed in models[0.5].named_parameters():
        expected = -0.1 * 0.5 * start[name] if name == "network.head.weight" else torch.zeros_like(decayed)
        torch.testing.assert_close(decayed - without[name], expected, rtol=1e-4, atol=1e-7)


def test_the_first_step_of_adam_is_as_long_as_the_rate_for_every_parameter(
    digits: MemoryImages, spec: ModelSpec, recipe: Recipe
) -> None:
    model = fresh(spec)
    trained(model, digits.subset(torch.arange(32)), replace(recipe, epochs=1, optimiser="adam", weight_decay=0.0))
    start = dict(fresh(spec).named_parameters())["network.head.weight"]
    moved = (dict(model.named_parameters())["network.head.weight"] - start).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1), rtol=1e-3, atol=0)


def test_a_training_in_phases_has_the_same_bits_if_resumed_in_the_second(
    digits: MemoryImages, recipe: Recipe, tmp_path: Path
) -> None:
    """Five warm steps of three an epoch, and dropout, which draws from torch's global generator."""
    spec = default_spec("mdeq-digits", 10, (1, 8, 8), options={"dropout": 0.3, "num_steps": 3, "backward_steps": 3})
    phased = replace(recipe, optimiser="adam", learning_rate=1e-3, final_rate=1e-6, warm_steps=5)
    warm: list[bool] = []
    whole = fresh(spec)
    fixed_point = whole.get_submodule("network.fixed_point")
    fixed_point.register_forward_pre_hook(lambda module, inputs: warm.append(module.warm))
    trained(whole, digits, phased)
    assert warm == [True] * 5 + [False] * 4

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Stopped

    state = tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(fresh(spec), digits, phased, state_path=state, on_epoch=stop)
    torch.rand(7)  # the global generator is elsewhere
    resumed = build(spec)
    trained(resumed, digits, phased, state_path=state, resume=True)
    torch.testing.assert_close(everything(resumed), everything(whole), rtol=0, atol=0)


def test_a_model_is_not_warm_after_a_training_of_warm_steps_only(digits: MemoryImages, recipe: Recipe) -> None:
    model = fresh(default_spec("mdeq-digits", 10, (1, 8, 8)))
    trained(model, digits.subset(torch.arange(32)), replace(recipe, epochs=1, warm_steps=5))
    assert not model.get_submodule("network.fixed_point").warm
