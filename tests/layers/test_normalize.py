from collections.abc import Sequence

import pytest
import torch

from robustcsc.layers.normalize import Normalize, UnitNorm


def test_every_channel_is_centred_and_scaled_by_its_own_numbers() -> None:
    images = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    normalized = Normalize((0.5, 0.5, 0.0), (0.1, 0.25, 2.0))(images)
    for channel, value in enumerate((0.0, -1.0, 0.5)):
        torch.testing.assert_close(normalized[:, channel], torch.full((2, 2, 2), value))


def test_the_numbers_travel_with_the_weights() -> None:
    other = Normalize((0.0,), (1.0,))
    other.load_state_dict(Normalize((0.5,), (0.25,)).state_dict())
    torch.testing.assert_close(other(torch.ones(1, 1, 1, 1)), torch.full((1, 1, 1, 1), 2.0))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((0.5, 0.5), (1.0,))])
def test_numbers_that_do_not_normalise_are_refused(mean: Sequence[float], std: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="one entry per channel, std above 0"):
        Normalize(mean, std)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 5, 7)])
def test_unit_norm_centres_and_scales_every_image_by_itself(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = images * torch.tensor([0.01, 0.5, 1.0, 30.0]).view(4, 1, 1, 1) + 0.2
    unit = UnitNorm()(changed).flatten(1)
    torch.testing.assert_close(unit.mean(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(unit, UnitNorm()(images).flatten(1))  # contrast and brightness are gone


def test_an_image_without_contrast_stays_without_and_has_a_gradient() -> None:
    images = torch.full((2, 1, 28, 28), 0.3, requires_grad=True)
    unit = UnitNorm()(images)
    assert unit.detach().flatten(1).norm(dim=1).max() < 0.1
    unit.square().sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()
