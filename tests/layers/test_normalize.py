from collections.abc import Sequence

import pytest
import torch

from robustcsc.layers.normalize import Normalize


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
