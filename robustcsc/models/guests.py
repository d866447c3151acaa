"""Models of a user's own: what they are given, and what is checked before anything is measured.

A guest gets contiguous images, as it would outside of this package, in a tensor of its own: what it writes there is
seen by nobody else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustcsc.errors import ModelError, error_words
from robustcsc.layers.logits import checked_logits
from robustcsc.layers.modes import evaluation_mode

#: Memory formats of images, in the order in which they are offered.
_FORMATS = (torch.contiguous_format, torch.channels_last)


class _Private:
    """A forward hook that gives a module copies of its inputs in one memory format."""

    def __init__(self, memory_format: torch.memory_format) -> None:
        self.memory_format = memory_format

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            it.clone(memory_format=self.memory_format) if isinstance(it, Tensor) and it.ndim == 4 else it
            for it in inputs
        )


def receive(model: nn.Module, name: str, num_classes: int, image_shape: tuple[int, int, int]) -> None:
    """Prepares a model from outside the package, and tries it on two images.

    From now on it gets copies of its inputs, contiguous or, if it fails on these, with the channels last.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; changed in place.
        name: Its name, for messages.
        num_classes: Number of logits K.
        image_shape: ``(C, H, W)``.

    Raises:
        ModelError: The model fails on both, or does not return one logit per class.
    """
    if is_guest(model):
        return
    place = next(model.parameters(), torch.zeros(()))
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(place.device)
    failure: Exception | None = None
    for memory_format in _FORMATS:
        hook = model.register_forward_pre_hook(_Private(memory_format))
        try:
            with torch.no_grad(), evaluation_mode(model):
                output = model(images)
        except Exception as error:  # a user's code may raise anything
            hook.remove()
            failure = failure or error
        else:
            checked_logits(output, len(images), num_classes, model=name)
            return
    assert failure is not None
    raise ModelError(f"{name} fails on images {tuple(images.shape)}: {error_words(failure)}.") from failure


def is_guest(model: nn.Module) -> bool:
    """Returns whether a model came through `receive`."""
    return any(isinstance(hook, _Private) for hook in model._forward_pre_hooks.values())


def memory_format_of(model: nn.Module) -> torch.memory_format:
    """Returns the memory format that weights and images of a model are put into: channels last, if it is our own."""
    return torch.contiguous_format if is_guest(model) else torch.channels_last
