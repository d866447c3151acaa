"""What is done at test time beside choosing lambda, around the function that classifies images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from robustcsc.adaptive.batch_norm import EntropyMinimiser, batch_statistics
from robustcsc.adaptive.denoise import denoised
from robustcsc.adaptive.shift import Undone
from robustcsc.errors import PolicyError
from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Denoise, Shift, Tent
from robustcsc.measurements.references import Reference

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
    def of(cls, model: nn.Module, made: Adaptation | None, reference: Reference | None = None) -> Adapter:
        """Returns the adapter of a model; that of `None` does nothing.

        Args:
            model: The model.
            made: What is done beside lambda.
            reference: What the model makes of clean images, for `Shift`.

        Raises:
            PolicyError: The reference is not the one that is named.
        """
        match made:
            case BatchStatistics(prior=prior):
                return cls(looking=partial(batch_statistics, model, prior))
            case Shift(reference=named):
                if reference is None or reference.digest != named:
                    raise PolicyError(f"The statistics {named} of clean images are not there: measure shift again.")
                return cls(learning=Undone(model, reference))
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
        reference: As for `Adapter.of`.
    """

    def __init__(self, model: nn.Module, made: Adaptation, reference: Reference | None = None) -> None:
        super().__init__()
        self.model, self._adapter = model, Adapter.of(model, made, reference)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of images ``(N, C, H, W)``."""
        return self._adapter(self.model, images)
