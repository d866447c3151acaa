"""Models with images of any numbers, as inspections take them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from robustcsc.data.images import Batch
from robustcsc.data.memory import MemoryImages
from robustcsc.inspection.specimen import Specimen

#: Called with a model, images ``(N, C, H, W)`` and options.
MakeSpecimen = Callable[..., Specimen]


@dataclass(frozen=True, kw_only=True)
class _Exact(Specimen):
    """A specimen whose images are the given numbers, not bytes."""

    given: Tensor

    def batches(self) -> Iterator[Batch]:
        for rows in torch.split(torch.arange(len(self.given)), self.batch_size) if len(self.given) else ():
            yield Batch(self.given[rows], self.images().labels[rows], rows)


@pytest.fixture(scope="session")
def specimen() -> MakeSpecimen:
    """Returns a specimen of a model and images; all images are of the first class if there are no labels."""

    def make(
        model: nn.Module,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        classes: tuple[str, ...] = ("0",),
        batch_size: int = 100,
        draw: bool = False,
    ) -> Specimen:
        count, channels, height, width = images.shape
        known = MemoryImages(
            name="images",
            split="test",
            classes=classes,
            pixels=torch.zeros(images.shape, dtype=torch.uint8),
            labels=torch.zeros(count, dtype=torch.int64) if labels is None else labels,
            positions=torch.arange(count),
        )
        return _Exact(
            name="m",
            model=model,
            image_shape=(channels, height, width),
            images=lambda: known,
            batch_size=batch_size,
            draw=draw,
            given=images,
        )

    return make
