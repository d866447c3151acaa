"""Temporary evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from robustcsc.layers.precision import reproducible


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts `model` into evaluation mode, and restores the mode of every submodule exactly afterwards.

    What is computed within the block is `reproducible`.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with reproducible():
            yield
    finally:
        for module, training in modes:
            module.training = training
