import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustcsc.attacks.random_noise import CONTROLS
from robustcsc.attacks.universal import UniversalPerturbation, perturbed, project, universal_perturbation
from robustcsc.data import ImageSet, MemoryImages, load
from robustcsc.errors import AttackError
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.measurements.threats import Norm, ThreatModel


def image_set(pixels: Tensor) -> MemoryImages:
    count = len(pixels)
    return MemoryImages(
        name="made",
        split="train",
        classes=("a", "b", "c"),
        pixels=pixels,
        labels=torch.zeros(count, dtype=torch.int64),
        positions=3 * torch.arange(count).flip(0),  # neither rows nor in order
    )


def random_set(count: int, seed: int = 0) -> MemoryImages:
    generator = torch.Generator().manual_seed(seed)
    return image_set(torch.randint(0, 256, (count, 1, 4, 4), generator=generator).to(torch.uint8))


def small_network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def pixels_of(images: ImageSet) -> Tensor:
    (batch,) = images.batches(len(images))
    return batch.images


@torch.no_grad()
def count_fooled(model: nn.Module, images: Tensor, perturbation: Tensor) -> int:
    model.eval()
    moved = (images + perturbation).clamp(0, 1)
    return int((model(images).argmax(1) != model(moved).argmax(1)).sum())


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, ImageSet, Tensor]:
    """A perceptron that reads digits, 150 training images, and the pixels of all test images."""
    train, test = load("digits", split="train"), load("digits", split="test")
    (batch,) = train.batches(len(train))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(batch.images), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model, train.subset(torch.arange(100) * 12), pixels_of(test)


def published(model: nn.Module, images: Tensor, threat: ThreatModel, order: Tensor) -> Tensor:
    """One pass of algorithm 1 of the paper, image by image, with algorithm 2 of DeepFool inside."""
    total = torch.zeros_like(images[0])
    for row in order.tolist():
        image = images[row]
        clean = int(model(image[None]).argmax())
        start = (image + total).clamp(0, 1)
        ranked = model(start[None])[0].argsort(descending=True).tolist()
        if ranked[0] != clean:
            continue
        way = torch.zeros_like(image)
        for _ in range(10):
            point = (start + 1.02 * way).requires_grad_()
            logits = model(point[None])[0]
            if int(logits.argmax()) != clean:
                break
            slopes = {k: torch.autograd.grad(logits[k], point, retain_graph=True)[0] for k in ranked[:10]}
            steps = {}
            for k in ranked[1:10]:
                normal = slopes[k] - slopes[clean]
                steps[k] = float((logits[k] - logits[clean]).detach().abs() / normal.norm()), normal
            distance, normal = min(steps.values(), key=lambda step: step[0])
            way = way + distance * normal / normal.norm()
        if int(model((start + 1.02 * way)[None]).argmax()) != clean:
            total = total + 1.02 * way
            if threat.norm == "linf":
                total = total.clamp(-threat.epsilon, threat.epsilon)
            else:
                total = total * min(1.0, threat.epsilon / float(total.norm()))
    return total.detach()


# --- the ball ---


@settings(max_examples=25, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    xi=st.floats(1e-4, 1),
    batch_size=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 100),
)
def test_perturbations_never_leave_the_ball(norm: Norm, xi: float, batch_size: int, seed: int) -> None:
    found = universal_perturbation(
        small_network(seed), random_set(8, seed), ThreatModel(norm, xi), passes=2, batch_size=batch_size, seed=seed
    )
    length = found.values.double().abs().max() if norm == "linf" else found.values.double().norm()
    assert length.item() <= xi
    assert found.values.shape == (1, 4, 4) and found.values.isfinite().all()


@settings(max_examples=100, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]), xi=st.floats(1e-6, 10), scale=st.floats(1e-4, 1e4), seed=st.integers(0, 99)
)
def test_projection_is_exact_and_moves_nothing_inside(norm: Norm, xi: float, scale: float, seed: int) -> None:
    xi = min(xi, 1) if norm == "linf" else xi
    given_one = scale * torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(seed))
    found = project(given_one, ThreatModel(norm, xi))
    exact = given_one.double()
    if norm == "linf":
        exact = exact.clamp(-xi, xi)
        assert found.double().abs().max() <= xi
    else:
        exact = exact * min(1.0, xi / exact.norm().item())
        assert found.double().norm() <= xi
    torch.testing.assert_close(found.double(), exact, rtol=3e-7, atol=0)
    assert torch.equal(project(found, ThreatModel(norm, xi)), found)


