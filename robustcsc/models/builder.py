"""Builders of the networks of the catalog."""

from collections.abc import Callable
from functools import partial

from torch import nn

#: Builds a network of ``(num_classes, in_channels, **options)`` for normalised images.
Builder = Callable[..., nn.Module]


def described(about: str, builder: "partial[nn.Module]") -> Builder:
    """Returns a builder whose first arguments are set, with a docstring that says what it builds."""
    builder.__doc__ = f"Returns {about}."
    builder.__module__ = builder.func.__module__
    return builder
