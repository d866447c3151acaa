"""The interface of image sets, and the functions that all of them share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from robustcsc.errors import DataError
from robustcsc.measurements.records import Location


class Batch(NamedTuple):
    """Some images of a set, all tensors on one device.

    Attributes:
        images: (n, C, H, W), float32, pixels in [0, 1]; uint8 where bytes were asked for.
        labels: (n,), int64, indices into the set's `classes`.
        indices: (n,), int64, the images' positions in the whole split, from which random corruptions are seeded.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class ImageSet(Protocol):
    """One split of a data set, or a part of one.

    A *row* is the index of an image in this set, 0 to ``len(set) - 1``; a *position* is its index in the whole split
    and never changes. They differ in subsets, and where unreadable files were left out.
    """

    @property
    def name(self) -> str:
        """Name of the data set or of the image folder: a label, never part of an identity."""

    @property
    def split(self) -> str:
        """``"train"`` or ``"test"``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in label order."""

    @property
    def logits(self) -> tuple[int, ...]:
        """The model's logit for each class, where answers are chosen from these only; empty if all logits have one."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""

    @property
    def labels(self) -> Tensor:
        """(N,), int64, on the CPU: the label of every row."""

    @property
    def positions(self) -> Tensor:
        """(N,), int64, on the CPU: the position of every row in the whole split."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every row's file, relative to its folder; empty for a set that was not read from an image folder."""

    @property
    def location(self) -> Location:
        """Where the images lie and which of them were taken: labels for records."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Image files of this set, or of the set it is part of, that could not be decoded so far; no batch has them."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the images; see `fingerprint_of`."""

    def __len__(self) -> int: ...

    def subset(self, indices: Tensor) -> ImageSet:
        """Returns the images of the given rows, in that order; they keep their positions.

        Args:
            indices: (n,), int64, rows of this set.

        Raises:
            DataError: A row is out of range.
        """

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        device: str | torch.device = "cpu",
        as_bytes: bool = False,
    ) -> Iterator[Batch]:
        """Yields the images in batches; which images come does not depend on the batch size.

        Args:
            batch_size: Images in a batch; the last one, and one with unreadable files, may have fewer.
            order: (n,), int64, the rows to return; by default all, in their order.
            device: Where the batch's tensors lie.
            as_bytes: Whether the images are uint8, as `robustcsc.corruptions.corrupt` takes them, too.

        Raises:
            DataError: A row is out of range, the batch size is not positive, or no image could be read.
        """


def checked_rows(rows: Tensor, length: int) -> Tensor:
    """Returns `rows` as int64 on the CPU after checking that a set of `length` images has them.

    Raises:
        DataError: `rows` is not a vector of integers in 0..length-1.
    """
    if rows.ndim != 1 or rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise DataError(f"Rows of an image set must be a vector of integers, not {rows.dtype} {tuple(rows.shape)}.")
    rows = rows.to("cpu", torch.int64)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < length:
        raise DataError(
            f"Rows {int(rows.min())} to {int(rows.max())} were asked for, but the image set has rows 0 to {length - 1}."
        )
    return rows


def batched_rows(length: int, batch_size: int, order: Tensor | None) -> tuple[Tensor, ...]:
    """Returns the rows of each batch: `order`, or all rows, in pieces of `batch_size`.

    Raises:
        DataError: The batch size is not positive or `order` has a row out of range.
    """
    if batch_size < 1:
        raise DataError(f"The batch size is {batch_size}: it must be at least 1.")
    rows = torch.arange(length) if order is None else checked_rows(order, length)
    return torch.split(rows, batch_size) if len(rows) else ()


def order_of_rows(came: Tensor, positions: Tensor) -> Tensor:
    """Returns the order that puts images into that of the rows of their set, wherever files could not be read.

    Args:
        came: (n,), int64, the positions of images in the order in which they came.
        positions: (N,), int64, the position of every row.

    Examples:
        >>> came, positions = torch.tensor([9, 2, 7]), torch.tensor([2, 5, 7, 9])
        >>> came[order_of_rows(came, positions)].tolist()
        [2, 7, 9]
    """
    by_position = positions.argsort()
    rows = by_position[torch.searchsorted(positions[by_position], came)]
    return rows.argsort(stable=True)


def as_floats(pixels: Tensor, device: str | torch.device) -> Tensor:
    """Returns uint8 `pixels` on `device` as float32 in [0, 1], exactly ``pixels / 255``.

    The divisor is a tensor because CUDA multiplies by the reciprocal of a Python number, which rounds differently. So
    clean images have the same bits on every device.
    """
    return sent(pixels, device).to(torch.float32) / torch.full((), 255.0, device=device)


def sent(tensor: Tensor, device: str | torch.device) -> Tensor:
    """Returns `tensor` on `device`; a copy from the host to a GPU does not wait for what the GPU has still to do."""
    if tensor.device.type != "cpu":
        return tensor.to(device)  # what is read from a GPU has to be waited for
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()  # or the driver waits, to copy it to such memory itself
    return tensor.to(device, non_blocking=True)


def batch_of(
    pixels: Tensor, labels: Tensor, positions: Tensor, device: str | torch.device, as_bytes: bool = False
) -> Batch:
    """Returns a batch of uint8 `pixels` on `device`, as floats unless they are to stay bytes."""
    images = sent(pixels, device) if as_bytes else as_floats(pixels, device)
    return Batch(images, sent(labels, device), sent(positions, device))


def fingerprint_of(images: ImageSet, form: str, content: Iterable[bytes | memoryview]) -> str:
    """Returns the identity of an image set: the first 16 hex digits of a SHA-256 over its content.

    This covers class names, their logits if there are others, image shape, labels, positions and `content`, in the
    order of the rows. It does not cover the names of data set, split, folder and files, so renamed and copied folders
    keep their fingerprint.

    Args:
        images: The set.
        form: The kind of `content`, so that pixels and files never give equal fingerprints.
        content: The content of the rows, all of one length, in any number of pieces.
    """
    description = [form, images.classes, images.image_shape, len(images), *([images.logits] if images.logits else [])]
    digest = hashlib.sha256(json.dumps(description).encode())
    digest.update(images.labels.numpy().data)
    digest.update(images.positions.numpy().data)
    for piece in content:
        digest.update(piece)
    return digest.hexdigest()[:16]
