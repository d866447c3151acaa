"""Input and output of every inspection: a model with images, and facts with tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import ImageSet
from robustcsc.data.images import Batch
from robustcsc.presentation.drawing import Drawing
from robustcsc.presentation.table import Table
from robustcsc.progress import Progress, silent

Fact_co = TypeVar("Fact_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A model under inspection, and its images.

    Attributes:
        name: Name in titles.
        model: Images ``(N, C, H, W)`` in [0, 1] to logits, on `device`.
        image_shape: ``(C, H, W)``.
        images: Returns the images. It is called only if they are needed, and may be called several times.
        layers: Names of the layers to inspect, see `robustcsc.inspection.layers.chosen`; all by default.
        draw: Whether figures are drawn.
        device: Device of the model.
        batch_size: Images in a forward pass.
        progress: Called with the progress of a long inspection.
    """

    name: str
    model: nn.Module
    image_shape: tuple[int, int, int]
    images: Callable[[], ImageSet]
    layers: Sequence[str] = ()
    draw: bool = False
    device: torch.device | str = "cpu"
    batch_size: int = 100
    progress: Progress = silent

    def batches(self) -> Iterator[Batch]:
        """Yields the images with their labels, on the device."""
        return self.images().batches(self.batch_size, device=self.device)

    def corrupted(self, spec: Spec, name: str, severity: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the images under a corruption of severity 1-5 (0: none), and without it, on the device."""
        for images, _, indices in self.batches():
            yield corrupt(images, spec, name, severity, seed=seed, indices=indices) if severity else images, images

    def titled(self, count: int) -> str:
        """Returns the subject of a title: the model, and the `count` images it was given."""
        return f"{self.name} on {self.images().name} ({count} images)"


@dataclass(frozen=True, kw_only=True)
class Findings(Generic[Fact_co]):
    """What an inspection found.

    Attributes:
        facts: The numbers.
        tables: The same as tables.
        long_tables: Tables that are too long to print.
        drawings: Figures, if they were asked for.
    """

    facts: Sequence[Fact_co]
    tables: tuple[Table, ...]
    long_tables: tuple[Table, ...] = ()
    drawings: Sequence[Drawing] = ()