def test_perturbed_images_stay_in_the_box() -> None:
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)
    assert perturbed(images, torch.tensor([[[0.25]]])).flatten().tolist() == [0.25, 0.75, 1.0]
    assert perturbed(images, torch.tensor([[[-0.25]]])).flatten().tolist() == [0.0, 0.25, 0.75]


# --- the published algorithm ---


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.15), ThreatModel("l2", 0.9)])
def test_one_by_one_it_is_the_published_algorithm(
    digits: tuple[nn.Module, ImageSet, Tensor], threat: ThreatModel
) -> None:
    model, train, _ = digits
    found = universal_perturbation(model, train, threat, passes=1, batch_size=1, seed=4)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(4))
    expected = published(model, pixels_of(train), threat, order)
    assert expected.abs().max() > 0.05
    # An image that lies on the edge of two classes may go either way by rounding; most pixels agree to the last digits.
    assert (found.values - expected).abs().median() < 1e-4
    fooled = count_fooled(model, pixels_of(train), expected)
    assert abs(found.fooled - fooled) <= 0.03 * len(train)


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.15), ThreatModel("l2", 0.9)])
def test_batches_fool_as_many_new_images_and_more_than_noise_does(
    digits: tuple[nn.Module, ImageSet, Tensor], threat: ThreatModel
) -> None:
    model, train, test = digits
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    sequential = count_fooled(model, test, published(model, pixels_of(train), threat, order))
    fooled = count_fooled(model, test, universal_perturbation(model, train, threat).values)
    low, high = wilson_interval(fooled, len(test))
    assert high >= wilson_interval(sequential, len(test))[0]
    for name, control in CONTROLS.items():
        for seed in range(3):
            random = control((1, 8, 8), threat, seed)
            assert count_fooled(model, test, random) / len(test) < low, name


# --- when it stops, and what it says ---


def craft(model: nn.Module, images: ImageSet, xi: float = 0.3, **settings: float) -> UniversalPerturbation:
    return universal_perturbation(model, images, ThreatModel("linf", xi), **settings)  # type: ignore[arg-type]


def test_counts_are_those_of_the_perturbation_that_is_returned(digits: tuple[nn.Module, ImageSet, Tensor]) -> None:
    model, train, _ = digits
    for batch_size in (1, 40):
        found = craft(model, train, 0.1, passes=2, batch_size=batch_size)
        assert found.images == len(train) == 100
        assert found.fooled == count_fooled(model, pixels_of(train), found.values)
        assert not found.converged and found.passes == 2 and found.seconds > 0


def test_it_stops_when_enough_images_are_fooled() -> None:
    model, images = small_network(), random_set(12)
    for batch_size in (1, 4):
        most = craft(model, images, 0.2, delta=0.0, passes=4, batch_size=batch_size)
        assert 0 < most.fooled < 12 and not most.converged
        enough = craft(model, images, 0.2, delta=1 - most.fooled / 12, passes=50, batch_size=batch_size)
        assert enough.converged and enough.passes <= most.passes and enough.fooled >= most.fooled


def test_batches_stop_when_nothing_more_is_gained_and_the_published_order_does_not() -> None:
    class Stubborn(nn.Module):
        """No small change fools it."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images.sum(dim=(1, 2, 3)) + 1e3, torch.zeros(len(images))], dim=1)

    images = random_set(6)
    # Nothing is the best of the first half pass, and the pass that follows does not improve it.
    assert craft(Stubborn(), images, passes=9, batch_size=3).passes == 2
    one_by_one = craft(Stubborn(), images, passes=9, batch_size=1)
    assert (one_by_one.passes, one_by_one.fooled, one_by_one.converged) == (9, 0, False)


def test_the_seed_decides_the_order() -> None:
    model, images = small_network(), random_set(12)
    first = craft(model, images, 0.1, passes=2, batch_size=3, seed=1).values
    torch.rand(3)
    assert torch.equal(craft(model, images, 0.1, passes=2, batch_size=3, seed=1).values, first)
    assert not torch.equal(craft(model, images, 0.1, passes=2, batch_size=3, seed=2).values, first)


def test_the_model_is_left_as_it_was() -> None:
    model = small_network().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    craft(model, random_set(6), passes=1, batch_size=3)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"xi": 0.0}, "xi must be above 0"),
        ({"delta": 1.0}, "delta must be at least 0 and below 1"),
        ({"delta": -0.1}, "delta must be at least 0 and below 1"),
        ({"delta": math.nan}, "delta must be at least 0 and below 1"),
        ({"passes": 0}, "must be at least 1"),
        ({"batch_size": 0}, "must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(AttackError, match=sentence):
        craft(small_network(), random_set(3), **settings)


def test_without_images_nothing_is_crafted() -> None:
    with pytest.raises(AttackError, match="no images to craft"):
        craft(small_network(), random_set(0))
