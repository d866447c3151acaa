"""What corrupted images may follow: each corruption and severity of a table, applied to the same clean images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from robustcsc.corruptions.apply import corrupt
from robustcsc.corruptions.digital import as_jpeg
from robustcsc.corruptions.judging.signature import FEATURES, signatures
from robustcsc.errors import DataError
from robustcsc.measurements.perturbations import SEVERITIES
from robustcsc.measurements.severity_tables import Spec, TableEntry

#: Corruptions without a random draw, which can be compared pixel by pixel.
DETERMINISTIC = frozenset(
    ("defocus_blur", "gaussian_blur", "zoom_blur", "brightness", "contrast", "saturate", "pixelate", "jpeg_compression")
)
#: The largest deviation of a number of the signature from that of a corruption, in standard errors. Signatures have
#: some thirty numbers, with longer tails than normal ones on few images.
LIMIT = 6.0
_FREEDOM = 24  # images times passes but one: how well the scatter of a signature is known
_SAVED_DIFFERENCE = 0.5  # mean levels by which one rounding before a JPEG pass may change what comes out of it


class Match(StrEnum):
    """How closely images follow a corruption."""

    IDENTICAL = "bit for bit"
    ROUNDED = "within one level"
    ALIKE = "in distribution"


@dataclass(frozen=True)
class Definition:
    """A corruption as a table has it.

    Attributes:
        table: Name of the severity table, or of the library whose own definition it is.
        corruption: Its name.
        severity: 1 to 5.
    """

    table: str
    corruption: str
    severity: int


@dataclass(frozen=True)
class Ratio:
    """The mean squared error of some images over that of a corruption of the same clean images.

    Attributes:
        definition: The corruption.
        value: The ratio.
        error: Its standard error, if the images scatter as the corruption does; 0 for one without a random draw.
    """

    definition: Definition
    value: float
    error: float


class Candidate:
    """One corruption at one severity, applied to the clean images as often as its scatter takes.

    Args:
        clean: (N, C, H, W) uint8.
        spec: The severity table.
        definition: An entry of it.
        quality: Of the JPEG files that the images went through afterwards; None if they went through none.
    """

    def __init__(self, clean: Tensor, spec: Spec, definition: Definition, quality: int | None) -> None:
        self.clean, self.spec, self.definition, self.quality = clean, spec, definition, quality
        self.deterministic = spec.corruptions[definition.corruption].kernel in DETERMINISTIC

    @property
    def passes(self) -> int:
        """How often random draws are made."""
        return 1 if self.deterministic else 1 + math.ceil(_FREEDOM / len(self.clean))

    def images(self) -> Iterator[Tensor]:
        """Yields the corrupted images, pass by pass."""
        its, indices = self.definition, torch.arange(len(self.clean))
        for number in range(self.passes):
            images = corrupt(self.clean, self.spec, its.corruption, its.severity, seed=number, indices=indices)
            yield saved(images, self.quality)

    @cached_property
    def errors(self) -> Tensor:
        """(P, N) float64, the mean squared error of each image in each pass, in levels squared."""
        return torch.stack([squared_errors(self.clean, images) for images in self.images()])

    @cached_property
    def signatures(self) -> Tensor:
        """(P, N, F) float64, the signature of each image in each pass."""
        return torch.stack([signatures(self.clean, images) for images in self.images()])

    def ratio(self, *passes: Tensor) -> Ratio:
        """Returns how the squared errors of some images, (N,) in each pass, compare with those of this corruption."""
        mean = max(float(self.errors.mean()), 1e-12)
        error = float(_standard_error(self.errors[..., None], len(passes))) if self.passes > 1 else 0.0
        return Ratio(self.definition, float(torch.stack(passes).mean()) / mean, error / mean)

    def compare(self, *passes: Tensor) -> tuple[Match, float] | None:
        """Returns how corrupted images match this corruption, and how far they are, in standard errors or levels.

        None stands for images that do not follow it.

        Args:
            passes: (N, C, H, W) uint8, the clean images, corrupted once or several times.
        """
        errors = torch.stack([squared_errors(self.clean, it) for it in passes])
        logs, own = ((it + 0.05).log() for it in (errors, self.errors))
        if self.deterministic:
            return self._same(passes[0]) if abs(float(logs.mean() - own.mean())) < 0.2 else None
        if _deviations(logs[..., None], own[..., None], [FEATURES["log error"]]).abs().max() > LIMIT:
            return None
        found = torch.stack([signatures(self.clean, it) for it in passes])
        distance = float(_deviations(found, self.signatures, [*FEATURES.values()]).abs().max())
        return (Match.ALIKE, distance) if distance <= LIMIT else None

    def _same(self, corrupted: Tensor) -> tuple[Match, float] | None:
        """Compares pixel by pixel."""
        difference = (next(self.images()).to(torch.int16) - corrupted.to(torch.int16)).abs()
        largest, mean = int(difference.max()), float(difference.to(torch.float64).mean())
        if largest == 0:
            return Match.IDENTICAL, 0.0
        near = largest <= 1 if self.quality is None else mean <= _SAVED_DIFFERENCE
        return (Match.ROUNDED, mean) if near else None


def candidates(clean: Tensor, specs: Sequence[Spec], quality: int | None) -> list[Candidate]:
    """Returns all corruptions of some tables that can be applied to the images."""
    found = []
    for spec in specs:
        for name in spec.corruptions:
            try:
                corrupt(clean[:1], spec, name, SEVERITIES[-1], seed=0, indices=torch.arange(1))
            except DataError:
                continue
            found += [Candidate(clean, spec, Definition(spec.name, name, severity), quality) for severity in SEVERITIES]
    return found


def saved(images: Tensor, quality: int | None) -> Tensor:
    """Returns uint8 images as they come back from JPEG files of a quality, or as they are for None."""
    return images if quality is None else as_jpeg(images, quality, "JPEG files need")


def squared_errors(clean: Tensor, corrupted: Tensor) -> Tensor:
    """Returns (N,) float64, the mean squared difference of each image in levels squared."""
    return (corrupted.to(torch.float64) - clean.to(torch.float64)).square().mean(dim=(1, 2, 3))


def foreign(height: int) -> Spec:
    """Returns what is known of other libraries' definitions and can be drawn with the kernels here.

    imagecorruptions 1.1.2: elastic_transform has no affine map, smooths with 1 % of the image's side, and moves pixels
    less.

    Args:
        height: Side of the images, in pixels.
    """
    strengths = (12.5, 16.25, 21.25, 25.0, 30.0)  # 250 times .05, .065, .085, .1 and .12
    levels = tuple({"alpha": it * 0.005 * height, "sigma": 0.01 * height, "affine": 0.0} for it in strengths)
    entry = TableEntry("elastic_transform", "digital", True, levels)
    return Spec("imagecorruptions", height, "imagecorruptions 1.1.2", "", {"elastic_transform": entry})


def _deviations(values: Tensor, draws: Tensor, tolerances: Sequence[float]) -> Tensor:
    """(F,), mean over images of values (Q, N, F) minus those of draws (P, N, F), in standard errors."""
    tolerance = torch.tensor(tolerances, dtype=torch.float64)
    error = (_standard_error(draws, len(values)).square() + tolerance.square()).sqrt()
    return (values.mean(dim=(0, 1)) - draws.mean(dim=(0, 1))) / error


def _standard_error(draws: Tensor, others: int) -> Tensor:
    """(F,), standard error of the mean of as many other passes less that of draws (P, N, F), for the same images."""
    passes, images = draws.shape[:2]
    return (draws.var(dim=0).mean(dim=0) / images * (1.0 / others + 1.0 / passes)).sqrt()
