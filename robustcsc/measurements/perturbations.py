"""What is done to the images before a model sees them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import Count, Fact, Share, Size, as_float
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import ThreatModel


class Source(StrEnum):
    """Where corrupted images come from."""

    GENERATED = "generated"
    #: Files that robustcsc wrote earlier.
    EXPORTED = "exported"
    #: The published CIFAR-10-C or ImageNet-C files.
    OFFICIAL = "official"


class Pixels(StrEnum):
    """How corrupted pixels were stored before a model saw them."""

    FLOAT = "float"
    BYTES = "8 bit"
    JPEG = "JPEG quality 85"


JPEG_QUALITY = 85
"""That of `Pixels.JPEG`, with colours of half the resolution (4:2:0), as ImageNet-C was saved."""

#: The severities of every table.
SEVERITIES = (1, 2, 3, 4, 5)


class SeverityTable(Fact, frozen=True):
    """The constants behind the severities.

    Attributes:
        name: Its name, such as ``"cifar10_c"``.
        digest: First 8 hex digits of the SHA-256 over its file.
        photographs: Digest of the photographs of frost, if not those of the package.
    """

    name: str
    digest: str
    photographs: str = ""

    @property
    def words(self) -> str:
        """Name and digests: ``"cifar10_c@1a2b3c4d"``."""
        return f"{self.name}@{self.digest}" + (f"+frost@{self.photographs}" if self.photographs else "")


class Clean(Fact, frozen=True, tag="clean"):
    """Nothing."""


class Corruption(Fact, frozen=True, tag="corruption"):
    """A corruption at one severity.

    Attributes:
        name: Its name in the severity table, such as ``"gaussian_noise"``.
        severity: 1 to 5.
        table: The severity table.
        source: Where the corrupted images come from.
        pixels: How they were stored.
        files: Fingerprint of the published files; ``""`` for others.
        seed: Seed of the corruption; 0 for published files.
    """

    name: str
    severity: Annotated[int, Meta(ge=1, le=5)]
    table: SeverityTable
    source: Source = Source.GENERATED
    pixels: Pixels = Pixels.FLOAT
    files: str = ""
    seed: Count = 0


class Surrogate(Fact, frozen=True):
    """Another model that adversarial images were crafted on.

    Attributes:
        model: Its name.
        weights: SHA-256 of its weights.
    """

    model: str
    weights: str


class SavedImages(Fact, frozen=True):
    """Adversarial images that were kept in a file and are scored again.

    Attributes:
        crafted_on: The model that they were crafted on.
        digest: SHA-256 over their pixels.
    """

    crafted_on: Surrogate
    digest: str


class Attack(Fact, frozen=True, tag="attack"):
    """Adversarial images.

    Attributes:
        steps: The attacks, each on the images that the ones before it left; all are counted together.
        threat: Norm and budget.
        protocol: How the attack meets lambda.
        seed: Seed of everything random.
        surrogate: The model that the images were crafted on, for the protocol transfer.
        saved: The file they come from, if they were not crafted for this measurement.
    """

    steps: tuple[AttackStep, ...]
    threat: ThreatModel
    protocol: Protocol
    seed: Count = 0
    surrogate: Surrogate | None = None
    saved: SavedImages | None = None


class MinimalBudget(Fact, frozen=True, tag="minimal-budget"):
    """The smallest budget, up to that of `threat`, at which an attack breaks each image.

    Attributes:
        step: The attack; its step size, if it has one, is a quarter of each budget.
        threat: Norm and largest budget.
        protocol: How the attack meets lambda.
        seed: Seed of everything random.
    """

    step: AttackStep
    threat: ThreatModel
    protocol: Protocol
    seed: Count = 0


class Crafting(Fact, frozen=True):
    """How a universal perturbation is crafted.

    Attributes:
        images: Fingerprint of the crafting images.
        count: Their number.
        delta: Crafting ends once a share of at least ``1 - delta`` of them is fooled.
        passes: Passes over them at most.
        batch_size: Images whose minimal perturbations are added at once; 1 is the published order.
        seed: Seed of the order of the images.
    """

    images: str
    count: Count
    delta: Share
    passes: Count
    batch_size: Count
    seed: Count = 0

    def __post_init__(self) -> None:
        as_float(self, "delta")


class Universal(Fact, frozen=True, tag="universal"):
    """One universal perturbation, added to every image.

    Attributes:
        threat: Norm and radius xi.
        protocol: How crafting meets lambda.
        crafting: How it is crafted.
    """

    threat: ThreatModel
    protocol: Protocol
    crafting: Crafting


#: Kinds of random perturbations.
Control = Literal["random-sign", "gaussian"]


class RandomControl(Fact, frozen=True, tag="random-control"):
    """A random perturbation of the norm of a universal one, added to every image.

    Attributes:
        name: ``"random-sign"`` or ``"gaussian"``.
        threat: Norm and radius xi.
        protocol: How lambda is chosen, as for the universal perturbation beside it.
        seed: Seed of the perturbation.
    """

    name: Control
    threat: ThreatModel
    protocol: Protocol
    seed: Count = 0


class RandomNoise(Fact, frozen=True, tag="random-noise"):
    """Gaussian noise v with ``E ||v||^2 = rho ||x||^2`` for each image x.

    Attributes:
        rho: Energy of the noise relative to that of the image, at least 0.
        seed: Seed of the noise.
    """

    rho: Size
    seed: Count = 0

    def __post_init__(self) -> None:
        as_float(self, "rho")


Perturbation = Clean | Corruption | Attack | MinimalBudget | Universal | RandomControl | RandomNoise
