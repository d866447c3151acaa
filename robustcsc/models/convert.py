"""Conversion of the convolutions of any model into CSC layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from robustcsc.errors import RobustCSCError
from robustcsc.layers.csc import CSCConv2d, fit_image_size


def convert(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    layers: str | Sequence[str] = "first",
    lam: float = 0.1,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Replaces convolutions of `model` by CSC layers of the same shape, in place, and returns the model.

    The atoms start as the normalised filters of the convolution. Its bias is dropped, because a sparse code has none.
    The layers that follow are kept: a ReLU directly after non-negative codes changes nothing; one after a batch
    normalisation sets negative values to zero, unlike in an SDNet. In-place activations become ordinary ones.

    Args:
        model: Any module with ``nn.Conv2d`` layers inside.
        image_shape: ``(C, H, W)`` of the images the model is made for; it determines the step sizes.
        layers: ``"first"``, ``"all"`` (every convolution that can be replaced, except 1x1), or names as in
            ``model.named_modules()``, with ``*`` as a wildcard.
        lam: As `CSCConv2d`.
        num_steps: As `CSCConv2d`.
        signed: As `CSCConv2d`.

    Raises:
        RobustCSCError: If no convolution matches, or one cannot be replaced (grouped, or not zero-padded by a number of
            pixels).

    Examples:
        >>> import robustcsc as rc
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10))
        >>> rc.convert(model, (1, 8, 8), lam=0.2)[0]
        CSCConv2d(
          lam0=0.2, 2 fista steps, non-negative
          (dictionary): UnitDictionary(8 atoms of 1x3x3, stride=(1, 1), padding=(1, 1))
        )
    """
    convolutions = {name: module for name, module in model.named_modules() if name and isinstance(module, nn.Conv2d)}
    chosen = _chosen(convolutions, layers)
    replacements = {name: _as_csc(name, convolutions[name], lam, num_steps, signed) for name in chosen}
    put_in_place(model, replacements)
    for module in model.modules():
        if getattr(module, "inplace", False):  # would overwrite codes that their gradient still needs
            module.inplace = False  # type: ignore[assignment]  # a plain attribute of activations
    fit_image_size(model, image_shape)
    return model


def matching(names: Collection[str], patterns: str | Sequence[str], kind: str) -> list[str]:
    """Returns the names that match a pattern, or one of several, with ``*`` as a wildcard.

    Raises:
        RobustCSCError: If a pattern matches none; the message calls what has the names a `kind`.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = ", ".join(names) or "it has none"
            raise RobustCSCError(f"The model has no {kind} named {pattern!r}: its {kind}s are {known}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def put_in_place(model: nn.Module, replacements: Mapping[str, nn.Module]) -> None:
    """Replaces modules of `model` by name."""
    for name, module in replacements.items():
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, module)


def _chosen(convolutions: dict[str, nn.Conv2d], layers: str | Sequence[str]) -> list[str]:
    if layers == "first":
        names = list(convolutions)[:1]
    elif layers == "all":
        names = [name for name, conv in convolutions.items() if _replaceable(conv) and conv.kernel_size != (1, 1)]
    else:
        names = matching(convolutions, layers, "convolution")
    if not names:
        raise RobustCSCError("The model has no convolution that could become a CSC layer: choose another model.")
    return names


def _replaceable(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _as_csc(name: str, conv: nn.Conv2d, lam: float, num_steps: int, signed: bool) -> CSCConv2d:
    if not _replaceable(conv):
        raise RobustCSCError(
            f"Convolution {name!r} is grouped or not zero-padded by a number of pixels and cannot become a CSC layer: "
            "leave it out."
        )
    csc = CSCConv2d(
        conv.in_channels,
        conv.out_channels,
        _two(conv.kernel_size),
        _two(conv.stride),
        _two(conv.padding),
        _two(conv.dilation),
        lam=lam,
        num_steps=num_steps,
        signed=signed,
    ).to(conv.weight.device, conv.weight.dtype)
    with torch.no_grad():
        csc.dictionary.weight.copy_(conv.weight)
        csc.dictionary.project_parameters()
    return csc.train(conv.training)


def _two(size: tuple[int, ...] | str) -> tuple[int, int]:
    assert not isinstance(size, str)
    return size[0], size[1]
