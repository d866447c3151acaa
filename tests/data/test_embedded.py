import numpy as np
import torch
from sklearn.datasets import load_digits as original_digits

from robustcsc.data import load


def rows_of(split: str) -> list[bytes]:
    """Returns label and pixels of every image of a split, as bytes that can be counted."""
    images = load("digits", split=split)
    return [
        bytes([int(label)]) + image.mul(255).round().byte().numpy().tobytes()
        for batch in images.batches(400)
        for image, label in zip(batch.images, batch.labels, strict=True)
    ]


def test_the_two_splits_are_the_1797_images_of_scikit_learn_cut_in_two() -> None:
    values, labels = original_digits(return_X_y=True)
    expected = [
        bytes([label]) + np.floor(value * 255 / 16 + 0.5).astype(np.uint8).tobytes()
        for value, label in zip(values, labels, strict=True)
    ]
    train, test = rows_of("train"), rows_of("test")
    assert (len(train), len(test)) == (1297, 500)
    assert sorted(train + test) == sorted(expected)
    assert not set(train) & set(test)  # the 1797 images are all different


def test_each_class_gives_its_share_of_test_images() -> None:
    totals = torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])  # scikit-learn's documentation
    counts = load("digits").labels.bincount()
    assert torch.all((counts - totals * 500 / 1797).abs() <= 1)


def test_the_first_test_zeros_follow_the_documented_rule() -> None:
    # Ranks r with floor(500 (r + 1) / 1797) > floor(500 r / 1797): the first are 3, 7, 10, 14 (1797 / 500 = 3.594).
    values, labels = original_digits(return_X_y=True)
    zeros = values[labels == 0][[3, 7, 10, 14]]
    images = load("digits", split="test")
    first = next(images.subset((images.labels == 0).nonzero().flatten()[:4]).batches(4)).images
    np.testing.assert_allclose(first.numpy().reshape(4, 64), zeros / 16, atol=0.5 / 255 + 1e-6)


def test_digits_use_the_full_range_and_a_half_is_128() -> None:
    bytes_seen = {int(value) for value in np.frombuffer(b"".join(row[1:] for row in rows_of("train")), np.uint8)}
    assert {0, 128, 255} <= bytes_seen
    assert len(bytes_seen) == 17  # one for each of 0..16


def test_the_splits_of_the_digits_have_different_fingerprints() -> None:
    assert load("digits", split="test").fingerprint == load("digits", split="test").fingerprint
    assert load("digits", split="test").fingerprint != load("digits", split="train").fingerprint
