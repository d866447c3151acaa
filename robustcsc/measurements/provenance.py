"""How counts came about."""

from __future__ import annotations

from enum import StrEnum

from robustcsc.measurements.facts import Fact, Size


class Doubt(StrEnum):
    """What speaks against every figure of a model of the user's own."""

    PROBABILITIES = "probabilities"
    RANDOM = "random"
    DEPENDS_ON_BATCH = "depends-on-batch"
    NOT_ALONE = "not-alone"
    NOT_NORMALISED = "not-normalised"


class Provenance(Fact, frozen=True):
    """How the counts came about.

    Attributes:
        device: Where it was measured, in words (``"NVIDIA H200"``).
        versions: Versions that can change bits, by package.
        driver: Version of the GPU's driver; ``""`` on a CPU.
        tf32: Whether the GPU might round factors of float32 products to TF32; ``None`` on a CPU, or if not known.
        seconds: Wall-clock time.
        created: UTC time, ISO 8601.
        doubts: What was seen when the model was tried.
    """

    device: str
    versions: dict[str, str]
    driver: str = ""
    tf32: bool | None = None
    seconds: Size = 0.0
    created: str = ""
    doubts: tuple[Doubt, ...] = ()
