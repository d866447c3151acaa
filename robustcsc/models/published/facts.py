"""What published weights expect, and how to get them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a published model, from its own configuration.

    Attributes:
        mean: Mean of the pixels per channel, in pixel units of [0, 1]; empty for that of the data set.
        std: Their standard deviation.
        image_size: Height and width of the images it was made for, if it says so.
        num_classes: Number of its logits; ``None`` for that of the images.
        options: Arguments that build its network again without the place it came from.
        output: Which of its outputs the logits are, as for `robustcsc.models.guests.receive`.
        state: Returns its state dict; ``None`` if the name says no weights.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    image_size: int | None = None
    num_classes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""
    state: Callable[[], dict[str, Tensor]] | None = None
