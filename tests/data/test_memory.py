from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustcsc.data import MemoryImages
from robustcsc.errors import DataError


@pytest.fixture
def seven() -> MemoryImages:
    """Seven 2x3 grey images of classes a, b; every pixel of image i is 10 i."""
    return MemoryImages(
        name="seven",
        split="test",
        classes=("a", "b"),
        pixels=(torch.arange(7, dtype=torch.uint8) * 10).view(7, 1, 1, 1).expand(7, 1, 2, 3).contiguous(),
        labels=torch.tensor([0, 1, 0, 1, 0, 1, 1]),
        positions=torch.arange(7),
    )


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_any_batch_size_gives_the_same_images(seven: MemoryImages, batch_size: int) -> None:
    batches = list(seven.batches(batch_size))
    assert torch.equal(torch.cat([b.images for b in batches])[:, 0, 1, 2] * 255, torch.arange(0.0, 70.0, 10.0))
    assert torch.cat([b.labels for b in batches]).tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert torch.cat([b.indices for b in batches]).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert max(len(b.labels) for b in batches) <= batch_size


def test_batches_are_bytes_where_bytes_are_asked_for(seven: MemoryImages) -> None:
    batch = next(seven.batches(3, order=torch.tensor([6, 0, 3]), as_bytes=True))
    assert batch.images.dtype == torch.uint8 and torch.equal(batch.images, seven.pixels[[6, 0, 3]])
    assert batch.indices.tolist() == [6, 0, 3] and batch.labels.tolist() == [1, 0, 1]


def test_order_names_rows(seven: MemoryImages) -> None:
    batch = next(seven.batches(3, order=torch.tensor([6, 0, 3])))
    assert batch.indices.tolist() == [6, 0, 3]
    assert (batch.images[:, 0, 0, 0] * 255).tolist() == [60, 0, 30]


def test_a_subset_of_a_subset_keeps_the_original_positions(seven: MemoryImages) -> None:
    inner = seven.subset(torch.tensor([1, 3, 5, 6])).subset(torch.tensor([3, 0]))
    batch = next(inner.batches(10))
    assert batch.indices.tolist() == [6, 1]
    assert (batch.images[:, 0, 0, 0] * 255).tolist() == [60, 10]
    assert inner.labels.tolist() == [1, 1]
    assert next(inner.batches(1, order=torch.tensor([1]))).indices.tolist() == [1]


def test_a_row_outside_a_subset_is_refused_before_the_first_batch(seven: MemoryImages) -> None:
    part = seven.subset(torch.tensor([1, 3]))
    with pytest.raises(DataError, match="rows 0 to 1"):
        part.batches(2, order=torch.tensor([3]))


def test_the_fingerprint_sees_pixels_labels_positions_and_class_names(seven: MemoryImages) -> None:
    pixels, labels = seven.pixels.clone(), seven.labels.clone()
    pixels[6, 0, 1, 2] += 1
    labels[0] = 1
    changed = [
        replace(seven, pixels=pixels),
        replace(seven, labels=labels),
        replace(seven, positions=seven.positions + 1),
        replace(seven, classes=("a", "c")),
        seven.subset(torch.arange(6)),
        seven.subset(torch.tensor([1, 0, 2, 3, 4, 5, 6])),
    ]
    prints = {images.fingerprint for images in [seven, *changed]}
    assert len(prints) == 7
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)
    assert seven.subset(torch.arange(7)).fingerprint == seven.fingerprint


def test_the_fingerprint_sees_the_shape_of_the_images(seven: MemoryImages) -> None:
    turned = replace(seven, pixels=seven.pixels.view(7, 1, 3, 2))  # the same bytes
    assert turned.fingerprint != seven.fingerprint


@st.composite
def small_sets(draw: st.DrawFn) -> MemoryImages:
    """Sets of at most two tiny images from so few values that equal ones are drawn often, under any name."""
    rows = draw(st.lists(st.tuples(*[st.integers(0, 1)] * 3), max_size=2))
    pixels, labels, positions = (torch.tensor([row[i] for row in rows], dtype=torch.int64) for i in range(3))
    count = len(rows)
    return MemoryImages(
        name=draw(st.text(max_size=3)),
        split=draw(st.sampled_from(["train", "test"])),
        classes=draw(st.sampled_from([("a", "b"), ("ab", ""), ("a", "b", "c")])),
        pixels=pixels.to(torch.uint8).view(count, 1, 1, 1).expand(count, 1, 1, draw(st.integers(1, 2))),
        labels=labels,
        positions=positions,
        files=tuple(draw(st.text(max_size=2)) for _ in rows) if draw(st.booleans()) else (),
    )


def content(images: MemoryImages) -> tuple[Any, ...]:
    values = images.pixels, images.labels, images.positions
    return (images.classes, images.image_shape, *(value.tolist() for value in values))


@given(small_sets(), small_sets())
def test_two_sets_share_a_fingerprint_exactly_if_their_content_is_equal(one: MemoryImages, two: MemoryImages) -> None:
    assert (one.fingerprint == two.fingerprint) == (content(one) == content(two))


def test_parts_that_do_not_belong_together_are_refused(seven: MemoryImages) -> None:
    with pytest.raises(DataError, match="differ in number"):
        replace(seven, labels=seven.labels[:6])
    with pytest.raises(DataError, match="uint8"):
        replace(seven, pixels=seven.pixels.float())
    with pytest.raises(DataError, match="not one of its 1 classes"):
        replace(seven, classes=("a",))
