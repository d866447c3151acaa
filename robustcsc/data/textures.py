"""Colour textures that are sparse in known atoms: images made from a seed by a formula, without files.

They are synthetic and made for the models of this package: every image is the sum of a few smooth colour atoms on grey,
which is what a layer of convolutional sparse coding assumes (SDNet, Dai et al., NeurIPS 2022, eq. 1-3). They show what
the theory promises where its assumption holds. They say nothing about photographs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from robustcsc.data.memory import MemoryImages

#: Height and width of an image, and of an atom, in pixels.
SIZE, TAPS = 24, 7
#: The dictionary has 14 atoms.
ATOMS = 14
#: The three atoms that each of the ten classes prefers; two classes share at most one.
CLASSES = tuple((k, (k + 3) % ATOMS, (k + 8) % ATOMS) for k in range(10))
#: Atoms in an image: 9 of 12 are of the three that its class prefers, the others are any of the 14.
PLACED, PREFERRED = 12, 9
#: Smallest and largest l2 norm of a placed atom, in grey levels of 255.
STRENGTHS = (134, 223)
#: Images of the training and of the test split.
TRAIN_IMAGES, TEST_IMAGES = 4000, 500

_SEED = 0
#: Atoms are rounded to multiples of 2^-16: from there on all arithmetic is of integers.
_BITS = 16
_GREY = 128


def texture_atoms() -> NDArray[np.float64]:
    """Returns the atoms, ``(14, 3, 7, 7)``, each of unit l2 norm.

    Atom k is ``c g(u, v) cos(2 pi (u cos t + v sin t) / 5.95)`` with the angle ``t = pi (k mod 7) / 7``, the window
    ``g = exp(-(u^2 + v^2) / 8)`` for u and v from -3 to 3, and the colour c: red against green (1, -1, 0) for k < 7,
    yellow against blue (1, 1, -2) for the others.

    Examples:
        >>> texture_atoms().shape
        (14, 3, 7, 7)
    """
    v, u = np.mgrid[:TAPS, :TAPS] - (TAPS - 1) / 2
    angles = np.pi * (np.arange(ATOMS) % 7)[:, None, None] / 7
    waves = np.exp(-(u**2 + v**2) / 8) * np.cos(2 * np.pi * (u * np.cos(angles) + v * np.sin(angles)) / 5.95)
    colours = np.repeat(np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]), 7, axis=0)
    atoms = colours[:, :, None, None] * waves[:, None]
    unit: NDArray[np.float64] = atoms / np.sqrt((atoms**2).sum((1, 2, 3), keepdims=True))
    return unit


def load_textures(split: str) -> MemoryImages:
    """Returns a split of the textures: 24x24 colour images of ten classes, 4,000 for training and 500 for tests.

    Image n of both splits together (the training split comes first) has the label ``n mod 10`` and the words
    ``48 n, ..., 48 n + 47`` of the generator PCG64 with seed 0, four for each of its 12 atoms: which atom, row, column
    and strength, each ``word mod number of choices``. The first 9 atoms are chosen among the three that the class
    prefers (`CLASSES`), the others among all 14. An atom lies within the image, and atoms may overlap. The pixel is
    ``128 + sum of strength times atom``, rounded and cut to 0..255. Classes are called by their atoms.

    The words of PCG64 are the same in all versions of NumPy, and the sums are of integers, so the images are the same
    on every machine.

    Examples:
        >>> images = load_textures("test")
        >>> images.image_shape, images.classes[0]
        ((3, 24, 24), '0-3-8')
    """
    total, free = TRAIN_IMAGES + TEST_IMAGES, SIZE - TAPS + 1
    numbers = np.arange(TRAIN_IMAGES, total) if split == "test" else np.arange(TRAIN_IMAGES)
    labels = numbers % len(CLASSES)
    choices = np.full((PLACED, 4), (ATOMS, free, free, STRENGTHS[1] - STRENGTHS[0] + 1), dtype=np.uint64)
    choices[:PREFERRED, 0] = 3
    words = np.random.PCG64(_SEED).random_raw(total * PLACED * 4).reshape(total, PLACED, 4)[numbers]
    draws = (words % choices).astype(np.int32)

    atoms = np.rint(texture_atoms() * 2**_BITS).astype(np.int32)
    pixels = np.full((len(numbers), 3, SIZE, SIZE), (_GREY << _BITS) + (1 << _BITS - 1), dtype=np.int32)
    images, inside = np.arange(len(numbers))[:, None, None], np.arange(TAPS)
    for place in range(PLACED):
        which, row, column, strength = draws[:, place].T
        chosen = np.array(CLASSES)[labels, which] if place < PREFERRED else which
        rows, columns = row[:, None, None] + inside[:, None], column[:, None, None] + inside
        added = (STRENGTHS[0] + strength)[:, None, None, None] * atoms[chosen]
        # Indices around a slice put the channels last.
        pixels[images, :, rows, columns] += np.moveaxis(added, 1, -1)
    return MemoryImages(
        name="textures",
        split=split,
        classes=tuple("-".join(map(str, atoms)) for atoms in CLASSES),
        pixels=torch.from_numpy(np.clip(pixels >> _BITS, 0, 255).astype(np.uint8)),
        labels=torch.from_numpy(labels),
        positions=torch.arange(len(numbers)),
    )
