"""Image sets whose pixels are all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from robustcsc.data.images import Batch, batch_of, batched_rows, checked_rows, fingerprint_of
from robustcsc.errors import DataError
from robustcsc.measurements.records import Location

_HASHED_TOGETHER = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryImages:
    """An `ImageSet` in memory, one byte a pixel and channel.

    Attributes:
        pixels: (N, C, H, W), uint8, on the CPU, of any strides. The other attributes are those of `ImageSet`.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    pixels: Tensor
    labels: Tensor
    positions: Tensor
    files: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    logits: tuple[int, ...] = ()
    location: Location = field(default_factory=Location)

    def __post_init__(self) -> None:
        """Raises DataError if the parts differ in number, or a type, shape or label is invalid."""
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise DataError(
                f"Pixels of {self.name} must be uint8 (N, C, H, W), not {self.pixels.dtype} {tuple(self.pixels.shape)}."
            )
        lengths = {len(self.pixels), len(self.labels), len(self.positions), len(self.files or self.labels)}
        if len(lengths) != 1:
            raise DataError(f"Images, labels, positions and files of {self.name} differ in number: {sorted(lengths)}.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise DataError(f"A label of {self.name} is not one of its {len(self.classes)} classes.")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the pixels and what `fingerprint_of` adds to them."""
        pieces = torch.split(self.pixels, _HASHED_TOGETHER)
        return fingerprint_of(self, "pixels", (piece.contiguous().view(-1).numpy().data for piece in pieces))

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> MemoryImages:
        """As `ImageSet.subset`."""
        rows = checked_rows(indices, len(self))
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            positions=self.positions[rows],
            files=tuple(self.files[row] for row in rows.tolist()) if self.files else (),
        )

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        device: str | torch.device = "cpu",
        as_bytes: bool = False,
    ) -> Iterator[Batch]:
        """As `ImageSet.batches`."""
        # Pixels may lie as in a file, (N, H, W, C); layers of a model would compute other bits from these strides.
        return (
            batch_of(self.pixels[rows].contiguous(), self.labels[rows], self.positions[rows], device, as_bytes)
            for rows in batched_rows(len(self), batch_size, order)
        )
