"""Models of a user's own: what they are given, and what is checked before anything is measured.

A guest gets contiguous images, as it would outside of this package, in a tensor of its own: what it writes there is
seen by nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustcsc.errors import ModelError, error_words, hint
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


class _Chosen:
    """A forward hook that returns one of several outputs of a module."""

    def __init__(self, model: str, output: str) -> None:
        self.model, self.output = model, output

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], outputs: object) -> object:
        return chosen_output(outputs, self.output, model=self.model)


def chosen_output(outputs: object, output: str = "", *, model: str = "The model") -> object:
    """Returns the logits among the outputs of a network.

    Args:
        outputs: A tensor, or a dictionary, tuple, list, named tuple or dataclass of outputs.
        output: A key, a field, or an index from 0; empty if there is one output only.
        model: Its name, for messages.

    Raises:
        ModelError: There is no such output, or there are several and none is chosen.

    Examples:
        >>> chosen_output({"logits": [0.1, 0.9], "features": []}, "logits")
        [0.1, 0.9]
    """
    named = _named_outputs(outputs)
    if not output:
        if named:
            raise ModelError(
                f"{model} returns a {type(outputs).__name__} of {', '.join(named)}: choose the logits, as in "
                f"--output {next(iter(named))}."
            )
        return outputs
    if not named:
        raise ModelError(f"{model} returns a {type(outputs).__name__} and nothing to choose from: leave --output out.")
    if output not in named:
        raise ModelError(f"{model} returns no output {output!r}: {hint(output, list(named))}")
    return named[output]


def _named_outputs(outputs: object) -> dict[str, object]:
    if isinstance(outputs, Mapping):
        return {str(key): value for key, value in outputs.items()}
    if isinstance(outputs, Sequence) and not isinstance(outputs, str):
        indexed = {str(index): value for index, value in enumerate(outputs)}
        return dict(zip(getattr(outputs, "_fields", ()), outputs, strict=False)) | indexed
    if is_dataclass(outputs):
        return {it.name: getattr(outputs, it.name) for it in fields(outputs)}
    return {}


def receive(model: nn.Module, name: str, num_classes: int, image_shape: tuple[int, int, int], output: str = "") -> None:
    """Prepares a model from outside the package, and tries it on two images.

    From now on it gets copies of its inputs, contiguous or, if it fails on these, with the channels last, and returns
    its logits alone.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; changed in place.
        name: Its name, for messages.
        num_classes: Number of logits K.
        image_shape: ``(C, H, W)``.
        output: Which of its outputs the logits are, as for `chosen_output`.

    Raises:
        ModelError: The model fails on both, or does not return one logit per class.
    """
    _release(model)
    place = next(model.parameters(), torch.zeros(()))
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(place.device)
    failure: Exception | None = None
    for memory_format in _FORMATS:
        hook = model.register_forward_pre_hook(_Private(memory_format))
        try:
            with torch.no_grad(), evaluation_mode(model):
                outputs = model(images)
        except Exception as error:  # a user's code may raise anything
            hook.remove()
            failure = failure or error
        else:
            checked_logits(chosen_output(outputs, output, model=name), len(images), num_classes, model=name)
            if output:
                model.register_forward_hook(_Chosen(name, output))
            return
    assert failure is not None
    raise ModelError(f"{name} fails on images {tuple(images.shape)}: {error_words(failure)}.") from failure


def _release(model: nn.Module) -> None:
    """Takes back what an earlier `receive` did to a model."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key in [key for key, hook in hooks.items() if isinstance(hook, _Private | _Chosen)]:
            del hooks[key]


def is_guest(model: nn.Module) -> bool:
    """Returns whether a model came through `receive`."""
    return any(isinstance(hook, _Private) for hook in model._forward_pre_hooks.values())


def memory_format_of(model: nn.Module) -> torch.memory_format:
    """Returns the memory format that weights and images of a model are put into: channels last, if it is our own."""
    return torch.contiguous_format if is_guest(model) else torch.channels_last
