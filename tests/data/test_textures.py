"""The embedded textures: what the formula says, worked out by hand, and the same on every machine."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from robustcsc.data import load
from robustcsc.data.textures import ATOMS, CLASSES, PLACED, STRENGTHS, texture_atoms


def words_of(image: int) -> list[int]:
    """The words of PCG64 with seed 0 that make an image, from the start of the stream."""
    return [int(word) for word in np.random.PCG64(0).random_raw(48 * (image + 1))[-48:]]


def atom(k: int, channel: int, row: int, column: int) -> float:
    """An entry of an atom before it is scaled to unit norm, from the formula of the docstring."""
    u, v, angle = column - 3, row - 3, math.pi * (k % 7) / 7
    colour = ((1, -1, 0), (1, 1, -2))[k // 7][channel]
    return (
        colour
        * math.exp(-(u * u + v * v) / 8)
        * math.cos(2 * math.pi * (u * math.cos(angle) + v * math.sin(angle)) / 5.95)
    )


def test_atoms_are_those_of_the_formula_with_unit_norm() -> None:
    atoms = texture_atoms()
    for k in range(14):
        by_hand = np.array([[[atom(k, c, r, s) for s in range(7)] for r in range(7)] for c in range(3)])
        np.testing.assert_allclose(atoms[k], by_hand / math.sqrt((by_hand**2).sum()), rtol=0, atol=1e-14)
    assert atoms.shape == (14, 3, 7, 7)


def test_atoms_have_no_mean_colour_and_are_all_different() -> None:
    atoms = texture_atoms()
    np.testing.assert_allclose(atoms.sum(1), 0, atol=1e-14)  # red against green, yellow against blue
    overlaps = np.abs(np.einsum("iabc,jabc->ij", atoms, atoms)) - np.eye(14)
    assert overlaps.max() < 0.83
    assert np.abs(overlaps[:7, 7:]).max() < 1e-14  # the two colours are orthogonal


def test_two_classes_share_at_most_one_atom() -> None:
    assert len(CLASSES) == 10
    assert all(len(set(triple)) == 3 and max(triple) < ATOMS for triple in CLASSES)
    assert max(len({*a} & {*b}) for i, a in enumerate(CLASSES) for b in CLASSES[:i]) == 1


@pytest.mark.parametrize(("split", "count"), [("train", 4000), ("test", 500)])
def test_classes_are_balanced_and_in_turn(split: str, count: int) -> None:
    images = load("textures", split=split)
    assert (len(images), images.image_shape) == (count, (3, 24, 24))
    assert images.labels.tolist() == [n % 10 for n in range(count)]
    assert images.classes[:2] == ("0-3-8", "1-4-9")


@pytest.mark.parametrize(("split", "row", "image"), [("train", 0, 0), ("train", 3999, 3999), ("test", 7, 4007)])
def test_an_image_is_the_sum_of_its_atoms(split: str, row: int, image: int) -> None:
    words, label = words_of(image), image % 10
    atoms = np.rint(texture_atoms() * 65536).astype(int).tolist()
    total = [[[Fraction(128)] * 24 for _ in range(24)] for _ in range(3)]
    for place in range(PLACED):
        which, top, left, strength = words[4 * place : 4 * place + 4]
        k = CLASSES[label][which % 3] if place < 9 else which % 14
        norm = STRENGTHS[0] + strength % (STRENGTHS[1] - STRENGTHS[0] + 1)
        for channel in range(3):
            for v in range(7):
                for u in range(7):
                    total[channel][top % 18 + v][left % 18 + u] += Fraction(norm * atoms[k][channel][v][u], 65536)
    # Half a level is rounded up.
    by_hand = [
        [[min(255, max(0, math.floor(it + Fraction(1, 2)))) for it in line] for line in plane] for plane in total
    ]
    batch = next(load("textures", split=split).subset(torch.tensor([row])).batches(1))
    assert (batch.images[0] * 255).round().int().tolist() == by_hand


def test_nearly_no_pixel_is_cut_off() -> None:
    (batch,) = load("textures").batches(500)
    assert ((batch.images == 0) | (batch.images == 1)).float().mean() < 1e-3


def test_all_images_are_different() -> None:
    rows = {
        image.numpy().tobytes()
        for split in ("train", "test")
        for batch in load("textures", split=split).batches(500)
        for image in batch.images
    }
    assert len(rows) == 4500


def test_textures_are_the_same_in_every_process_and_on_every_machine() -> None:
    here = [load("textures", split=split).fingerprint for split in ("train", "test")]
    assert here == ["9a89e296fa10de8c", "996428314b3dad13"]  # as another process found on another machine
