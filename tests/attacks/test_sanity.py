from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustcsc.attacks.catalog import counted, craft
from robustcsc.attacks.gradient import pgd
from robustcsc.attacks.sanity import LARGE_STEPS, STEPS, check_masking, lost_at_bounds_share, zero_gradient_share
from robustcsc.data import load
from robustcsc.errors import AttackError
from robustcsc.layers.gradients import Gradient
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements import facts
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.records import Flag
from robustcsc.measurements.threats import ThreatModel
from robustcsc.models.catalog import build, default_spec
from robustcsc.models.checkpoint import load_shipped
from robustcsc.training.loop import train
from robustcsc.training.recipes import RECIPES

IMAGES = torch.linspace(0.1, 0.9, 4 * 8).view(4, 2, 2, 2)
LABELS = torch.tensor([0, 1, 0, 1])


class Linear(nn.Module):
    """Two classes; the margin is a weighted sum of the pixels, scaled."""

    def __init__(self, weight: list[float], scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        margin = self.scale * images.flatten(1) @ self.weight
        return torch.stack([margin, -margin], dim=1)


class Rounded(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.round().flatten(1)[:, :2]


class Detached(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return images.detach().flatten(1) @ self.weight


def test_share_counts_the_pixels_the_model_ignores() -> None:
    assert zero_gradient_share(Linear([1, 0, 2, 0, 3, 0, -1, 1]), IMAGES, LABELS) == 3 / 8
    assert zero_gradient_share(Linear([1.0] * 8), IMAGES, LABELS) == 0.0


def test_a_saturated_model_masks_its_gradient_on_the_images_it_classifies_correctly() -> None:
    # All margins are hugely positive, so the loss of the two images of class 0 is exactly 0 in float32.
    assert zero_gradient_share(Linear([1.0] * 8, scale=1e4), IMAGES, LABELS) == 0.5


def test_models_without_a_gradient_have_share_one() -> None:
    assert zero_gradient_share(Rounded(), IMAGES, LABELS) == 1.0
    assert zero_gradient_share(Detached(torch.ones(8, 2)), IMAGES, LABELS) == 1.0
    with torch.no_grad():
        assert zero_gradient_share(Linear([1.0] * 8), IMAGES, LABELS) == 0.0


def test_share_leaves_no_traces() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2)).train()
    model[0].eval()
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    zero_gradient_share(model, IMAGES, LABELS)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not IMAGES.requires_grad


def test_bad_input_is_refused() -> None:
    with pytest.raises(AttackError, match="no images"):
        zero_gradient_share(Rounded(), IMAGES[:0], LABELS[:0])
    with pytest.raises(AttackError, match="must lie in"):
        zero_gradient_share(Rounded(), IMAGES * 2, LABELS)
    with pytest.raises(AttackError, match="below the 2 classes"):
        zero_gradient_share(Rounded(), IMAGES, LABELS + 1)


def test_dropout_counts_as_deterministic_because_models_are_evaluated_without_it() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    random_state = torch.get_rng_state()
    assert check_masking(model, IMAGES, LABELS, ThreatModel("linf", 0.1)).deterministic
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


class Network(nn.Module):
    """Convolutions whose logits are scaled: a large scale hides the gradient of the cross-entropy."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.body(images)
        return logits


def probe(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand(12, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, model(images).argmax(1)


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.5)])
def test_an_ordinary_model_raises_no_flag(threat: ThreatModel) -> None:
    images, labels = probe(Network())
    checks = check_masking(Network(), images, labels, threat)
    assert checks.flags == () and checks.images == 12


def test_the_numbers_are_those_of_one_step_of_all_steps_and_of_a_large_budget() -> None:
    images, labels = probe(Network())
    model, threat = Network(), ThreatModel("linf", 0.01)
    checks = check_masking(model, images, labels, threat)
    for steps, expected in ((1, checks.one_step), (STEPS, checks.all_steps)):
        changed = pgd(model, images, labels, threat, steps=steps, step_size=0.0025, random_start=False)
        assert nn.functional.cross_entropy(model(changed), labels).item() == pytest.approx(expected, abs=1e-6)
        if steps == 1:
            assert checks.broken_in_one_step == int((model(changed).argmax(1) != labels).sum())
    assert checks.deterministic and checks.zero_gradients == zero_gradient_share(model, images, labels)


def test_the_checks_take_as_few_forward_passes_as_they_say() -> None:
    images, labels = probe(Network())
    with counted(model := Network()) as calls:
        checks = check_masking(model, images, labels, ThreatModel("linf", 0.1))
    assert checks.right_at_large_budget == 0
    few, many = LARGE_STEPS
    # Ten steps and what they lead to, the clean gradient, a few large steps and what they lead to; probes of one image.
    assert calls.forward <= 12 * (STEPS + 1 + 1 + few + 1) + 3 + 12 * many / 4


def test_scaled_logits_are_flagged() -> None:
    images, labels = probe(Network())
    flags = check_masking(Network(1e6), images, labels, ThreatModel("linf", 0.1)).flags
    assert "zero-gradients" in flags and "not-zero-at-a-large-budget" in flags


@pytest.mark.parametrize(
    ("lam", "flags"),
    [
        (0.1, set()),  # as it was trained
        (3.0, {"zero-gradients", "loss-does-not-rise", "not-zero-at-a-large-budget"}),  # no atom is worth its price
    ],
)
def test_a_very_large_lambda_is_flagged_and_that_of_the_training_is_not(lam: float, flags: set[str]) -> None:
    model = load_shipped("sdnet-digits").model
    set_lambda(model, lam)
    batch = next(load("digits", split="test").batches(20))
    assert set(check_masking(model, batch.images, batch.labels, ThreatModel("linf", 8 / 255)).flags) == flags


def test_a_plain_trained_network_is_not_flagged() -> None:
    # Next to the shipped SDNet for digits there is no plain network for them: a few epochs make one.
    spec = default_spec("resnet-digits", 10, (1, 8, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec)
    train(model, load("digits", split="train"), replace(RECIPES["digits"], epochs=4), fabric=Fabric(accelerator="cpu"))
    batch = next(load("digits", split="test").batches(20))
    assert check_masking(model, batch.images, batch.labels, ThreatModel("linf", 8 / 255)).flags == ()


def test_a_staircase_and_a_random_model_are_flagged() -> None:
    class Staircase(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Network()

        def forward(self, images: Tensor) -> Tensor:
            flat = torch.floor(images * 4) / 4
            logits: Tensor = self.body(flat + 0 * images)
            return logits

    class Random(Staircase):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.body(images + 0.01 * torch.randn_like(images))
            return logits

    images, labels = probe(Network())
    flags = check_masking(Staircase(), images, labels, ThreatModel("linf", 0.02)).flags
    assert {"zero-gradients", "loss-does-not-rise", "not-zero-at-a-large-budget"} <= set(flags)
    assert "not-deterministic" in check_masking(Random(), images, labels, ThreatModel("linf", 0.1)).flags


def test_a_planted_adversarial_example_is_found() -> None:
    # Class 1 is a narrow ridge at one point of the ball; a quadratic bowl leads to it.
    images = torch.full((1, 2, 4, 4), 0.5)
    planted = images + 0.1 * torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3)).sign()

    class Planted(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            distance = (seen - planted).flatten(1).square().sum(1)
            return torch.stack([distance, torch.full_like(distance, 0.02)], dim=1)

    labels = torch.tensor([0])
    model = Planted()
    assert int(model(images).argmax()) == 0 and int(model(planted).argmax()) == 1
    threat = ThreatModel("linf", 0.1)
    for name in ("pgd", "apgd", "fgsm"):
        found = craft(AttackStep.of(name), model, images, labels, threat, seed=0)
        assert int(model(found).argmax()) == 1, name


ONE = torch.ones(1, requires_grad=True)
CLAMPED = 1.0 - torch.autograd.grad(ONE.clamp(0, 1), ONE)[0].item()
CLAMPS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    # Before PyTorch 2.14 the derivative of clamp was 1 at its bounds; that of hardtanh and relu6 has always been 0.
    "clamp": (lambda images: images.clamp(0, 1), CLAMPED),
    "clip": (lambda images: torch.clip(images, 0.0, 1.0), CLAMPED),
    "hardtanh": (lambda images: nn.functional.hardtanh(images, 0.0, 1.0), 1.0),
    "relu6": (lambda images: nn.functional.relu6(6 * images) / 6, 1.0),
    "black only": (lambda images: nn.functional.relu(images), 0.5),
    "wider": (lambda images: images.clamp(-1, 2), 0.0),
    "none": (lambda images: images, 0.0),
}


@pytest.mark.parametrize("name", CLAMPS)
def test_a_clamp_hides_the_gradient_of_pixels_at_its_bounds(name: str) -> None:
    clamp, expected = CLAMPS[name]

    class Clamped(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(clamp(images))

    model = Clamped([1.0] * 8)
    images = IMAGES.clone()
    images.flatten(1)[:, 0], images.flatten(1)[:, 1] = 0, 1
    assert lost_at_bounds_share(model, images, LABELS) == expected
    assert lost_at_bounds_share(model, images.clamp(0.01, 0.99), LABELS) == 0
    checks = check_masking(model, images, LABELS, ThreatModel("linf", 0.1))
    assert (checks.lost_at_bounds, Flag.ZERO_GRADIENTS in checks.flags) == (expected, expected > 0)


class Misleading(Linear):
    """Solves a problem whose implicit gradient points the other way, or is right."""

    def __init__(self, sign: float) -> None:
        super().__init__([1.0] * 8)
        self.gradient: Gradient = "implicit"
        self.sign = sign

    def forward(self, images: Tensor) -> Tensor:
        sign = self.sign if self.gradient == "implicit" else 1.0
        return super().forward(images.detach() + sign * (images - images.detach()))


@pytest.mark.parametrize(("sign", "flags"), [(-1.0, (Flag.GRADIENTS_DIFFER,)), (1.0, ())])
def test_a_model_with_two_gradients_is_checked_by_the_stronger_one(sign: float, flags: tuple[Flag, ...]) -> None:
    model = Misleading(sign)
    checks = check_masking(model, IMAGES, LABELS, ThreatModel("linf", 0.1))
    assert checks.compared is not None
    assert checks.compared.cosine == pytest.approx(sign)
    assert checks.compared.unrolled_is_stronger == (sign < 0)
    assert checks.all_steps == max(checks.compared.implicit, checks.compared.unrolled)
    plain = check_masking(Linear([1.0] * 8), IMAGES, LABELS, ThreatModel("linf", 0.1))
    assert facts.replace(checks, compared=None) == plain and plain.compared is None
    assert [it for it in checks.flags if it not in plain.flags] == list(flags)
    assert model.gradient == "implicit"
