import math

import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks.deepfool import deepfool
from robustcsc.errors import AttackError, ModelError


class Affine(nn.Module):
    """Logits ``W x + b``; remembers how many images each call had."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)
        self.calls: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        return images.flatten(1) @ self.weights.T + self.bias


class Bent(nn.Module):
    """Two classes whose margin is a cube, so that every linearisation falls short of the boundary."""

    def forward(self, images: Tensor) -> Tensor:
        margin = (images.mean(dim=(1, 2, 3)) - 0.1) ** 3
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def affine(classes: int, seed: int = 0, scale: float = 1.0) -> Affine:
    generator = torch.Generator().manual_seed(seed)
    weights = scale * torch.randn(classes, 12, generator=generator, dtype=torch.float64)
    return Affine(weights, scale * torch.randn(classes, generator=generator, dtype=torch.float64))


def random_images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_the_way_to_the_boundary_of_two_affine_classes_is_the_shortest(scale: float) -> None:
    # The foot of the perpendicular on {x: w.x + b = 0} is at -(w.x + b) / ||w||^2 w.
    model, images = affine(2, scale=scale), random_images(20)
    found = deepfool(model, images, overshoot=0.25)
    normal = (model.weights[0] - model.weights[1]).detach()
    margins = images.flatten(1) @ normal + (model.bias[0] - model.bias[1]).detach()
    shortest = -margins[:, None] / normal.square().sum() * normal
    torch.testing.assert_close(found.perturbations.flatten(1), 1.25 * shortest, rtol=1e-9, atol=1e-12)
    assert found.fooled.all() and (found.steps == 1).all()


@pytest.mark.parametrize("reselect", [True, False])
def test_of_several_affine_classes_the_nearest_is_reached_in_one_step(reselect: bool) -> None:
    model, images = affine(8), random_images(20)
    found = deepfool(model, images, overshoot=1e-3, reselect=reselect)
    reached = model(images + found.perturbations).argmax(dim=1)
    logits, weights = model(images).detach(), model.weights.detach()
    for image, own in enumerate(logits.argmax(dim=1).tolist()):
        distances = {
            other: float((logits[image, own] - logits[image, other]) / (weights[own] - weights[other]).norm())
            for other in range(8)
            if other != own
        }
        nearest = min(distances, key=distances.__getitem__)
        assert reached[image] == nearest
        assert found.perturbations[image].norm().item() == pytest.approx(1.001 * distances[nearest], rel=1e-9)


def test_only_the_classes_of_the_largest_logits_are_candidates() -> None:
    model, images = affine(8), random_images(40)
    reached = model(images + deepfool(model, images, num_classes=2).perturbations).argmax(dim=1)
    assert torch.equal(reached, model(images).topk(2, dim=1).indices[:, 1])
    every = model(images + deepfool(model, images, num_classes=100).perturbations).argmax(dim=1)
    assert not torch.equal(every, reached)


def test_bent_boundaries_take_several_steps() -> None:
    # Newton's method on a cube goes a third of the way each step: (2/3)^n of the distance is left.
    images = torch.full((1, 1, 2, 2), 0.9, dtype=torch.float64)
    for steps in (1, 2, 3):
        found = deepfool(Bent(), images, overshoot=0.0, max_steps=steps)
        left = float((images + found.perturbations).mean()) - 0.1
        assert left == pytest.approx(0.8 * (2 / 3) ** steps, rel=1e-9)
        assert not found.fooled.any() and found.steps.tolist() == [steps]


def test_images_that_have_changed_their_class_are_left_alone() -> None:
    class Mixed(nn.Module):
        """Bent for dark first pixels, affine for others."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: list[int] = []

        def forward(self, images: Tensor) -> Tensor:
            self.calls.append(len(images))
            margin = images[:, :, 1:].mean(dim=(1, 2, 3)) - 0.1
            margin = torch.where(images[:, 0, 0, 0] < 0.5, margin**3 + 0.1 * margin, margin)
            return torch.stack([margin, torch.zeros_like(margin)], dim=1)

    model = Mixed()
    images = torch.full((5, 1, 2, 2), 0.9, dtype=torch.float64)
    images[:2, 0, 0, 0] = 0.0
    found = deepfool(model, images)
    assert found.fooled.all() and (found.steps[:2] > 2).all()
    # The margin changes its sign where the mean of the lower row has fallen by 0.8.
    lowered = -found.perturbations[:, :, 1:].mean(dim=(1, 2, 3))
    assert ((lowered > 0.8) & (lowered < 0.8 * 1.1)).all()
    assert model.calls[0] == 5 and model.calls[2:] == [2] * (len(model.calls) - 2)
    assert found.steps[2:].tolist() == [1, 1, 1] and len(model.calls) == found.steps.max() + 1


def test_an_image_on_the_boundary_leaves_it() -> None:
    model = Affine(torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    found = deepfool(model, torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64))
    assert found.fooled.all()
    assert found.perturbations.norm().item() < 1e-5


@pytest.mark.parametrize("reselect", [True, False])
def test_an_image_does_not_depend_on_its_batch(reselect: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5)).double()
    images = random_images(6)
    together = deepfool(model, images, reselect=reselect).perturbations
    alone = torch.cat([deepfool(model, image[None], reselect=reselect).perturbations for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


def test_an_image_without_a_gradient_is_given_up() -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            margin = (images.mean(dim=(1, 2, 3)) - 0.5).clamp_min(0)  # flat below 0.5
            return torch.stack([margin + 0.1, torch.zeros_like(margin)], dim=1)

    # Nothing is asked of the model once no image is left: many models refuse a batch of none.
    model, seen = Flat(), list[int]()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    found = deepfool(model, torch.tensor([0.2, 0.8]).view(2, 1, 1, 1))
    assert not found.fooled[0] and found.steps[0] == 0 and found.perturbations[0].abs().max() == 0
    assert not deepfool(model, torch.full((3, 1, 1, 1), 0.2)).fooled.any()
    assert min(seen) > 0


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(12, 4)).double().train()
    model[2].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        found = deepfool(model, random_images(4))
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not found.perturbations.requires_grad


def test_no_images_give_nothing() -> None:
    found = deepfool(affine(3), random_images(0))
    assert found.perturbations.shape == (0, 3, 2, 2) and len(found.fooled) == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"overshoot": -0.1}, "overshoot must be a number of at least 0"),
        ({"overshoot": math.nan}, "overshoot must be a number of at least 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(AttackError, match=sentence):
        deepfool(affine(3), random_images(2), **settings)  # type: ignore[arg-type]


def test_models_that_cannot_be_fooled_this_way_are_refused() -> None:
    class Hidden(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)

    with pytest.raises(AttackError, match="No gradient reaches the images"):
        deepfool(Hidden(), random_images(2))
    with pytest.raises(AttackError, match="DeepFool needs at least 2 classes, but the model has 1"):
        deepfool(affine(1), random_images(2))
    broken = affine(3)
    broken.weights.data[0, 0] = math.inf
    with pytest.raises(ModelError, match="not finite"):
        deepfool(broken, random_images(2))
