"""What is done at test time beside choosing lambda, around the function that classifies images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from robustcsc.adaptive.batch_norm import EntropyMinimiser, batch_statistics, gated
from robustcsc.adaptive.denoise import denoised
from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Denoise, Tent

Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Adapter:
    """One stream of batches under an adaptation; another stream needs an adapter of its own.

    Attributes:
        shown: What a model is shown of images ``(N, C, H, W)`` in [0, 1].
        looking: Within which it looks at them.
        learning: Asks it, and learns from its answers.
    """

    shown: Callable[[Tensor], Tensor] = lambda images: images
    looking: Callable[[], AbstractContextManager[None]] = nullcontext
    learning: Callable[[Classify, Tensor], Tensor] = lambda classify, images: classify(images)

    @classmethod
    def of(cls, model: nn.Module, made: Adaptation | None) -> Adapter:
        """Returns the adapter of a model; that of `None` does nothing."""
        match made:
            case BatchStatistics(prior=prior, gate=gate):
                if gate is None:
                    return cls(looking=partial(batch_statistics, model, prior))
                return cls(learning=partial(gated, model, prior, gate))
            case Tent():
                return cls(looking=partial(batch_statistics, model), learning=EntropyMinimiser(model, made))
            case Denoise():
                return cls(shown=partial(denoised, how=made))
            case None:
                return cls()

    def __call__(self, classify: Classify, images: Tensor) -> Tensor:
        """Returns the logits of images."""
        with self.looking():
            return self.learning(classify, self.shown(images))


class AdaptedModel(nn.Module):
    """A classifier with an adaptation as a classifier: images to logits.

    Args:
        model: How images are classified, with a lambda policy for example.
        made: What is done beside that.
    """

    def __init__(self, model: nn.Module, made: Adaptation) -> None:
        super().__init__()
        self.model, self._adapter = model, Adapter.of(model, made)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of images ``(N, C, H, W)``."""
        return self._adapter(self.model, images)
