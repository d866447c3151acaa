"""Which corruption images follow: the definition, its table and its severity, or that none of those known fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from robustcsc.corruptions.judging.candidates import (
    Candidate,
    Definition,
    Match,
    Ratio,
    candidates,
    foreign,
    squared_errors,
)
from robustcsc.corruptions.judging.signature import jpeg_trace
from robustcsc.measurements.severity_tables import Spec

#: Definitions that are further off than the best one by this, in standard errors, do not count as possible ones.
_BEHIND = 3.0
#: Traces of JPEG of quality 85: images with such a pass fall to 0.24 (clipped noise), others, which were compressed
#: with another quality, reach 0.28; in between it is what fits that tells.
_TRACED, _UNTRACED = 0.3, 0.1


@dataclass(frozen=True)
class Named:
    """What corrupted images are said to be.

    Attributes:
        corruption: The name of their folder or file; None if it says nothing.
        severity: 1 to 5; None if it says nothing.
    """

    corruption: str | None = None
    severity: int | None = None


@dataclass(frozen=True)
class Fit:
    """A definition that images follow.

    Attributes:
        definition: What they follow.
        match: How closely.
        distance: The largest deviation: of the signature, in standard errors, or the mean one of pixels, in levels.
    """

    definition: Definition
    match: Match
    distance: float


@dataclass(frozen=True)
class Judgement:
    """What is known of corrupted images.

    Attributes:
        named: What they are said to be.
        images: How many were compared.
        error: Their mean squared error, in levels squared of 0 to 255.
        quality: Of the JPEG files that they went through after the corruption; None if there is no trace of any.
        fits: The definitions that they follow, the closest first; more than one where the images do not tell them
            apart, none if they follow none of those known.
        ratios: Their error over that of each table's corruption of the name and severity that they have.
        tried: How many definitions they were compared with.
    """

    named: Named
    images: int
    error: float
    quality: int | None
    fits: tuple[Fit, ...]
    ratios: tuple[Ratio, ...]
    tried: int

    @property
    def unchanged(self) -> bool:
        """Whether they are the clean images."""
        return self.error == 0.0


class Judge:
    """Compares corrupted images with all corruptions of some tables, applied to the same clean images.

    Args:
        clean: (N, C, H, W) uint8; the more, the closer definitions are told apart. A few dozen are plenty.
        specs: The severity tables.

    Examples:
        >>> import torch
        >>> import robustcsc as rc
        >>> clean, table = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), rc.load_spec("cifar10_c")
        >>> blurred = rc.corrupt(clean, table, "gaussian_blur", 2, seed=0, indices=torch.arange(8))
        >>> [it.definition for it in Judge(clean, [table]).judge(blurred).fits]
        [Definition(table='cifar10_c', corruption='gaussian_blur', severity=2)]
    """

    def __init__(self, clean: Tensor, specs: Sequence[Spec]) -> None:
        self.clean, self.specs = clean, [*specs, foreign(clean.shape[2])]
        self._candidates = lru_cache(maxsize=4)(self._make)

    def judge(self, corrupted: Tensor, named: Named = Named(), file_quality: int | None = None) -> Judgement:
        """Returns what is known of the corrupted images.

        Args:
            corrupted: (N, C, H, W) uint8, the clean images, corrupted.
            named: What they are said to be.
            file_quality: Quality of the JPEG files that they come from; None for files that lose nothing.
        """
        errors = squared_errors(self.clean, corrupted)
        trace = jpeg_trace(corrupted)
        qualities: tuple[int | None, ...] = (
            (85, None) if trace > _TRACED else (None, 85) if trace > _UNTRACED else (None,)
        )
        if file_quality is not None:
            qualities = (file_quality,)
        fits: tuple[Fit, ...] = ()
        quality = qualities[0]
        for quality in qualities if errors.any() else ():
            if fits := self._fits(corrupted, quality):
                break
        else:
            quality = qualities[0]
        tried = self._candidates(quality)
        asked = [it for it in tried if Named(it.definition.corruption, it.definition.severity) == named]
        ratios = tuple(it.ratio(errors) for it in asked)
        return Judgement(named, len(corrupted), float(errors.mean()), quality, fits, ratios, len(tried))

    def _make(self, quality: int | None) -> list[Candidate]:
        return candidates(self.clean, self.specs, quality)

    def _fits(self, corrupted: Tensor, quality: int | None) -> tuple[Fit, ...]:
        """Returns the definitions that are as close as the closest one, up to chance."""
        found = [(it.definition, it.compare(corrupted)) for it in self._candidates(quality)]
        fits = sorted((Fit(of, *it) for of, it in found if it is not None), key=lambda it: it.distance)
        same = [it for it in fits if it.match is not Match.ALIKE]  # pixels decide where they can
        return tuple(same or [it for it in fits if it.distance <= fits[0].distance + _BEHIND])
