import pytest
import torch

from robustcsc.data import MemoryImages, hold_out, load
from robustcsc.errors import DataError


def test_the_parts_are_disjoint_and_complete() -> None:
    digits = load("digits", split="train")
    kept, held = hold_out(digits, 0.2, seed=3)
    together = torch.cat([kept.positions, held.positions]).sort().values
    assert torch.equal(together, torch.arange(1297))
    assert torch.equal(held.labels, digits.labels[held.positions])


def test_each_class_gives_its_rounded_share() -> None:
    images = MemoryImages(
        name="made",
        split="train",
        classes=("a", "b", "c", "d"),
        pixels=torch.zeros(36, 1, 1, 1, dtype=torch.uint8),
        labels=torch.tensor([0] * 20 + [1] * 10 + [2] * 5 + [3]),
        positions=torch.arange(36),
    )
    _, held = hold_out(images, 0.1, seed=0)
    assert held.labels.bincount(minlength=4).tolist() == [2, 1, 1, 0]  # 2.0, 1.0, 0.5, 0.1


def test_the_cut_follows_the_seed_alone_and_shows_in_the_fingerprint() -> None:
    digits = load("digits", split="train")
    first, again, other = (hold_out(digits, 0.1, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first.positions, again.positions)
    assert first.fingerprint == again.fingerprint
    assert not torch.equal(first.positions, other.positions)
    assert first.fingerprint != other.fingerprint


def test_a_larger_fraction_only_adds_images() -> None:
    digits = load("digits", split="train")
    small, large = (set(hold_out(digits, share, seed=0)[1].positions.tolist()) for share in (0.1, 0.3))
    assert small < large


def test_a_held_out_part_of_a_subset_keeps_positions() -> None:
    odd = load("digits", split="train").subset(torch.arange(1, 1297, 2))
    _, held = hold_out(odd, 0.25, seed=0)
    assert set((held.positions % 2).tolist()) == {1}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan"), 0.0001])
def test_a_fraction_that_leaves_a_part_empty_is_refused(fraction: float) -> None:
    with pytest.raises(DataError):
        hold_out(load("digits", split="train"), fraction, seed=0)
