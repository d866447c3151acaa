"""Where corrupted images come from."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from robustcsc.measurements.perturbations import (
    Clean,
    Corruption,
    Perturbation,
    Pixels,
    SeverityTable,
    Source,
    Universal,
)


class Origin(NamedTuple):
    """Where corrupted images come from.

    Attributes:
        source: Generated, or from files.
        pixels: How they were stored.
        table: The severity table.
        files: Fingerprint of published files, where there are several versions of them.
    """

    source: Source
    pixels: Pixels
    table: SeverityTable
    files: str = ""

    @property
    def source_words(self) -> str:
        """The source in words, with how the pixels were stored."""
        stored = "" if self.pixels is Pixels.FLOAT else f", {self.pixels.value}"
        generated = f"generated corruptions{stored}{', from files' if self.source is Source.EXPORTED else ''}"
        return "official corrupted files" if self.source is Source.OFFICIAL else generated

    @property
    def words(self) -> tuple[str, str]:
        """Source and severity table in words, the table with its digests: ``"cifar10_c@1a2b3c4d"``."""
        return self.source_words, self.table.words


@lru_cache(maxsize=2**12)
def origin_and_seed(perturbation: Perturbation) -> tuple[Origin | None, int]:
    """Returns what a cohort has of a perturbation: the origin of corrupted images (``None`` for others), the seed."""
    if isinstance(perturbation, Clean):
        return None, 0
    it = perturbation.crafting if isinstance(perturbation, Universal) else perturbation
    return Origin(it.source, it.pixels, it.table, it.files) if isinstance(it, Corruption) else None, it.seed
