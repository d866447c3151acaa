"""The data set without a download: scikit-learn's 8x8 handwritten digits."""

from __future__ import annotations

from importlib.metadata import distribution

import numpy as np
import torch

from robustcsc.data.memory import MemoryImages

#: Images of the test split; the other 1,297 of the 1,797 are the training split.
TEST_IMAGES = 500


def load_digits(split: str) -> MemoryImages:
    """Returns a split of the digits data: 8x8 grey images, ``round(255 * v / 16)`` for the original v in 0..16.

    The data has no official split. Here the images are ordered by class (in the original order within a class) and
    numbered r = 0, 1, ...; image r belongs to the test split if ``floor(500 (r + 1) / 1797)`` exceeds
    ``floor(500 r / 1797)``. These are 500 evenly spaced images, 48 to 51 of each class. Both splits keep the original
    order and number their positions from 0. The same writers appear in both splits.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """
    # The file that `sklearn.datasets.load_digits` reads: scikit-learn itself takes 110 MiB and longer than the rest.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",")
    values, labels = table[:, :-1], table[:, -1].astype(np.int64)
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    in_test = (ranks + 1) * TEST_IMAGES // len(labels) > ranks * TEST_IMAGES // len(labels)
    chosen = np.flatnonzero(in_test if split == "test" else ~in_test)
    pixels = np.rint(values[chosen] * 255 / 16).astype(np.uint8)
    return MemoryImages(
        name="digits",
        split=split,
        classes=tuple("0123456789"),
        pixels=torch.from_numpy(pixels).view(-1, 1, 8, 8),
        labels=torch.from_numpy(labels[chosen]),
        positions=torch.arange(len(chosen)),
    )
