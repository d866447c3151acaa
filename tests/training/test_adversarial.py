from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustcsc.attacks.gradient import pgd
from robustcsc.data import MemoryImages, load
from robustcsc.errors import AttackError, CheckpointError, RobustCSCError
from robustcsc.measurements.threats import ThreatModel
from robustcsc.models.catalog import ModelSpec, build, default_spec
from robustcsc.training.adversarial import AdversarialTraining, Adversary
from robustcsc.training.loop import train
from robustcsc.training.recipes import Recipe

CPU = Fabric(accelerator="cpu", devices=1)


def fresh(spec: ModelSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec)


def linear() -> nn.Module:
    """Two classes told apart by one direction: the worst change of an image is known."""
    last = nn.Linear(16, 2)
    with torch.no_grad():
        direction = torch.where(torch.arange(16) % 3 == 0, -1.0, 2.0)
        last.weight.copy_(torch.stack([direction, -direction]))
    return nn.Sequential(nn.Flatten(), last)


@pytest.mark.parametrize(
    ("adversary", "least", "all_the_way"),
    # A start at u in [-1, 1] of the budget ends at min(1, u + 7/4), or min(1, u + 5/4) after the one step.
    [("pgd-7", 0.75, 0.875), ("fgsm", 0.25, 0.625)],
)
def test_a_linear_model_is_attacked_as_far_as_the_steps_lead(
    adversary: Adversary, least: float, all_the_way: float
) -> None:
    images = torch.full((100, 1, 4, 4), 0.5)
    found = AdversarialTraining(adversary, 0.1).attack(linear(), images, torch.zeros(100, dtype=torch.int64), seed=0)
    worst = torch.where(torch.arange(16) % 3 == 0, 0.1, -0.1).view(1, 1, 4, 4)
    share = (found - images) / worst
    assert share.min() >= least - 1e-5
    assert share.max() <= 1 + 1e-5
    assert (share > 1 - 1e-5).float().mean().item() == pytest.approx(all_the_way, abs=0.03)


def test_attacking_leaves_modes_weights_and_gradients_alone(spec: ModelSpec, digits: MemoryImages) -> None:
    model = fresh(spec).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (batch,) = digits.batches(100)
    AdversarialTraining("pgd-7").attack(model, batch.images, batch.labels, seed=0)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_network_is_trained_on_images_within_the_ball_that_raise_its_loss(
    spec: ModelSpec, digits: MemoryImages, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor, float, float]] = []
    attack = AdversarialTraining.attack

    def spy(self: AdversarialTraining, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        found = attack(self, model, images, labels, seed=seed)
        with torch.no_grad():
            model.eval()
            before, after = (float(nn.functional.cross_entropy(model(it), labels)) for it in (images, found))
            model.train()
        seen.append((images, found, before, after))
        return found

    monkeypatch.setattr(AdversarialTraining, "attack", spy)
    train(fresh(spec), digits, replace(recipe, epochs=2), fabric=CPU, adversarial=AdversarialTraining("fgsm", 0.1))
    assert len(seen) == 2 * 3
    for clean, found, before, after in seen:
        assert (found - clean).abs().max() <= 0.1 + 1e-6 and found.min() >= 0 and found.max() <= 1
        assert after > before


def test_it_is_the_same_whether_or_not_it_was_stopped(
    spec: ModelSpec, digits: MemoryImages, recipe: Recipe, tmp_path: Path
) -> None:
    adversarial, whole, state = AdversarialTraining("fgsm"), fresh(spec), tmp_path / "state"
    train(whole, digits, recipe, fabric=CPU, adversarial=adversarial)

    class Stopped(Exception):
        """Stands for Ctrl-C."""

    def stop(label: str, done: float, total: float) -> None:
        if label.startswith("epoch 2"):
            raise Stopped

    with pytest.raises(Stopped):
        train(fresh(spec), digits, recipe, fabric=CPU, adversarial=adversarial, state_path=state, progress=stop)
    with pytest.raises(CheckpointError, match="other"):
        train(fresh(spec), digits, recipe, fabric=CPU, state_path=state, resume=True)
    rest = fresh(spec)
    train(rest, digits, recipe, fabric=CPU, adversarial=adversarial, state_path=state, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


@pytest.mark.parametrize("adversary", ["fgsm", pytest.param("pgd-7", marks=pytest.mark.slow)])
def test_what_was_trained_on_attacked_images_resists_them_better(adversary: Adversary) -> None:
    images, test = load("digits", split="train"), load("digits", split="test")
    spec = default_spec("resnet-digits", 10, (1, 8, 8))
    recipe = Recipe(
        epochs=4, batch_size=64, learning_rate=0.2, schedule="onecycle", crop_padding=0, flip=False, source=""
    )
    plain, hardened = fresh(spec), fresh(spec)
    train(plain, images, recipe, fabric=CPU)
    train(hardened, images, recipe, fabric=CPU, adversarial=AdversarialTraining(adversary, 0.1))
    batch = next(test.batches(200))
    right = []
    for model in (plain, hardened):
        found = pgd(model, batch.images, batch.labels, ThreatModel("linf", 0.1), steps=10, step_size=0.02)
        with torch.no_grad():
            right.append(int((model(found).argmax(1) == batch.labels).sum()))
    assert right[1] > right[0] + 20


@pytest.mark.parametrize(
    ("adversary", "epsilon", "error", "words"),
    [
        ("pgd", 0.1, RobustCSCError, "pgd-7 and fgsm"),
        ("fgsm", 0.0, RobustCSCError, "ordinary training"),
        ("fgsm", -0.1, AttackError, "at least 0"),
        ("fgsm", 8.0, AttackError, "8/255"),
    ],
)
def test_what_makes_no_sense_is_refused(
    adversary: Adversary, epsilon: float, error: type[RobustCSCError], words: str
) -> None:
    with pytest.raises(error, match=words):
        AdversarialTraining(adversary, epsilon)
