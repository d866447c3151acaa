import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks.sanity import is_deterministic, zero_gradient_share
from robustcsc.errors import AttackError

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


def test_random_models_are_told_from_deterministic_ones() -> None:
    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images + 0.01 * torch.randn_like(images)).flatten(1)

    random_state = torch.get_rng_state()
    assert not is_deterministic(Noisy(), IMAGES)
    assert is_deterministic(Rounded(), IMAGES)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_dropout_counts_as_deterministic_because_models_are_evaluated_without_it() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train()
    assert is_deterministic(model, IMAGES)
    assert all(module.training for module in model.modules())
