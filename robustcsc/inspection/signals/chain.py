"""Reconstruction of the image from codes, through the dictionaries and the modules between them.

Source: SDNet (Dai et al., NeurIPS 2022), appendix B.1, eq. 12-14: ``x~ = A_1(A_2(... A_l(z_l)))``.

The modules between two dictionaries are inverted on the way:

| module | inverted by |
|---|---|
| normalisation of pixels, batch normalisation | its exact inverse; a channel that it multiplies by 0 gets its mean |
| ReLU, dropout | the identity: codes that passed it are unchanged |
| stride of a layer | nothing: the dictionary places its atoms at that stride |
| pooling | bilinear interpolation to the previous size, which is not an inverse |

Equations 13 and 14 mention none of these. The authors' code does the same, up to the epsilon in batch normalisation.

Running the model shows whether a layer is part of a plain chain: its input must be the very tensor that another module
returned, and so on back to the image. A shortcut, or a function called between modules, creates a tensor that no module
returned, which ends the chain. At the start of the chain, a function that maps each channel linearly (a normalisation
that is not a module) is recognised by its values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import shown
from robustcsc.layers.coding import ConvCodingLayer, Lasso, conv_coding_layers
from robustcsc.layers.modes import evaluation_mode
from robustcsc.layers.normalize import Normalize
from robustcsc.layers.tracing import traced

_NOTHING = (nn.Identity, nn.ReLU, nn.Dropout, nn.Dropout2d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
#: Largest error of a linear map of each channel, relative to its result, that counts as rounding.
_ROUNDING = 1e-4
#: Factor and shift of a linear map of each channel, ``(C, 1, 1)`` both.
_Linear = tuple[Tensor, Tensor]


@dataclass(eq=False)
class _Call:
    """One call of a module.

    Attributes:
        name: Of the module.
        module: The module.
        source: The call that returned its input; ``None`` if no module did.
        from_image: Whether its input is the image.
        shape: Shape of its input.
        given: Its input, where it may be needed later.
        codes: Its output, if it is a coding layer.
        lasso: What its codes approximate, if it is a coding layer.
    """

    name: str
    module: nn.Module
    source: _Call | None
    from_image: bool
    shape: torch.Size
    given: Tensor | None = None
    codes: Tensor | None = None
    lasso: Lasso | None = None


@dataclass(frozen=True)
class Reconstruction:
    """Images reconstructed from the codes of a layer.

    Attributes:
        layer: Name of the layer.
        depth: Number of dictionaries between the codes and the image.
        signal: Input of the first layer of the chain, ``(N, C, H, W)``.
        estimate: Its reconstruction by eq. 14.
        pixels: The estimate as images, with the normalisation inverted; not clamped to [0, 1].
    """

    layer: str
    depth: int
    signal: Tensor
    estimate: Tensor
    pixels: Tensor


@dataclass(frozen=True)
class Reconstructed:
    """Reconstructions from the layers of a model.

    Attributes:
        found: One per layer that is part of a plain chain, in the order of depth.
        layers: Number of convolutional sparse-coding layers that ran.
        obstacle: What ends the chain before the first layer that is not part of one; empty if there is none.
    """

    found: list[Reconstruction]
    layers: int
    obstacle: str


class _Trace:
    """Which module returned which tensor, in one forward pass.

    Attributes:
        image: The images; known by identity.
        calls: The calls of coding layers.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.image = images.clone()
        self.calls: list[_Call] = []
        self._made: dict[int, tuple[Tensor, int, _Call]] = {}
        self._source: _Call | None = None
        named = model.named_modules()
        self._names = {it: name for name, it in named if isinstance(it, ConvCodingLayer) or not [*it.children()]}
        with traced(self._names, before=self._before, after=self._after), evaluation_mode(model):
            model(self.image)

    def _before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Finds the call that returned the input of a module; there is none if it was changed in place since."""
        tensor = inputs[0] if inputs else None
        made, version, call = self._made.get(id(tensor), (None, 0, None))
        self._source = call if made is not None and made is tensor and made._version == version else None

    def _after(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Records the call of a module."""
        if not (inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
            return
        tensor = inputs[0]
        untouched = tensor is self.image and tensor._version == 0
        call = _Call(self._names[module], module, self._source, untouched, tensor.shape)
        first = not any(isinstance(it.module, ConvCodingLayer) for it in _upstream(self._source))
        if first and output is not tensor:
            call.given = tensor.clone()
        if isinstance(module, ConvCodingLayer):
            call.codes = output.clone()  # a ReLU behind it may overwrite them
            self.calls.append(call)
        self._made[id(output)] = (output, output._version, call)


@torch.no_grad()
def reconstructions(model: nn.Module, images: Tensor) -> Reconstructed:
    """Reconstructs images from the codes of every convolutional coding layer that is part of a plain chain.

    Args:
        model: Images to logits; left in the mode it is in.
        images: ``(N, C, H, W)`` in [0, 1], on the device of the model.

    Raises:
        RobustCSCError: If the model has no such layer, or no image can be reconstructed.
    """
    if not conv_coding_layers(model):
        raise RobustCSCError(
            "This model has no convolutional sparse-coding layer to reconstruct images from: choose an SDNet, an "
            "ML-CSC or an MSD-CSC with --run."
        )
    trace = _Trace(model, images)
    for call in trace.calls:
        assert isinstance(call.module, ConvCodingLayer)
        call.lasso = call.module.lasso(call.shape)
    found, obstacle = [], ""
    for call in trace.calls:
        path = list(_upstream(call))
        start = _start(path, images)
        if isinstance(start, str):
            obstacle = obstacle or f"{shown(call.name)} is preceded by {start}"
        else:
            found.append(_taken_back(call, path, start))
    if not found:
        raise RobustCSCError(f"No image can be reconstructed from this model's codes: {obstacle or 'no layer ran'}.")
    return Reconstructed(sorted(found, key=lambda it: it.depth), len(trace.calls), obstacle)


def _upstream(call: _Call | None) -> Iterator[_Call]:
    """Yields a call, the one before it, and so on, back to the image or to where the chain ends."""
    while call is not None and _undone(call.module):
        yield call
        call = call.source


def _start(path: list[_Call], images: Tensor) -> _Linear | str:
    """Returns the map from the image to the input of the last call of a path, or what ends the chain there."""
    last = path[-1]
    if last.from_image:
        return torch.ones_like(images[0, :, :1, :1]), torch.zeros_like(images[0, :, :1, :1])
    if last.given is not None and last.given.shape == images.shape and (found := _linear_map(images, last.given)):
        return found
    if last.source is None:
        return "a shortcut or a function that is not a module"
    return f"{shown(last.source.name)} ({type(last.source.module).__name__}), which has no dictionary"


def _taken_back(call: _Call, path: list[_Call], start: _Linear) -> Reconstruction:
    """Returns the images reconstructed from the codes of a call."""
    dictionaries = [it for it in path if it.lasso is not None]
    first = dictionaries[-1]
    values = estimate = call.codes
    assert values is not None
    for it in path:
        values = _undo(it, values)
        if it is first:
            estimate = values
    assert estimate is not None and first.given is not None
    factor, shift = start
    pixels = torch.where(factor != 0, (values - shift) / factor, torch.zeros_like(values))
    return Reconstruction(shown(call.name), len(dictionaries), first.given, estimate, pixels)


def _undone(module: nn.Module) -> bool:
    """Returns whether a module can be inverted."""
    if isinstance(module, nn.BatchNorm2d):
        return module.running_mean is not None
    return isinstance(module, (ConvCodingLayer, *_NOTHING, *_POOLS, Normalize))


def _undo(call: _Call, values: Tensor) -> Tensor:
    """Returns an estimate of the input of a call from an estimate of its output."""
    module = call.module
    if call.lasso is not None:
        return call.lasso.reconstruct(values, call.shape)
    if isinstance(module, Normalize):
        return values * module.std + module.mean
    if isinstance(module, nn.BatchNorm2d):
        return _undo_batch_norm(module, values)
    if isinstance(module, _POOLS):
        return F.interpolate(values, (call.shape[2], call.shape[3]), mode="bilinear", align_corners=False)
    return values


def _undo_batch_norm(module: nn.BatchNorm2d, values: Tensor) -> Tensor:
    mean, variance = module.running_mean, module.running_var
    assert mean is not None and variance is not None
    scale = (variance + module.eps).sqrt()
    weight = torch.ones_like(mean) if module.weight is None else module.weight
    bias = torch.zeros_like(mean) if module.bias is None else module.bias
    scale = torch.where(weight != 0, scale / weight, torch.zeros_like(scale))
    return (values - bias.view(-1, 1, 1)) * scale.view(-1, 1, 1) + mean.view(-1, 1, 1)


def _linear_map(images: Tensor, given: Tensor) -> _Linear | None:
    """Returns the linear map of each channel that takes `images` to `given`, ``None`` if there is none."""
    x, y = (it.double().transpose(0, 1).flatten(1) for it in (images, given))
    centred = x - x.mean(1, keepdim=True)
    factor = (centred * y).sum(1) / centred.square().sum(1).clamp_min(1e-30)
    shift = y.mean(1) - factor * x.mean(1)
    error = (factor[:, None] * x + shift[:, None] - y).abs().max()
    if not error <= _ROUNDING * y.abs().max():
        return None
    return factor.to(given.dtype).view(-1, 1, 1), shift.to(given.dtype).view(-1, 1, 1)
