"""Conversion of convolutions and linear layers of any model into CSC layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypedDict

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from robustcsc.errors import RobustCSCError
from robustcsc.layers.csc import CSCConv1d, CSCConv2d, CSCLayer, CSCLinear, fit_image_size

_Convolution = nn.Conv1d | nn.Conv2d


class _Code(TypedDict):
    lam: float
    lam2: float
    num_steps: int
    signed: bool


def convert(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    layers: str | Sequence[str] = "first",
    lam: float = 0.1,
    lam2: float = 0.0,
    num_steps: int = 2,
    signed: bool = False,
) -> nn.Module:
    """Replaces convolutions and linear layers of `model` by CSC layers of the same shape, in place; returns the model.

    The atoms start as the normalised filters of the convolution, or rows of the linear layer. Its bias is dropped,
    because a sparse code has none. The layers that follow are kept: a ReLU directly after non-negative codes changes
    nothing; one after a batch normalisation sets negative values to zero, unlike in an SDNet. In-place activations
    become ordinary ones.

    Args:
        model: Any module with ``nn.Conv2d``, ``nn.Conv1d`` or ``nn.Linear`` layers inside.
        image_shape: ``(C, H, W)`` of the images the model is made for; it determines the step sizes.
        layers: ``"first"``, the first convolution; ``"all"``, every convolution that can be replaced, except those of
            one pixel; or names as in ``model.named_modules()``, with ``*`` as a wildcard. Only named linear layers are
            replaced, because one of them is mostly the classifier.
        lam: As `CSCLayer`.
        lam2: As `CSCLayer`.
        num_steps: As `CSCLayer`.
        signed: As `CSCLayer`.

    Raises:
        RobustCSCError: If no layer matches, or one cannot be replaced (grouped, or not zero-padded by a number of
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
    found = {name: module for name, module in model.named_modules() if name and _is_meant(module)}
    code: _Code = {"lam": lam, "lam2": lam2, "num_steps": num_steps, "signed": signed}
    put_in_place(model, {name: _as_csc(name, found[name], code) for name in _chosen(found, layers)})
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


def _is_meant(module: nn.Module) -> bool:
    """Returns whether a layer has a CSC layer in its place; attention takes the weight of its projection itself."""
    linear = isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)
    return linear or isinstance(module, _Convolution)


def _chosen(found: Mapping[str, nn.Module], layers: str | Sequence[str]) -> list[str]:
    convolutions = {name: module for name, module in found.items() if isinstance(module, _Convolution)}
    if layers == "first":
        names = list(convolutions)[:1]
    elif layers == "all":
        names = [name for name, conv in convolutions.items() if _replaceable(conv) and max(conv.kernel_size) > 1]
    else:
        names = matching(found, layers, "convolutional or linear layer")
    if not names:
        raise RobustCSCError(
            "The model has no convolution that could become a CSC layer: name linear layers, or choose another model."
        )
    return names


def _replaceable(conv: nn.Conv1d | nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _as_csc(name: str, layer: nn.Module, code: _Code) -> CSCLayer:
    csc: CSCLayer
    if isinstance(layer, nn.Linear):
        csc = CSCLinear(layer.in_features, layer.out_features, **code)
    else:
        assert isinstance(layer, _Convolution)
        if not _replaceable(layer):
            raise RobustCSCError(
                f"Convolution {name!r} is grouped or not zero-padded by a number of pixels and cannot become a CSC "
                "layer: leave it out."
            )
        assert not isinstance(layer.padding, str)
        sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        if isinstance(layer, nn.Conv1d):
            csc = CSCConv1d(layer.in_channels, layer.out_channels, *(it[0] for it in sizes), **code)
        else:
            csc = CSCConv2d(layer.in_channels, layer.out_channels, *((it[0], it[1]) for it in sizes), **code)
    weight = layer.weight
    csc.to(weight.device, weight.dtype)
    with torch.no_grad():
        csc.dictionary.weight.copy_(weight)
        csc.dictionary.project_parameters()
    return csc.train(layer.training)
