"""The sparse-coding layers of a model: finding, selecting and watching them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from robustcsc.data.images import Batch
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.specimen import Specimen
from robustcsc.layers.coding import CodingLayer
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.tracing import run_until_called

#: A layer, or what is known of it.
Item = TypeVar("Item")
#: Called with the name of a layer, the batch of images, and the input and output of the layer for these.
Note = Callable[[str, Batch, Tensor, Tensor], None]


def shown(name: str) -> str:
    """Returns the name of a layer as displayed, without the prefix that all models of the catalog share."""
    return name.removeprefix("network.")


def coding_layers(model: nn.Module) -> dict[str, CodingLayer]:
    """Returns the sparse-coding layers by name, in the order of registration.

    Raises:
        RobustCSCError: If the model has none.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, CodingLayer)}
    if not layers:
        raise RobustCSCError(
            "This model has no sparse-coding layer: choose an SDNet, an SCN, an ML-CSC, an MSD-CSC, a tddl model, or "
            "a model of your own with such layers, with --run."
        )
    return layers


def chosen(layers: Mapping[str, Item], patterns: Iterable[str]) -> dict[str, Item]:
    """Returns the layers that match at least one pattern, or all if there are no patterns.

    Args:
        layers: By name.
        patterns: Names as in ``model.named_modules()``, or as `shown`, with ``*`` as a wildcard.

    Raises:
        RobustCSCError: If a pattern matches no layer.
    """
    patterns = list(patterns)
    if not patterns:
        return dict(layers)
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in layers):
            known = ", ".join(map(shown, layers))
            raise RobustCSCError(f"There is no layer {pattern!r} to inspect: choose --layers among {known}.")
    return {name: layer for name, layer in layers.items() if any(_fits(name, pattern) for pattern in patterns)}


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(shown(name), pattern)


@torch.no_grad()
def watch(specimen: Specimen, layers: Mapping[str, nn.Module], note: Note) -> None:
    """Runs the images through the model in evaluation mode and passes inputs and outputs of some layers to `note`.

    A forward pass stops behind the last of these layers.

    Args:
        specimen: A model that calls each of the layers once, left in the mode it is in, and its images.
        layers: Layers to watch, by name.
        note: Called after each call of a layer.

    Raises:
        RobustCSCError: If a layer is never called, because the model does not use it or there are no images.
    """
    if not layers:
        return
    names = {layer: name for name, layer in layers.items()}
    unseen = set(layers)

    def tell(batch: Batch, module: nn.Module, inputs: tuple[Tensor, ...], codes: Tensor) -> None:
        unseen.discard(names[module])
        note(names[module], batch, inputs[0], codes)

    with evaluation_mode(specimen.model):
        for batch in specimen.batches():
            run_until_called(partial(specimen.model, batch.images), names, partial(tell, batch))
    if len(unseen) == len(layers):
        raise RobustCSCError("There are no images to inspect the model on: give at least one.")
    if unseen:
        idle = next(name for name in layers if name in unseen)
        raise RobustCSCError(f"The model never uses its layer {shown(idle)!r}: choose others with --layers.")
